//! The built-in VMM: a process that runs one VM with KVM and answers requests like a guest's agent.
//!
//! The VM has no operating system. Its vCPUs execute functions of this very program at EL1
//! ([`payload`]): the program's own pages are copied into the VM's RAM ([`image`]), and the VM's
//! stage 1 maps them, its stacks and its buffers at the addresses that they have in this process
//! ([`stage1`]). So a request is carried out by the same code as in a guest with a Linux of its own,
//! and a pointer means the same on both sides.
//!
//! A guest hypervisor begins at EL2 instead. It switches on a stage 2 of its own ([`stage2`]) and enters
//! its guest, which does all the rest at EL1.

mod backing;
mod buffer;
mod control;
mod copy;
mod frames;
mod function;
mod igbvf;
mod image;
mod kvm;
mod layout;
mod machine;
mod marks;
mod memslot;
mod payload;
mod plug;
mod ram;
mod stage1;
mod stage2;
mod tables;

pub(crate) use control::{Reader, Report, VERSION};

use crate::exit::fatal;
use crate::guest::serve_on;
use crate::init::{heartbeat, uptime_ms};
use crate::link::{Credentials, Incoming, Link, LinkError};
use crate::root::Root;
use control::Control;
use kvm::Vcpus;
use machine::{Plan, Vm};
use s2lab_protocol::ask::StartGuest;
use s2lab_protocol::{Failure, Hello, Level, Notice, Peer};
use serde::{Deserialize, Serialize};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;

/// The first argument of the process. The second is a [`Spec`] as JSON.
pub(crate) const CHILD: &str = "vm";
/// The name in place of a kernel's release: the VM has no kernel.
const NO_KERNEL: &str = "builtin";

/// A VM and the open files of its process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) guest: StartGuest,
    /// A socket: the link to s2lab.
    pub(crate) link: RawFd,
    /// A socket: [`control`].
    pub(crate) control: RawFd,
}

/// The reason why there is no VM.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("the arguments of a VM: {0}")]
    Arguments(String),
    #[error("{}", .0.message)]
    Vm(Failure),
    #[error("{0}")]
    Link(#[from] LinkError),
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// Runs the process.
pub(crate) fn main(arguments: impl Iterator<Item = String>) -> ExitCode {
    std::panic::set_hook(Box::new(|panic| fatal(panic)));
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => fatal(why),
    }
}

fn run(mut arguments: impl Iterator<Item = String>) -> Result<(), StartError> {
    let text = arguments.next().unwrap_or_default();
    let spec: Spec = serde_json::from_str(&text).map_err(|why| StartError::Arguments(why.to_string()))?;
    // SAFETY: the parent has opened both for this process, and nothing else here knows them.
    let (link, control) = unsafe {
        (
            UnixStream::from(OwnedFd::from_raw_fd(spec.link)),
            UnixStream::from(OwnedFd::from_raw_fd(spec.control)),
        )
    };
    let control = Arc::new(Control::start(control).map_err(StartError::Thread)?);
    let vm = start(&spec.guest, &control).map_err(|failure| {
        control.report(&Report::NotStarted(failure.clone()));
        StartError::Vm(failure)
    })?;
    control.report(&Report::Running);
    let writer = link.try_clone().map_err(StartError::Thread)?;
    let me = Peer::Guest(spec.guest.name.clone());
    let out = Arc::new(Link::new(me, spec.guest.nonce, writer));
    out.notice(Notice::Hello(Hello {
        level: Level::Guest,
        release: NO_KERNEL.to_owned(),
        page_size: layout::PAGE as u32,
        uptime_ms: uptime_ms(),
        taint: None,
    }))?;
    let beating = Arc::clone(&out);
    std::thread::Builder::new().spawn(move || heartbeat(&beating)).map_err(StartError::Thread)?;
    let incoming = Incoming::new(link, Credentials { from: Peer::Lab, nonce: spec.guest.nonce });
    serve_on(vm, None, &out, incoming)?;
    Ok(())
}

/// Makes the VM.
fn start(guest: &StartGuest, control: &Arc<Control>) -> Result<Vm<Vcpus>, Failure> {
    let (plan, ram) = Plan::of(&Root::machine(), guest)?;
    let vcpus = Vcpus::start(&plan, &ram, control)?;
    Ok(Vm::new(plan, ram, vcpus))
}
