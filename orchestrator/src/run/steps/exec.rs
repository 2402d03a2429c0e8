//! The step `exec`: a program of the user's runs in the host or in a guest.

use super::super::{cell::CellContext, programs::Place, stages::Stop};
use crate::host::deadlines::Deadline;
use s2lab_model::steps::{ExecStep, Executed, Observation};
use s2lab_protocol::ask::RunProgram;
use std::sync::Arc;

impl CellContext<'_, '_> {
    pub(super) async fn exec(&mut self, index: usize, step: &ExecStep) -> Result<(), Stop> {
        let digest = self.planned.resolved.programs.get(&step.file);
        let program = digest.and_then(|digest| self.programs.get(digest)).map(Arc::clone);
        let program =
            program.ok_or_else(|| Stop::lab(format!("the program `{}` was not read", step.file)))?;
        let timeout = self.factor.times(step.timeout.duration());
        let run = RunProgram {
            name: step.name().to_owned(),
            args: step.args.clone(),
            timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
        };
        let request = self.due(Deadline::Request);
        let place = Place::of(step.guest());
        let (end, output) = self.session.run_program(place, &program, run, request).await?;
        let output = String::from_utf8_lossy(&output).into_owned();
        let executed = Executed { place: step.place.clone(), file: step.file.clone(), end, output };
        self.observed(index, Observation::Executed(executed));
        Ok(())
    }
}
