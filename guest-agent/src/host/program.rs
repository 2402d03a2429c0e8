//! Programs of the user's in the host.

use super::Host;
use crate::agent::Answers;
use s2lab_protocol::Failure;
use s2lab_protocol::ask::{InHost, ProgramPut, ProgramRun, PutProgram, RunProgram};

impl Answers<InHost<PutProgram>> for Host<'_> {
    fn answer(&mut self, InHost(ask): InHost<PutProgram>) -> Result<ProgramPut, Failure> {
        self.program.put(&ask)
    }
}

impl Answers<InHost<RunProgram>> for Host<'_> {
    fn answer(&mut self, InHost(ask): InHost<RunProgram>) -> Result<ProgramRun, Failure> {
        self.ran = Some(ask.name.clone());
        self.program.run(&ask)
    }
}
