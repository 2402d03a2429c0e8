//! The scenario's steps, carried out in a running session.

use super::{cell::CellContext, nonce::nonce, stages::Stop};
use crate::{
    host::{
        HostError, Target,
        deadlines::Deadline,
        link::{LinkError, Patience},
        tables_of,
    },
    waits::timeout,
};
use s2lab_model::{
    event::{Beside, Event, ProbeOutcome},
    scenario::{Guest, HostStep, LookStep, ProbeStep, Step, StoreStep},
};
use s2lab_protocol::{Mapping, Peer, Reply, Request, StoreSpec, pattern};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// The error of a step that reads tables in a host whose tables cannot be read.
const NO_LOOKS: &str = "the tables of this kind of host cannot be read from outside";
/// Where in the BAR the unaligned store goes.
const PROBE_OFFSET: u64 = 64;

impl CellContext<'_, '_> {
    fn due(&self, deadline: Deadline) -> Duration {
        self.session.deadlines.of(deadline)
    }

    /// What the scenario says.
    pub(super) async fn steps(&mut self) -> Result<(), Stop> {
        for (index, step) in self.planned.scenario.steps.iter().enumerate() {
            match step {
                Step::Store(step) => self.store(index, step).await?,
                Step::Look(step) => self.look(index, step).await?,
                Step::Host(step) => self.reset(index, step).await?,
                Step::Probe(step) => self.probe(index, step).await?,
            }
        }
        Ok(())
    }

    async fn store(&mut self, index: usize, step: &StoreStep) -> Result<(), Stop> {
        let peer = Peer::Guest(step.guest.clone());
        let patience = Patience { whole: self.due(Deadline::Store), idle: Some(self.due(Deadline::Idle)) };
        for &width in &step.width {
            let seed = self.session.nonce ^ (index as u64) << 32 ^ u64::from(width);
            let spec = StoreSpec {
                device: step.device.clone(),
                address: self.guest_address(&step.guest, &step.device)?,
                map: step.map,
                width,
                offset: 0,
                bytes: step.bytes.0,
                seed,
            };
            let result = match self.session.link.ask(&peer, Request::Store(spec), "store", patience).await? {
                Reply::Stored(result) => result,
                other => return Err(wrong(peer, "store", &other)),
            };
            let memory = self
                .session
                .host
                .bytes(&step.device)
                .ok_or_else(|| Stop::lab(format!("no BAR of `{}`", step.device)))?;
            let file_difference = (0..step.bytes.0)
                .step_by(size_of::<u64>())
                .find(|&offset| memory.word(offset) != Some(pattern(seed, offset)));
            self.log.event(Event::Stored {
                step: index,
                guest: step.guest.clone(),
                device: step.device.clone(),
                map: step.map,
                width,
                bytes: step.bytes.0,
                result,
                file_difference,
            });
        }
        Ok(())
    }

    /// The tables of every guest that lives, one guest after another.
    async fn look(&mut self, index: usize, step: &LookStep) -> Result<(), Stop> {
        for (name, guest) in &self.planned.scenario.guests {
            if self.session.link.guest_ended(name).is_some() && self.probed_before(index, name) {
                continue;
            }
            if !guest.assign.is_empty() {
                self.vma_flags(index, name, guest).await?;
            }
            self.look_at(index, step, name).await?;
        }
        Ok(())
    }

    fn probed_before(&self, index: usize, guest: &str) -> bool {
        let before = self.planned.scenario.steps.iter().take(index);
        before.into_iter().any(|step| matches!(step, Step::Probe(probe) if probe.guest == guest))
    }

    async fn look_at(&mut self, index: usize, step: &LookStep, guest: &str) -> Result<(), Stop> {
        let peer = Peer::Guest(guest.to_owned());
        let nonce = nonce()?;
        let mappings = match self
            .session
            .link
            .ask(&peer, Request::Hold { nonce }, "hold", self.due(Deadline::Request))
            .await?
        {
            Reply::Held { mappings, .. } if each_once(&mappings) => mappings,
            other => return Err(wrong(peer, "hold", &other)),
        };
        let beside = self.beside(index, guest);
        let target = Target { step: index, name: &step.name, guest, nonce, mappings, beside };
        let deadline = self.due(Deadline::Look);
        let looks = self.session.host.looks().ok_or_else(|| Stop::lab(NO_LOOKS))?;
        let look = timeout(deadline, looks.look(target, &self.session.around, self.raw)).await;
        let look = look
            .map_err(|_| Stop::lab(format!("the look at guest {guest} was not done in {deadline:?}")))?
            .map_err(HostError::from)?;
        self.looked.insert(guest.to_owned(), tables_of(&look));
        self.log.event(Event::Look(look));
        match self.session.link.ask(&peer, Request::Release, "release", self.due(Deadline::Request)).await? {
            Reply::Released => Ok(()),
            other => Err(wrong(peer, "release", &other)),
        }
    }

