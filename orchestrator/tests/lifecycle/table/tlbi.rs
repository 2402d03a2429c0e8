//! The TLB invalidations of a host, as a plugin of QEMU records them.

use super::*;
use guest_tables::BAR_IPA;
use s2lab_trace::{Head, RING};
use std::mem::offset_of;

const IPAS2E1IS: u64 = 0xd50c_8021;
const VMALLE1IS: u64 = 0xd508_831f;
/// The BAR's two blocks of 2 MiB.
const BLOCKS: [u64; 2] = [BAR_IPA >> 12, (BAR_IPA >> 12) + 512];
/// The hint of level 3, with 4K tables.
const LEVEL_3: u64 = 0b0111 << 44;

pub(super) fn invalidations() -> Vec<Row> {
    let taken = |name| good(name).plugin(PluginAnswer::Taken);
    let ipas = |operand| Tlbi { word: IPAS2E1IS, operand };
    let stage1 = Tlbi { word: VMALLE1IS, operand: 0 };
    let after_reset = |name, all: &[Tlbi]| taken(name).and(Moment::Start, Act::Invalidate(all.to_vec()));
    let trace = |name, offset: usize, word| {
        taken(name).and(request("reset"), Act::Trace { offset: offset as u64, word })
    };
    let counted = |name, records: u64| {
        let number = |word| Act::Trace { offset: offset_of!(Head, records) as u64, word };
        // The second removal has as many that were not recorded: more than CPUs may still write.
        let later = number(records.wrapping_add(20));
        after_reset(name, &[]).and(request("reset"), number(records)).and(request("device"), later)
    };
    vec![
        taken("invalidated").hears("tlbi", "agrees"),
        good("plugin-of-the-newest-interface").plugin(PluginAnswer::TakenByTheNewest).hears("tlbi", "agrees"),
        good("plugin-refused")
            .plugin(PluginAnswer::Refused)
            .hears("tlbi", "silent: no plugin: QEMU does not take it: fake-qemu: Could not load plugin"),
        good("plugin-not-built").hears("tlbi", "silent: no plugin: the script has none"),
        after_reset("no-invalidation", &[]).judged("FAIL", "2 of level 2: none instead of one"),
        after_reset("a-block-is-left", &[ipas(BLOCKS[0]), stage1])
            .judged("FAIL", "0x8080200000..0x8080400000, 1 of level 2: none instead of"),
        after_reset("a-wrong-level-hint", &[ipas(BLOCKS[0]), ipas(BLOCKS[1] | LEVEL_3), stage1]).judged(
            "FAIL",
            "IPAS2E1IS with level hint 3 instead of one for all CPUs, with level hint 2 or none",
        ),
        after_reset("stage-1-is-left", &[stage1, ipas(BLOCKS[0]), ipas(BLOCKS[1])])
            .judged("FAIL", "IPAS2E1IS without one of stage 1 after it"),
        after_reset("an-instruction-that-is-none", &[Tlbi { word: u64::MAX, operand: u64::MAX }])
            .judged("FAIL", "none instead of one for all CPUs"),
        trace("plugin-of-another-version", offset_of!(Head, magic), 7)
            .hears("tlbi", "silent: the plugin did not start, or is of another version"),
        trace("plugin-without-a-register", offset_of!(Head, missing), 1)
            .hears("tlbi", "silent: QEMU has not named 1 registers"),
        taken("plugin-that-does-not-begin")
            .and(Moment::Start, Act::Trace { offset: offset_of!(Head, begun) as u64, word: 0 })
            .hears("tlbi", "silent: the plugin has not begun to record")
            .after(Deadline::Gdb),
        taken("more-invalidations-than-are-kept")
            .and(Moment::Start, Act::Invalidate(vec![stage1; RING + 1]))
            .hears("tlbi", "silent: the plugin keeps 65536 instructions, and there were 65537"),
        taken("too-many-runs-of-invalidations")
            .and(Moment::Start, Act::Invalidate((0..4096).map(|n: u64| ipas(n * n)).collect()))
            .hears("tlbi", "silent: 4096 instructions in too many runs"),
        taken("counted").counting().hears("tlbi", "agrees"),
        good("counted-without-a-plugin").counting().stops(
            "SKIP(the scenario counts, and QEMU has no plugin: the script has none)",
            Stage::Preflight,
            "the scenario counts, and QEMU has no plugin",
        ),
        trace("accesses-to-unknown-places", offset_of!(Head, unplaced), 3)
            .counting()
            .judged("MISS", "counts of nic: 3 accesses to unknown places instead of one observation"),
        counted("a-wild-number-of-records", u64::MAX)
            .hears("tlbi", "silent: the plugin keeps 65536 instructions"),
        counted("records-that-were-not-written", 20).hears("tlbi", "silent: instruction 0 was not recorded"),
    ]
}
