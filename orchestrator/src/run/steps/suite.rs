//! The step `suite`: selftests of the kernel's own tree run in the host, one after the other.

use super::super::{cell::CellContext, programs::Place, stages::Stop};
use s2lab_model::steps::{Executed, HOST, Observation, SuiteStep};
use s2lab_os::outside::{self, kinds};

impl CellContext<'_, '_> {
    pub(super) async fn suite(&mut self, index: usize, step: &SuiteStep) -> Result<(), Stop> {
        let device = step.device.as_deref();
        let address =
            device.map(|device| self.bound(device).map(|bound| bound.address.clone())).transpose()?;
        for test in step.tests() {
            let path = self.session.selftests().program(step.of, test);
            let path =
                path.ok_or_else(|| Stop::lab(format!("the selftest `{}` was not built", test.name())))?;
            let program = outside::read(path, kinds::TEST_PROGRAM)
                .map_err(|error| Stop::lab(format!("cannot read a selftest: {error}")))?;
            let args = test.args().map(str::to_owned).chain(address.clone()).collect();
            let run = self.program_run(test.name(), args, step.timeout);
            let (end, output) = self.run_program(Place::Host, &program, run).await?;
            let executed = Executed { place: HOST.to_owned(), file: test.file(), end, output };
            self.observed(index, Observation::Executed(executed));
        }
        Ok(())
    }
}
