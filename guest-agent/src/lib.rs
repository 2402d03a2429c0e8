//! The agent of s2lab: PID 1 in the emulated host (L1) and in every guest (L2).
//! It uses the protocol of [`s2lab_protocol`] on a virtio-serial port. It needs only the kernel: no
//! udev, no shell, no dynamic linker. The library is the whole of it, so that tests can run it
//! outside of a machine ([`serve`]).

mod agent;
mod cpus;
mod exit;
mod fault;
mod guest;
mod hex;
mod host;
mod init;
mod link;
mod modules;
mod parameters;
mod pci;
mod platform;
mod port;
mod program;
mod root;
mod vfio;
mod vm;
mod waits;

pub use init::serve;
use std::process::ExitCode;

/// Runs the program.
pub fn main() -> ExitCode {
    let program = std::env::args_os().next().unwrap_or_default();
    if host::look::is_command(&program) && !exit::is_init() {
        return host::look::main(std::env::args_os().skip(1));
    }
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        // The child process of `GuestRequest::Probe`.
        Some(guest::probe::process::CHILD) => guest::probe::process::child(arguments),
        // The process of a VM.
        Some(vm::CHILD) => vm::main(arguments),
        _ if exit::is_init() => init::run(),
        _ => {
            eprintln!(
                "{} It is /init of s2lab's hosts and guests and does nothing elsewhere.",
                s2lab_protocol::MARK
            );
            ExitCode::from(2)
        }
    }
}
