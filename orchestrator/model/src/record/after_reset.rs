//! Stage 2 of a guest right after a step that removes its device: a reset, memory space off, low
//! power. vfio-pci removes the BARs from the VMM's page tables before (Linux
//! drivers/vfio/pci/vfio_pci_core.c, vfio_pci_zap_and_down_write_memory_lock), and KVM then removes
//! them from stage 2. They come back with the guest's next access.

use super::beside::SeenBeside;
use super::look::{LookError, Pages, memory};
use super::{Record, Surroundings};
use crate::cell::ResolvedCell;
use crate::regions::RegionName;
use crate::steps::{AfterReset, Removal};
use s2lab_mmu::{Limits, PhysMem, Stage2Leaf};
use std::collections::BTreeMap;

/// The rest of a device in its guest's stage 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remainder {
    pub step: usize,
    pub device: String,
    /// The round of a loop.
    pub round: Option<u32>,
    /// The leaves in the device's BARs, or in the part of them that must go.
    pub leaves: Result<Vec<Stage2Leaf>, LookError>,
}

/// Decodes the tables recorded after each removal. Tables of more than those that are planned are not
/// decoded.
pub fn decode(record: &Record, pages: &(impl Pages + ?Sized)) -> Vec<Remainder> {
    let around = &record.session.around;
    let mut asked_for = planned(&record.planned.resolved);
    let left = record.all::<AfterReset>().map(|after| {
        let is_it = (after.step, after.data.device.as_str());
        let leaves = match asked_for.get_mut(&is_it).filter(|asked| asked.times > 0) {
            Some(asked) => {
                asked.times -= 1;
                let (part, bar) = (asked.removal.part, around.bar(&after.device));
                let leaves = memory(&after.pages, pages).and_then(|memory| leaves(&after, around, &memory));
                leaves.map(|leaves| leaves.into_iter().filter(|leaf| part.has(leaf, bar)).collect())
            }
            None => Err(LookError::Unplanned),
        };
        Remainder { step: after.step, device: after.device.clone(), round: after.round, leaves }
    });
    left.collect()
}

/// The removals of a device in a step: those of a loop are several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PlannedRemovals<'a> {
    /// The first of them.
    pub(crate) removal: Removal<'a>,
    pub(crate) times: usize,
}

/// Returns the removals of each step and device.
pub(crate) fn planned(cell: &ResolvedCell) -> BTreeMap<(usize, &str), PlannedRemovals<'_>> {
    let mut planned = BTreeMap::new();
    for (at, step) in cell.steps.iter().enumerate() {
        for removal in step.removals() {
            let none = PlannedRemovals { removal, times: 0 };
            planned.entry((at, removal.device)).or_insert(none).times += 1;
        }
    }
    planned
}

/// Returns the leaves in the device's BARs in `memory`, the host's. The pages in `after` are not
/// used.
pub fn leaves(
    after: &AfterReset,
    around: &Surroundings,
    memory: &dyn PhysMem,
) -> Result<Vec<Stage2Leaf>, LookError> {
    let seen = SeenBeside::of(&after.tables, around, memory, Limits::default())?;
    let places = RegionName::device(&after.device).kind().places(around, seen.granule);
    let meets = |leaf: &Stage2Leaf| {
        let end = leaf.pa.saturating_add(leaf.size);
        places.iter().any(|place| leaf.pa < place.end && place.start < end)
    };
    Ok(seen.leaves.into_iter().filter(meets).collect())
}
