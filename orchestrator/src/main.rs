use std::process::ExitCode;

fn main() -> ExitCode {
    s2lab::cli::main()
}
