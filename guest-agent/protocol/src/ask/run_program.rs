//! Running a program of the user's.

use super::{AnyLevel, GuestRequest, HostRequest};
use serde::{Deserialize, Serialize};

/// Runs the program that [`super::PutProgram`] has brought, with nothing on its stdin, in an empty
/// folder of its own. Its process group is killed at its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunProgram {
    /// The name of its file: one part of a path.
    pub name: String,
    /// Its arguments, without its name.
    pub args: Vec<String>,
    /// The time after which it is killed, in milliseconds.
    pub timeout_ms: u64,
}

impl RunProgram {
    /// The most bytes of output. A program that writes more is killed. A frame has twice as many,
    /// hexadecimal.
    pub const MOST_OUTPUT: usize = 96 * 1024;
}

impl AnyLevel for RunProgram {
    type Answer = ProgramRun;
    const DOING: &str = "run a program";

    fn of_host(self) -> HostRequest {
        HostRequest::RunProgram(self)
    }

    fn of_guest(self) -> GuestRequest {
        GuestRequest::RunProgram(self)
    }

    fn mismatch(&self, run: &ProgramRun) -> Option<&'static str> {
        let fits = run.hex.len() <= 2 * RunProgram::MOST_OUTPUT;
        (!fits).then_some("the output is longer than a program's may be")
    }
}

/// A program that has run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgramRun {
    pub end: ProgramEnd,
    /// The output: stdout and stderr together, in their order, at most
    /// [`RunProgram::MOST_OUTPUT`] bytes; hexadecimal.
    pub hex: String,
}

/// The end of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProgramEnd {
    /// It exited with this code.
    Exit(i32),
    /// This signal ended it.
    Signal(i32),
    /// It ran for the whole time, and was killed.
    Timeout,
    /// It wrote more than [`RunProgram::MOST_OUTPUT`], and was killed.
    Flood,
    /// It was killed, and did not end: it is stuck in the kernel.
    Stuck,
    /// The kernel did not start it, for this reason.
    NotStarted(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Body, Frame, MAX_PAYLOAD, Peer, VERSION, encode};

    #[test]
    fn the_longest_output_fits_into_a_frame() {
        let run = ProgramRun { end: ProgramEnd::Flood, hex: "ff".repeat(RunProgram::MOST_OUTPUT) };
        let ask = RunProgram { name: "x".into(), args: vec![], timeout_ms: 1 };
        assert_eq!(ask.mismatch(&run), None);
        let result = Ok(serde_json::to_value(&run).unwrap());
        let body = Body::Reply { id: u64::MAX, result };
        let from = Peer::Guest("g".repeat(crate::LONGEST_NAME));
        let frame = Frame { version: VERSION, nonce: u64::MAX, seq: u64::MAX, from, to: Peer::Lab, body };
        assert!(encode(&frame).unwrap().len() <= MAX_PAYLOAD + 12);
        let more = ProgramRun { hex: run.hex + "00", ..run };
        assert!(ask.mismatch(&more).is_some());
    }
}
