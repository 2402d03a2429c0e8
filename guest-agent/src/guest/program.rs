//! Programs of the user's in a guest that has an operating system.

use super::{Guest, Machine};
use crate::agent::Answers;
use crate::fault;
use crate::program::Program;
use s2lab_protocol::Failure;
use s2lab_protocol::ask::{InGuest, ProgramPut, ProgramRun, PutProgram, RunProgram};

impl<M: Machine> Answers<InGuest<PutProgram>> for Guest<M> {
    fn answer(&mut self, InGuest(ask): InGuest<PutProgram>) -> Result<ProgramPut, Failure> {
        self.program()?.put(&ask)
    }
}

impl<M: Machine> Answers<InGuest<RunProgram>> for Guest<M> {
    fn answer(&mut self, InGuest(ask): InGuest<RunProgram>) -> Result<ProgramRun, Failure> {
        self.program()?.run(&ask)
    }
}

impl<M: Machine> Guest<M> {
    fn program(&mut self) -> Result<&mut Program, Failure> {
        let program = self.program.as_mut();
        program.ok_or_else(|| fault::invalid("the guest has no operating system, which a program needs"))
    }
}
