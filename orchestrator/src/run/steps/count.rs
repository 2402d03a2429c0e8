//! The counts of a step, if the scenario counts the device that the step names.

use super::super::{cell::CellContext, stages::Stop};
use crate::host::{Moment, Recorded, TlbiTrace};
use s2lab_model::steps::{Counted, Counts, FaultRun, Observation, Step, TlbiRun};

/// A moment before a step.
pub(super) struct Begin {
    device: String,
    /// The place of the device among those that are counted.
    area: usize,
    moment: Moment,
    counts: Counts,
}

impl CellContext<'_, '_> {
    /// Writes the places of the counted BARs for the machine.
    pub(in super::super) fn count_bars(&self) -> Result<(), Stop> {
        let counted = self.planned.resolved.host.counted();
        let areas: Vec<_> = counted
            .filter_map(|device| self.session.around.placed.get(device)?.iter().max_by_key(|bar| bar.size))
            .map(|bar| bar.start..bar.start.saturating_add(bar.size))
            .collect();
        match self.session.host.trace() {
            Ok(trace) => {
                trace.count(&areas).map_err(|error| Stop::lab(format!("the plugin's memory: {error}")))
            }
            Err(_) => Ok(()),
        }
    }

    /// Returns the counted device that a step names, with its place among those that are counted.
    pub(super) fn counted<'s>(&self, step: &'s Step) -> Option<(&'s str, usize)> {
        let device = step.device()?;
        let area = self.planned.resolved.host.counted().position(|counted| counted == device)?;
        Some((device, area))
    }

    /// Returns this moment, before a step that names a counted device.
    pub(super) fn begin_count(&self, step: &Step) -> Option<Begin> {
        let (device, area) = self.counted(step)?;
        let trace = self.session.host.trace().ok()?;
        Some(Begin { device: device.to_owned(), area, moment: trace.now(), counts: trace.counts(area) })
    }

    /// Logs the counts since then.
    pub(super) fn end_count(&self, index: usize, begin: Option<Begin>) {
        let trace = self.session.host.trace().ok();
        let Some((Begin { device, area, moment, counts }, trace)) = begin.zip(trace) else { return };
        let accesses = trace.counts(area).since(&counts);
        self.observed(index, Observation::Counted(counted(device, accesses, trace, moment)));
    }
}

fn counted(device: String, accesses: Counts, trace: &TlbiTrace, begin: Moment) -> Counted {
    let Recorded { instructions, faults, incomplete } = trace.since(begin);
    let of_el2: Vec<_> = instructions.into_iter().filter(|tlbi| tlbi.el == 2).collect();
    let ((tlbis, all_tlbis), (faults, all_faults)) = (TlbiRun::of(&of_el2), FaultRun::of(&faults));
    let unkept = (!all_tlbis || !all_faults).then(|| "too many runs of faults or instructions".to_owned());
    Counted { device, accesses, faults, tlbis, incomplete: incomplete.or(unkept) }
}
