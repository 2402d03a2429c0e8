//! The leaves that invalidations remove from the TLBs, and those that they leave.

use crate::steps::TracedTlbi;
use s2lab_mmu::{Granule, Invalidation, InvalidationScope, Ipas, Range, Stage2, Stage2Leaf, ranges};
use std::collections::BTreeMap;

/// The most comparisons of a leaf with a range: a fraction of a second.
const MOST_COMPARISONS: usize = 1 << 26;

/// The invalidations that are about a guest, with their numbers in order of time.
#[derive(Default)]
pub(super) struct Removed {
    /// Those of one IPA each, by the IPA.
    single: BTreeMap<u64, Vec<ByIpa>>,
    ranges: Vec<ByIpa>,
    /// The last one of the guest's stage 1, on all CPUs.
    stage1: Option<usize>,
    /// True after one of the whole VMID, on all CPUs.
    whole: bool,
}

#[derive(Clone, Copy)]
struct ByIpa {
    number: usize,
    name: &'static str,
    ipas: Ipas,
    broadcast: bool,
}

/// Neighbouring leaves that are left for one reason.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) range: Range,
    pub(super) why: String,
    /// The instruction that should have removed the first leaf.
    pub(super) evidence: Option<String>,
}

impl Removed {
    pub(super) fn of(guest: &Stage2, all: impl Iterator<Item = TracedTlbi>) -> Self {
        let mut removed = Self::default();
        for (number, traced) in all.enumerate() {
            removed.add(guest, number, &traced);
        }
        removed
    }

    fn add(&mut self, guest: &Stage2, number: usize, traced: &TracedTlbi) {
        let Some(Invalidation { name, scope, broadcast }) = traced.decode(guest.lpa2()) else { return };
        let own = guest.vmid_of(traced.vttbr) == guest.vmid();
        match scope {
            InvalidationScope::All => self.whole |= broadcast,
            _ if !own => {}
            InvalidationScope::Vmid => self.whole |= broadcast,
            InvalidationScope::Stage1 if broadcast => self.stage1 = Some(number),
            InvalidationScope::Stage1 => {}
            InvalidationScope::Ipas(ipas) => {
                let by_ipa = ByIpa { number, name, ipas, broadcast };
                match ipas.size {
                    1 => self.single.entry(ipas.start).or_default().push(by_ipa),
                    _ => self.ranges.push(by_ipa),
                }
            }
        }
    }

    /// Returns the leaves that are left, neighbours together.
    pub(super) fn left(&self, guest: &Stage2, leaves: &[Stage2Leaf]) -> Result<Vec<Left>, String> {
        if self.whole {
            return Ok(vec![]);
        }
        if leaves.len().saturating_mul(self.ranges.len()) > MOST_COMPARISONS {
            return Err(format!("{} leaves and {} ranges are too many", leaves.len(), self.ranges.len()));
        }
        let why = |leaf| self.why_left(guest, leaf).or_else(|| self.with_hint_of_table(leaf));
        let left = leaves.iter().filter_map(|leaf| Some((leaf, why(leaf)?)));
        let left: Vec<_> = left.collect();
        let mut out = vec![];
        for alike in left.chunk_by(|(_, one), (_, other)| one.0 == other.0) {
            let Some((_, (why, evidence))) = alike.first() else { continue };
            let leaves: Vec<_> = alike.iter().map(|(leaf, _)| **leaf).collect();
            let (why, evidence) = (why.clone(), evidence.clone());
            out.extend(ranges(&leaves).map(|range| Left {
                range,
                why: why.clone(),
                evidence: evidence.clone(),
            }));
        }
        Ok(out)
    }

    /// Returns the reason why a leaf is left, if it is, and the last instruction about it.
    fn why_left(&self, guest: &Stage2, leaf: &Stage2Leaf) -> Option<(String, Option<String>)> {
        let end = leaf.ipa.saturating_add(leaf.size);
        let single = self.single.range(leaf.ipa..end).flat_map(|(_, all)| all);
        let mut last: Option<(&ByIpa, String)> = None;
        for one in single.chain(&self.ranges).filter(|one| one.ipas.meets(leaf)) {
            let why = self.ineffective(one, leaf, guest.granule())?;
            if last.as_ref().is_none_or(|(last, _)| last.number < one.number) {
                last = Some((one, why));
            }
        }
        Some(match last {
            None => ("none".to_owned(), None),
            Some((one, why)) => {
                (format!("{} {why}", one.name), Some(format!("{} of {}", one.name, one.ipas)))
            }
        })
    }

    /// Returns the invalidation of the table above a leaf, if it has the level of the table as hint. Then the
    /// copies of the table's descriptor need not go: a hint is the level of leaves (DDI 0487, C5.5, TLBI
    /// IPAS2E1, TTL). Linux 6.9 gives none (36e008323926).
    fn with_hint_of_table(&self, leaf: &Stage2Leaf) -> Option<(String, Option<String>)> {
        let mut single =
            self.single.range(leaf.ipa..leaf.ipa.saturating_add(leaf.size)).flat_map(|(_, all)| all);
        let above = |one: &&ByIpa| one.ipas.level.is_some_and(|level| level < leaf.level);
        let ByIpa { name, ipas, .. } = single.find(above)?;
        let evidence = format!("{name} of {ipas}");
        Some((format!("{name} of the table above with a level hint"), Some(evidence)))
    }

    /// Returns the reason why an instruction about a leaf does not remove it, or None if it does.
    fn ineffective(&self, one: &ByIpa, leaf: &Stage2Leaf, granule: Granule) -> Option<String> {
        let in_order = self.stage1.is_some_and(|stage1| one.number < stage1);
        match one.ipas.removes(leaf, granule) {
            Err(why) => Some(why.to_string()),
            Ok(()) if !one.broadcast => Some("for one CPU only".into()),
            Ok(()) if !in_order => Some("without one of stage 1 after it".into()),
            Ok(()) => None,
        }
    }
}
