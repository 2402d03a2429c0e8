//! Starting a guest.

use super::{Guest, Host, faults::FaultTrace, tables, vmm::Vmm};
use crate::{agent::Answers, fault};
use s2lab_protocol::Failure;
use s2lab_protocol::ask::{GuestStarted, StartGuest};

impl Answers<StartGuest> for Host<'_> {
    fn answer(&mut self, spec: StartGuest) -> Result<GuestStarted, Failure> {
        if self.guests.get(&spec.name).is_some_and(|guest| !guest.vmm.has_ended()) {
            return Err(fault::invalid(format_args!("guest {} runs already", spec.name)));
        }
        if self.tables.is_none() {
            self.tables = tables::memory(&self.agent.root);
        }
        if self.trace.is_none() {
            self.trace = Some(FaultTrace::start(&self.agent.root));
        }
        let (vmm, version, downlink) = Vmm::start(&self.agent.root, &spec, &self.agent.link)?;
        let pid = vmm.pid();
        self.downlinks.insert(&spec.name, downlink);
        self.guests.insert(spec.name.clone(), Guest { vmm, spec });
        Ok(GuestStarted { pid, vmm: version })
    }
}
