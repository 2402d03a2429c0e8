//! The numbers of a cell: the samples of its measures, boot by boot. They decide nothing.

use crate::record::Record;
use crate::steps::Sample;
use std::collections::BTreeMap;

/// The samples of one measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measure {
    /// From 0, in the scenario's order.
    pub step: usize,
    pub name: String,
    /// The boots that have samples, in their order.
    pub boots: Vec<Boot>,
}

/// The samples of one boot of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// The number of the attempt at the cell, from 1.
    pub number: usize,
    /// Nanoseconds, in their order, without the warm-up.
    pub samples: Vec<u64>,
}

impl Measure {
    /// Returns the measures in the records of a cell's attempts, of which each is a boot, by step.
    pub fn all<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<Measure> {
        let mut measures: BTreeMap<(usize, &str), Vec<Boot>> = BTreeMap::new();
        for (number, record) in (1..).zip(records) {
            for sample in record.all::<Sample>().filter(|sample| !sample.warm_up) {
                let boots = measures.entry((sample.step, sample.data.measure.as_str())).or_default();
                let nanos = sample.stored.result.nanos;
                match boots.last_mut().filter(|boot| boot.number == number) {
                    Some(boot) => boot.samples.push(nanos),
                    None => boots.push(Boot { number, samples: vec![nanos] }),
                }
            }
        }
        let named =
            |((step, name), boots): ((usize, &str), _)| Measure { step, name: name.to_owned(), boots };
        measures.into_iter().map(named).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::fixture::Story;

    #[test]
    fn samples_stay_with_their_boots() {
        let record = |times: &[u64]| Story::measuring(times).attempt().record;
        let records = [record(&[9, 1, 2, 3]), Story::after().attempt().record, record(&[9, 7, 5, 6])];
        let boots = [(1, [1, 2, 3]), (3, [7, 5, 6])];
        let boots = boots.map(|(number, samples)| Boot { number, samples: samples.into() }).into();
        let measure = Measure { step: 0, name: "x".into(), boots };
        assert_eq!(Measure::all(&records), [measure], "the first store is the warm-up");
    }
}
