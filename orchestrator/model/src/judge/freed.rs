//! The check that the host has the memory of its guests' tables back when they are gone.

use crate::finding::{Finding, Subject, Weight};
use crate::record::Record;
use s2lab_protocol::TableMemory;

/// The KiB by which the kernel's account may be too high. That of Debian's 6.1 was one page too high
/// after two of three runs in which guests were killed by a fault on Device memory. It was exact, 0
/// KiB before and after, in five later runs of 6.1.192 and in one of 6.1.176.
///
/// The source has one asymmetry. A table is added when it is allocated. It is subtracted by the one
/// who drops its last reference, if `page_count` is 1 (6.1.176 arch/arm64/kvm/mmu.c,
/// kvm_s2_put_page). Whoever looks at pages by their numbers may hold another reference for a moment
/// (mm/compaction.c, isolate_migratepages_block: get_page_unless_zero). Then the table is freed, and
/// stays in the account. One lost page cannot be distinguished from that, so the rule is not exact. Four
/// guests that lose one page each are more: 16 KiB.
const DRIFT: u64 = 12;

/// Returns a finding if more memory is used for secondary page tables than before the first guest.
/// Without the kernel's account there is nothing to compare.
pub(super) fn finding(record: &Record) -> Option<Finding> {
    let TableMemory { before, after } = record.session.tables?;
    let what = "memory of secondary page tables after the guests (SecPageTables)";
    let expected = format!("{before} KiB, as before them");
    let finding = Finding::new(Weight::Kernel, Subject::cell(), what, expected, format!("{after} KiB"));
    (after > before.saturating_add(DRIFT)).then_some(finding)
}

#[cfg(test)]
mod tests {
    use crate::event::Event;
    use crate::judge::fixture::Story;
    use crate::verdict::Verdict;
    use s2lab_protocol::TableMemory;

    fn findings(account: Option<TableMemory>) -> (Option<Verdict>, Vec<String>) {
        let story = Story::after().edit(|event| {
            if let Event::CellRecord { tables, .. } = event {
                *tables = account;
            }
        });
        let judgement = story.attempt().judgement;
        let said = judgement.findings.iter().map(|f| format!("{}: {}, not {}", f.what, f.found, f.expected));
        (judgement.verdict, said.collect())
    }

    #[test]
    fn tables_that_stay_are_the_kernels_fault() {
        let of = |before, after| findings(Some(TableMemory { before, after }));
        assert_eq!(of(52, 52 + super::DRIFT).1, Vec::<String>::new());
        let what = "memory of secondary page tables after the guests (SecPageTables)";
        let said = format!("{what}: 69 KiB, not 52 KiB, as before them");
        assert_eq!(of(52, 69), (Some(Verdict::Fail), vec![said]));
        for account in
            [None, Some(TableMemory { before: 52, after: 52 }), Some(TableMemory { before: 52, after: 4 })]
        {
            assert_eq!(findings(account).1, Vec::<String>::new());
        }
    }
}
