//! The throughput of stores to BARs: samples of all attempts at a cell. They decide nothing.

use crate::record::{At, Record};
use crate::statistics::megabytes_per_second;
use crate::steps::Stored;
use s2lab_protocol::MapKind;
use std::collections::BTreeMap;

/// The samples of one kind of store of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Throughput {
    /// From 0, in the scenario's order.
    pub step: usize,
    pub guest: String,
    pub device: String,
    pub map: MapKind,
    /// Bytes.
    pub width: u32,
    /// MB/s, in the order of the attempts. A store that took no measurable time has no sample.
    pub samples: Vec<u64>,
}

impl Throughput {
    /// Returns the throughputs in the records of a cell's attempts, by step, guest, device, mapping
    /// and width.
    pub fn all<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<Throughput> {
        let mut samples: BTreeMap<(usize, &str, &str, MapKind, u32), Vec<u64>> = BTreeMap::new();
        for record in records {
            for At { step, data: Stored { guest, device, map, width, bytes, result, .. } } in record.all() {
                let rate = megabytes_per_second(*bytes, result.nanos);
                samples.entry((step, guest, device, *map, *width)).or_default().extend(rate);
            }
        }
        let named = |((step, guest, device, map, width), samples): ((_, &str, &str, _, _), _)| {
            let (guest, device) = (guest.to_owned(), device.to_owned());
            Throughput { step, guest, device, map, width, samples }
        };
        samples.into_iter().map(named).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::fixture::Story;

    #[test]
    fn samples_of_all_attempts_are_together() {
        let records = [Story::after().attempt().record, Story::after().attempt().record];
        let all = Throughput::all(&records);
        let seen = |of: &Throughput| (of.step, of.width, of.samples.clone());
        let expected = [(0, 8, vec![833, 833]), (0, 64, vec![524, 524]), (3, 8, vec![819, 819])];
        assert_eq!(all.iter().map(seen).collect::<Vec<_>>(), expected);
        assert_eq!((&*all[0].guest, &*all[0].device, all[0].map), ("g0", "nic", MapKind::Wc));
    }
}
