use std::process::ExitCode;

fn main() -> ExitCode {
    s2lab_agent::main()
}
