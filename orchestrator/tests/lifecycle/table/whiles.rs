//! Stores of a guest while the host acts.

use super::*;
use s2lab_protocol::ask::{EndStores, StoresEnded};

pub(super) fn whiles() -> Vec<Row> {
    let row = |name, moment: &str, act| fault(name, request(moment), act).with_a_loop();
    let ended = |passes| Act::answer::<EndStores>(&StoresEnded { passes, faults: 0 });
    vec![
        good("stores-while-the-host-acts").with_a_loop(),
        fault("a-leaf-outlives-a-zap", Moment::Start, Act::StayMapped).with_a_loop().judged(
            "FAIL",
            "step 2, stage 2 after the memory-off of nic, round 1: 2 leaves, the first at IPA 0x8080000000 instead of no leaf in its BARs",
        ),
        row("nothing-stored-while-the-host-acts", "end-stores", ended(0)).judged(
            "MISS",
            "step 2, stores of g0 while the host acts: the stores of all bytes: none instead of each byte at least once",
        ),
        row("stores-do-not-begin", "begin-stores", refuse(FailureKind::Invalid, "no vCPU"))
            .stops("ERROR", Stage::Steps, "no vCPU"),
        row("stores-never-end", "end-stores", Act::Ignore)
            .stops("TIMEOUT(steps)", Stage::Steps, "`end the stores`")
            .after(Deadline::Request),
    ]
}
