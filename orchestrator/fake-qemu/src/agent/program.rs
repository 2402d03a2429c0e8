//! Programs of the user's, which are not run: there is no CPU.

use super::{Answer, answer, invalid};
use data_encoding::HEXLOWER;
use s2lab_protocol::ask::{InHost, ProgramEnd, ProgramPut, ProgramRun, PutProgram, RunProgram};

/// The output of every program.
const OUTPUT: &[u8] = b"TAP version 13\n1..1\nok 1 works\n";

/// The program of the host or of a guest.
#[derive(Default)]
pub(super) struct Program {
    size: u64,
}

impl Program {
    pub(super) fn put(&mut self, PutProgram { offset, hex }: &PutProgram) -> Answer {
        if *offset != 0 && *offset != self.size {
            return Err(invalid(format!("{} is due", self.size)));
        }
        self.size = offset + hex.len() as u64 / 2;
        answer::<InHost<PutProgram>>(&ProgramPut { size: self.size })
    }

    pub(super) fn run(&mut self, _: &RunProgram) -> Answer {
        if std::mem::take(&mut self.size) == 0 {
            return Err(invalid("there is no program"));
        }
        answer::<InHost<RunProgram>>(&ProgramRun { end: ProgramEnd::Exit(0), hex: HEXLOWER.encode(OUTPUT) })
    }
}
