//! The resolved cell: everything that decides what s2lab does in a cell and what it asserts.

use crate::hash::{digest, is_digest};
use crate::kernel::Traits;
use crate::scenario::{AssignDriver, Expectation, Guest, Host, Matrix, Promise, Scenario, Vmm};
use crate::steps::{ExecStep, Step, SuiteStep};
use s2lab_protocol::ModuleVma;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A scenario on a kernel, resolved. Run, log, judgement and report know this type alone;
/// [`Scenario`] is the file as it is written.
///
/// Nothing here is only for people, so `about` is not here. The names of scenario and kernel are in
/// the cell's key. Host, guests, steps and expectations have the types of the file: parsing has
/// filled in their defaults, and a size has one text, whatever its notation was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedCell {
    /// Options that the kernel must have, each with the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub needs: BTreeMap<String, String>,
    pub host: Host,
    pub guests: BTreeMap<String, Guest>,
    pub steps: Vec<Step>,
    pub expect: Vec<Expectation>,
    /// The SHA-256 of each program that a step names, by its path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub programs: BTreeMap<String, String>,
    /// The promises that the cell checks: those of the file, and isolation if the cell looks.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub promises: BTreeSet<Promise>,
    /// The cell is a negative control: each of its expectations must be unmet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inverted: bool,
    /// The reason why the kernel does not run this point of the axes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded: Option<String>,
    /// The declared traits of the kernel. If they leave something open, exactly one alternative of
    /// the expectations must be met, and it must be one that all cells of the kernel meet.
    pub traits: Traits,
}

impl ResolvedCell {
    pub fn of(scenario: &Scenario, traits: Traits) -> Self {
        Self {
            needs: scenario.needs.clone(),
            host: scenario.host.clone(),
            guests: scenario.guests.clone(),
            steps: scenario.steps.clone(),
            expect: scenario.expect.clone(),
            programs: scenario.programs.clone(),
            promises: scenario.held_up(),
            inverted: false,
            excluded: None,
            traits,
        }
    }

    /// Returns the traits that must be equal in two reports of one kernel. One about the shape of
    /// tables is among them only if an expectation names it.
    pub fn blocking_traits(&self) -> Traits {
        let conditions =
            || self.expect.iter().flat_map(|expected| expected.when.iter().chain(&expected.unless));
        self.traits.only(|one| !one.is_minor() || conditions().any(|named| named == one))
    }

    /// Returns the scenario of this cell in its written form, with every default written out.
    pub fn written(&self, name: &str, about: &str) -> Scenario {
        Scenario {
            scenario: name.to_owned(),
            about: about.to_owned(),
            promises: self.promises.clone(),
            sets: BTreeSet::new(),
            axes: BTreeMap::new(),
            exclude: vec![],
            needs: self.needs.clone(),
            host: self.host.clone(),
            guests: self.guests.clone(),
            steps: self.steps.clone(),
            expect: self.expect.clone(),
            matrix: Matrix::default(),
            programs: self.programs.clone(),
        }
    }

    /// Returns true if the programs are exactly those of the steps, each with a digest.
    pub(crate) fn has_its_programs(&self) -> bool {
        let files = self.steps.iter().filter_map(|step| step.of::<ExecStep>()).map(|step| &step.file);
        files.collect::<BTreeSet<_>>() == self.programs.keys().collect()
            && self.programs.values().all(|digest| is_digest(digest))
    }

    /// Returns true if QEMU runs a guest in the host.
    pub fn runs_qemu(&self) -> bool {
        self.guests.values().any(|guest| guest.vmm == Vmm::Qemu)
    }

    /// Returns the way in which a guest gets the device.
    pub fn assigned(&self, device: &str) -> Option<AssignDriver> {
        self.guests.values().find_map(|guest| guest.assign.get(device)).copied()
    }

    /// Returns the VMA of s2lab's module over the device's BAR.
    pub fn vma(&self, device: &str) -> Option<ModuleVma> {
        self.guests.values().find_map(|guest| guest.vma(device))
    }

    /// Returns true if a guest has a virtual function.
    pub fn has_functions(&self) -> bool {
        self.bound().any(|(_, way)| way == AssignDriver::VirtualFunction)
    }

    /// Returns true if a guest has memory of s2lab's own kernel module.
    pub fn uses_module(&self) -> bool {
        self.guests.values().any(|guest| !guest.vmas.is_empty())
    }

    /// Yields the devices that the host's agent binds, each with the way: those of guests, and those of selftests.
    pub fn bound(&self) -> impl Iterator<Item = (&str, AssignDriver)> {
        let of_guests = self.guests.values().flat_map(|guest| &guest.assign);
        let of_suites = self.steps.iter().filter_map(|step| step.of::<SuiteStep>()?.device.as_deref());
        of_guests
            .map(|(device, way)| (device.as_str(), *way))
            .chain(of_suites.map(|device| (device, AssignDriver::VfioPci)))
    }

    /// The SHA-256 of the cell's canonical JSON without the kernel's traits, so cells of a scenario on
    /// any kernel have the same. Reports of cells with different digests are not comparable.
    ///
    /// The JSON has sorted keys and no key without a value. So a new optional key of the model
    /// leaves the digests of all cells that do not use it as they are.
    pub fn digest(&self) -> String {
        // A value whose maps have texts as keys always has a JSON form.
        let mut json = serde_json::to_value(self).unwrap_or_default();
        json.as_object_mut().map(|fields| fields.remove("traits"));
        json.sort_all_objects();
        digest(json.to_string().as_bytes())
    }
}

#[cfg(test)]
mod tests;
