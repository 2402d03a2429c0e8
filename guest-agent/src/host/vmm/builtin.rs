//! The built-in VMM: the agent's own program in another process.

use crate::vm::{CHILD, Spec};
use crate::{fault, root::Root};
use s2lab_protocol::Failure;
use s2lab_protocol::ask::StartGuest;
use std::os::fd::RawFd;
use std::process::Command;

/// The agent's program.
const AGENT: &str = "init";

/// Returns the VMM for a guest. The guest's link and the control socket are the open files `ends`.
pub(super) fn command(
    root: &Root,
    spec: &StartGuest,
    [link, control]: [RawFd; 2],
) -> Result<Command, Failure> {
    let spec = Spec { guest: spec.clone(), link, control };
    let text =
        serde_json::to_string(&spec).map_err(|why| fault::system("write", "the VM's arguments", why))?;
    let mut command = Command::new(root.path(AGENT));
    command.args([CHILD, &text]);
    Ok(command)
}
