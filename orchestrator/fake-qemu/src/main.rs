use std::process::ExitCode;

fn main() -> ExitCode {
    fake_qemu::main()
}
