//! The negative control: a cell whose expectations are inverted, so that a lab that works finds
//! them unmet. A lab that always sees the same type, or a judge that always agrees, meets them.

use super::{PlanError, plan_cells};
use crate::cell::ResolvedCell;
use crate::event::PlannedCell;
use crate::kernel::{Kernels, Traits};
use crate::plan::{Key, QemuChoice, Selection};
use crate::regions::RegionName;
use crate::scenario::{Expectation, MemoryType, Scenario, Stage2Type};
use std::collections::BTreeSet;

impl PlannedCell {
    /// Returns the negative control of the cell, or None if it expects no stage-2 type of a device,
    /// its kernel declares nothing, or it does not run.
    ///
    /// Host, guests and steps are those of the cell. Each type that it expects of a device is
    /// replaced by the other one, and nothing else is expected.
    pub fn control(&self) -> Option<PlannedCell> {
        let Traits::Exactly(traits) = &self.resolved.traits else { return None };
        if self.resolved.excluded.is_some() {
            return None;
        }
        let applies = |expectation: &&Expectation| expectation.applies_to(traits);
        let inverted: Vec<_> = self.resolved.expect.iter().filter(applies).filter_map(inverted).collect();
        let key = self.key.control().ok().filter(|_| !self.key.is_control() && !inverted.is_empty())?;
        let word = |word: &String| if *word == self.key.as_str() { key.to_string() } else { word.clone() };
        let about = format!("Negative control of {}: its expectations are inverted.", self.key);
        let written = self.resolved.written(key.scenario(), &about);
        let scenario = Scenario { promises: BTreeSet::new(), expect: inverted, ..written };
        let resolved = ResolvedCell::of(&scenario, self.resolved.traits.clone());
        Some(PlannedCell {
            repeat: self.repeat.iter().map(word).collect(),
            kernel: self.kernel.clone(),
            resolved: ResolvedCell { inverted: true, ..resolved },
            about,
            key,
        })
    }
}

const NORMAL_NC: Stage2Type = Stage2Type::Type(MemoryType::NormalNC);

/// Returns the negative controls for a run of these cells, one for each QEMU of theirs: the first that
/// inverts an expectation to Normal-NC, which a lab that always sees Normal-NC meets, else the first of
/// all.
pub fn controls(cells: &[PlannedCell]) -> Vec<PlannedCell> {
    let expects_nc = |control: &PlannedCell| {
        control.resolved.expect.iter().all(|expectation| expectation.stage2 == Some(NORMAL_NC))
    };
    let of = |qemu: QemuChoice| {
        let cells = || cells.iter().filter(move |cell| QemuChoice::of(&cell.key) == Some(qemu));
        let controls = || cells().filter_map(PlannedCell::control);
        controls().find(expects_nc).or_else(|| controls().next())
    };
    QemuChoice::ALL.into_iter().filter_map(of).collect()
}

/// Returns an expectation that is met if this one is not, or None if it is not about the type of a
/// device.
fn inverted(expectation: &Expectation) -> Option<Expectation> {
    let Expectation { at, of, stage2, .. } = expectation;
    let is_device = matches!(RegionName::of(of), RegionName::Device(_));
    let other = match stage2.filter(|_| is_device)? {
        NORMAL_NC => Stage2Type::Type(MemoryType::DeviceNGnRE),
        Stage2Type::Type(_) => NORMAL_NC,
        Stage2Type::Nothing => return None,
    };
    Some(Expectation { at: at.clone(), stage2: Some(other), ..Expectation::about(of) })
}

/// Returns the cell of which the selector is the key of the negative control.
pub(super) fn controlled(selector: &str) -> Option<Key> {
    selector.parse::<Key>().ok()?.controlled()
}

/// Returns the negative control of the cell `key`.
pub(super) fn planned(
    scenarios: &[Scenario],
    kernels: &Kernels,
    selection: &Selection,
    key: &Key,
) -> Result<PlannedCell, PlanError> {
    let only = Selection { selectors: vec![key.to_string()], exclude: vec![], ..selection.clone() };
    let cells = plan_cells(scenarios, kernels, &only)?;
    let control = cells.first().and_then(PlannedCell::control);
    control.ok_or_else(|| PlanError::NoControl { key: key.clone() })
}
