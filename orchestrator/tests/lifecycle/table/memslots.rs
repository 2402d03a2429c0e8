//! Operations on the memslots of a guest of the built-in VMM.

use super::*;
use s2lab_protocol::MemslotOperation;
use s2lab_protocol::ask::{Memslot, MemslotDone};

pub(super) fn memslots() -> Vec<Row> {
    let row = |name, act| fault(name, request("memslot"), act).with_memslots();
    vec![
        good("memslots").with_memslots(),
        Row { script: Script::default(), verdict: "PASS as before the series", ..good("memslots-before-the-series") }
            .with_memslots(),
        row("a-bar-is-logged", done(MemslotOperation::Log, None)).judged(
            "FAIL",
            "step 2, log of the memslot of nic: done instead of refused with errno 22",
        ),
        row("refused-for-another-reason", done(MemslotOperation::Log, Some(12))).judged(
            "FAIL",
            "step 2, log of the memslot of nic: refused with errno 12 instead of refused with errno 22",
        ),
        row("another-operation-on-a-memslot", done(MemslotOperation::Add, None)).stops(
            "MISS",
            Stage::Steps,
            "answers `change a memslot` with something else",
        ),
        row("memslot-never-answered", Act::Ignore)
            .stops("TIMEOUT(steps)", Stage::Steps, "`change a memslot`")
            .after(Deadline::Request),
        fault("a-removed-memslot-that-stays", Moment::Start, Act::StayMapped).with_memslots().judged(
            "FAIL",
            "step 5, stage 2 after the remove of nic: 2 leaves, the first at IPA 0x8080000000 instead of no leaf in its BARs",
        ),
    ]
}

fn done(operation: MemslotOperation, errno: Option<i32>) -> Act {
    Act::answer::<Memslot>(&MemslotDone { operation, errno })
}
