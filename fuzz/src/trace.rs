//! Lines of the kernel's trace.

use s2lab_protocol::ask::Pages;
use s2lab_protocol::trace::{TracedFault, has_lost};
use std::collections::BTreeSet;

pub(crate) fn faults(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut pages = BTreeSet::new();
    for line in text.lines() {
        let fault = TracedFault::parse(line);
        assert!(fault.is_none() || !has_lost(line), "a line is a fault or says that some are lost: {line}");
        pages.extend(fault.map(|fault| fault.ipa & !(Pages::SIZE - 1)));
    }
    let runs = Pages::runs(pages.iter().copied());
    let sum: u64 = runs.iter().map(|run| run.pages).sum();
    assert_eq!(sum, pages.len() as u64, "each page is in one run");
    let apart =
        |pair: &[Pages]| pair.iter().map(Pages::end).next().flatten() < pair.last().map(|last| last.ipa);
    assert!(runs.windows(2).all(apart), "runs are ascending and do not touch: {runs:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_trace_has_faults() {
        let text = include_str!("../corpus/trace/recorded");
        let faults: Vec<_> = text.lines().filter_map(TracedFault::parse).collect();
        assert!(faults.len() > 5 && faults.iter().all(TracedFault::is_translation), "{faults:?}");
    }
}