    /// The other guests that live and whose tables are known.
    fn beside(&self, index: usize, guest: &str) -> BTreeMap<String, Beside> {
        let lives = |name: &str| {
            name != guest && self.session.link.guest_ended(name).is_none() && !self.probed_before(index, name)
        };
        self.looked
            .iter()
            .filter(|(name, _)| lives(name))
            .map(|(name, of)| (name.clone(), of.clone()))
            .collect()
    }

    async fn vma_flags(&mut self, index: usize, name: &str, guest: &Guest) -> Result<(), Stop> {
        let request = Request::VmaFlags { guest: name.to_owned() };
        let vmas = match self
            .session
            .ask_host(request, "read the VMAs of the VMM", self.due(Deadline::Request))
            .await?
        {
            Reply::VmaFlags { vmas } => vmas,
            other => return Err(wrong(Peer::Host, "read the VMAs of the VMM", &other)),
        };
        for device in guest.assign.keys() {
            let (guest, device, vmas) = (name.to_owned(), device.clone(), vmas.clone());
            self.log.event(Event::VmaFlags { step: index, guest, device, vmas });
        }
        Ok(())
    }

    async fn reset(&mut self, index: usize, step: &HostStep) -> Result<(), Stop> {
        let device = &step.reset;
        let mut guests = self.planned.scenario.guests.iter();
        let owner = guests.find(|(_, guest)| guest.assign.contains_key(device));
        let (guest, _) = owner.ok_or_else(|| Stop::lab(format!("`{device}` belongs to no guest")))?;
        let request = Request::Reset { guest: guest.clone(), device: device.clone() };
        match self.session.ask_host(request, "reset a device", self.due(Deadline::Request)).await? {
            Reply::ResetDone { method } => {
                self.log.event(Event::Reset { step: index, device: device.clone(), method })
            }
            other => return Err(wrong(Peer::Host, "reset a device", &other)),
        }
        match self.looked.get(guest).cloned() {
            Some(tables) => self.after_reset((index, device), tables).await,
            None => Ok(()),
        }
    }

    /// What the reset has left in the guest's stage 2.
    async fn after_reset(&mut self, reset: (usize, &str), tables: Beside) -> Result<(), Stop> {
        let deadline = self.due(Deadline::Look);
        let looks = self.session.host.looks().ok_or_else(|| Stop::lab(NO_LOOKS))?;
        let after = looks.after_reset(reset, tables, &self.session.around, self.raw);
        let after = timeout(deadline, after).await.map_err(|_| {
            Stop::lab(format!("the tables after the reset of `{}` were not read in {deadline:?}", reset.1))
        })?;
        let after = after.map_err(HostError::from)?;
        self.log.event(Event::AfterReset(after));
        Ok(())
    }

    async fn probe(&mut self, index: usize, step: &ProbeStep) -> Result<(), Stop> {
        let peer = Peer::Guest(step.guest.clone());
        let address = self.guest_address(&step.guest, &step.device)?;
        let request = Request::Unaligned { address, map: step.map, offset: PROBE_OFFSET };
        let outcome = match self.session.link.ask(&peer, request, "probe", self.due(Deadline::Request)).await
        {
            Ok(Reply::Unaligned { outcome }) => ProbeOutcome::Answered(outcome),
            Ok(other) => return Err(wrong(peer, "probe", &other)),
            // What the store was to find out; see "What emulation can show" in docs/architecture.md.
            Err(LinkError::GuestEnded { how, .. }) => ProbeOutcome::GuestEnded(how),
            Err(error) => return Err(error.into()),
        };
        self.log.event(Event::Probed {
            step: index,
            guest: step.guest.clone(),
            device: step.device.clone(),
            map: step.map,
            outcome,
        });
        Ok(())
    }
}

/// Whether no device is said to be mapped twice in one way: each mapping is walked while the machine stands still.
fn each_once(mappings: &[Mapping]) -> bool {
    let mut known = BTreeSet::new();
    mappings.iter().all(|mapping| known.insert((&mapping.device, mapping.map)))
}

pub(super) fn wrong(peer: Peer, what: &'static str, reply: &Reply) -> Stop {
    LinkError::WrongReply { peer, what, reply: format!("{reply:?}").chars().take(200).collect() }.into()
}
