//! The step `exec`: a program of the user's runs in the host or in a guest.

use super::super::{cell::CellContext, programs::Place, stages::Stop};
use crate::host::deadlines::Deadline;
use s2lab_model::{
    scenario::Timeout,
    steps::{ExecStep, Executed, Observation},
};
use s2lab_protocol::ask::{ProgramEnd, RunProgram};
use std::sync::Arc;

impl CellContext<'_, '_> {
    pub(super) async fn exec(&mut self, index: usize, step: &ExecStep) -> Result<(), Stop> {
        let digest = self.planned.resolved.programs.get(&step.file);
        let program = digest.and_then(|digest| self.programs.get(digest)).map(Arc::clone);
        let program =
            program.ok_or_else(|| Stop::lab(format!("the program `{}` was not read", step.file)))?;
        let run = self.program_run(step.name(), step.args.clone(), step.timeout);
        let (end, output) = self.run_program(Place::of(step.guest()), &program, run).await?;
        let executed = Executed { place: step.place.clone(), file: step.file.clone(), end, output };
        self.observed(index, Observation::Executed(executed));
        Ok(())
    }

    /// Returns the request to run a program. A slower machine gives it more time.
    pub(super) fn program_run(&self, name: &str, args: Vec<String>, timeout: Timeout) -> RunProgram {
        let timeout = self.factor.times(timeout.duration());
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        RunProgram { name: name.to_owned(), args, timeout_ms }
    }

    /// Runs a program. Returns its end and its output as text.
    pub(super) async fn run_program(
        &mut self,
        place: Place<'_>,
        program: &[u8],
        run: RunProgram,
    ) -> Result<(ProgramEnd, String), Stop> {
        let request = self.due(Deadline::Request);
        let (end, output) = self.session.run_program(place, program, run, request).await?;
        Ok((end, String::from_utf8_lossy(&output).into_owned()))
    }
}
