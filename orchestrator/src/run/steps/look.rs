//! The step `look`: each guest is held, its tables are read from outside, and it goes on. At a look `of: host`
//! nobody is held.

use super::{
    super::{cell::CellContext, nonce::nonce, stages::Stop},
    NO_LOOKS,
};
use crate::host::{HostError, Target, deadlines::Deadline, tables_of};
use s2lab_model::{
    scenario::Guest,
    steps::{self, Beside, LookOf, LookStep, Observation},
};
use s2lab_os::waits::timeout;
use s2lab_protocol::{
    Vma,
    ask::{Dump, Faults, Hold, Release, VmaFlags},
};
use std::collections::BTreeMap;

impl CellContext<'_, '_> {
    /// Looks at the tables of every guest that is alive, one after another, or at the host's own.
    pub(super) async fn look(&mut self, index: usize, step: &LookStep) -> Result<(), Stop> {
        if step.of == Some(LookOf::Host) {
            return self.look_at_host(index, step).await;
        }
        for (name, guest) in &self.planned.resolved.guests {
            if self.session.link.guest_ended(name).is_some() && !self.runs_at(index, name) {
                continue;
            }
            let vmas = match guest.assign.is_empty() {
                true => vec![],
                false => self.vma_flags(index, name, guest).await?,
            };
            self.look_at(index, step, name, vmas).await?;
            if !guest.assign.is_empty() {
                self.faults(index, name).await?;
                self.dump(index, name).await?;
            }
            self.ask_guest(name, Release {}, self.due(Deadline::Request)).await?;
        }
        Ok(())
    }

    async fn look_at_host(&mut self, index: usize, step: &LookStep) -> Result<(), Stop> {
        let deadline = self.due(Deadline::Look);
        let looks = self.session.host.looks().ok_or_else(|| Stop::lab(NO_LOOKS))?;
        let look = timeout(deadline, looks.look_at_host(&step.name, &self.session.around, self.raw)).await;
        let look = look
            .map_err(|_| Stop::lab(format!("the look at the host was not done in {deadline:?}")))?
            .map_err(HostError::from)?;
        self.observed(index, Observation::HostLook(look));
        Ok(())
    }

    /// Returns false for a guest that a probe may have ended.
    fn runs_at(&self, index: usize, guest: &str) -> bool {
        self.planned.resolved.running_at(index).contains(guest)
    }

    /// Looks at a guest, which stays held.
    async fn look_at(
        &mut self,
        index: usize,
        step: &LookStep,
        guest: &str,
        vmas: Vec<Vma>,
    ) -> Result<(), Stop> {
        let nonce = nonce()?;
        let held = self.ask_guest(guest, Hold { nonce }, self.due(Deadline::Request)).await?;
        let mappings = held.mappings;
        let beside = self.beside(index, guest);
        let vcpus = self.planned.resolved.guests.get(guest).map_or(1, |guest| guest.vcpus);
        if held.vcpus != vcpus {
            let why = format!("guest {guest} spins on {} vCPUs; it has {vcpus}", held.vcpus);
            return Err(Stop::lab(why));
        }
        let target = Target { name: &step.name, guest, nonce, vcpus, mappings, beside, vmas };
        let deadline = self.due(Deadline::Look);
        let looks = self.session.host.looks().ok_or_else(|| Stop::lab(NO_LOOKS))?;
        let look = timeout(deadline, looks.look(target, &self.session.around, self.raw)).await;
        let look = look
            .map_err(|_| Stop::lab(format!("the look at guest {guest} was not done in {deadline:?}")))?
            .map_err(HostError::from)?;
        self.looked.insert(guest.to_owned(), tables_of(&look));
        self.observed(index, Observation::Look(look));
        Ok(())
    }

    /// Returns the other guests that are alive and whose tables are known.
    fn beside(&self, index: usize, guest: &str) -> BTreeMap<String, Beside> {
        let lives = |name: &str| {
            name != guest && self.session.link.guest_ended(name).is_none() && self.runs_at(index, name)
        };
        self.looked
            .iter()
            .filter(|(name, _)| lives(name))
            .map(|(name, of)| (name.clone(), of.clone()))
            .collect()
    }

    /// Asks for the faults that have made what the look has seen. The guest is still held.
    async fn faults(&mut self, index: usize, guest: &str) -> Result<(), Stop> {
        let ask = Faults { guest: guest.to_owned() };
        let faulted = self.session.ask_host(ask, self.due(Deadline::Request)).await?;
        let traced = steps::TracedFaults { guest: guest.to_owned(), faulted };
        self.observed(index, Observation::TracedFaults(traced));
        Ok(())
    }

    /// Asks for KVM's own account of what the look has seen. The guest is still held.
    async fn dump(&mut self, index: usize, guest: &str) -> Result<(), Stop> {
        let ask = Dump { guest: guest.to_owned() };
        let dumped = self.session.ask_host(ask, self.due(Deadline::Request)).await?;
        let dumped = steps::DumpedTables { guest: guest.to_owned(), dumped };
        self.observed(index, Observation::DumpedTables(dumped));
        Ok(())
    }

    async fn vma_flags(&mut self, index: usize, name: &str, guest: &Guest) -> Result<Vec<Vma>, Stop> {
        let ask = VmaFlags { guest: name.to_owned() };
        let vmas = self.session.ask_host(ask, self.due(Deadline::Request)).await?;
        for device in guest.assign.keys() {
            let (guest, device, vmas) = (name.to_owned(), device.clone(), vmas.clone());
            let flags = steps::VmaFlags { guest, device, vmas };
            self.observed(index, Observation::VmaFlags(flags));
        }
        Ok(vmas)
    }
}
