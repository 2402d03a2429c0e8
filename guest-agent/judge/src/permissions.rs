//! Permissions of both stages, by real loads, stores and instruction fetches at EL1 and EL0: AT has
//! no instruction for a fetch, and QEMU 10.0 cannot answer it where stage 2 refuses.

use crate::{
    attributes::{fixed, tree},
    encode::Format,
    machine,
    questions::Judge,
    ram,
};
use s2lab_judge_records::{Access, Regime};

/// The pages of the program below EL2: vectors and code of EL1, code of EL0.
const VECTORS: u64 = 0x8000_0000;
const CODE: u64 = VECTORS + 0x1000;
const USER_CODE: u64 = VECTORS + 0x2000;
/// The pages that are tried.
const PAGES: u64 = VECTORS + 0x10_0000;
const AF: u64 = 1 << 10;
/// The dirty bit modifier, which has no effect without TCR_EL1.HD and VTCR_EL2.HD.
const DBM: u64 = 1 << 51;
/// Values of a field of two bits.
const FOUR: u64 = 4;
/// `ldr x1, [x0]`, `str xzr, [x0, #64]`, `hvc #1`, `svc #1`, `hvc #2` (DDI 0487, C6.2).
const LOAD: u32 = 0xf940_0001;
const STORE: u32 = 0xf900_201f;
const HVC: u32 = 0xd400_0022;
const SVC: u32 = 0xd400_0021;
const HVC_OF_VECTOR: u32 = 0xd400_0002 | (machine::FROM_VECTOR as u32) << 5;
/// The places of code in a page of it: the load, the store.
const OF_STORE: u64 = 8;
/// The place of SVC in a page that is tried; HVC is at its beginning.
const OF_SVC: u64 = 8;

/// Tries each value of AP, PXN and UXN with each of S2AP and XN.
pub(crate) fn ask(judge: &mut Judge) {
    let bits = judge.features.pa_bits.min(39);
    let format = Format { page_bits: 12, ds: false, output_bits: judge.features.pa_bits };
    let Some(mut stage2) = tree(judge, format, bits) else { return };
    let Some(mut stage1) = tree(judge, format, 39) else { return };
    let xns: &[u64] = if machine::has_xnx() { &[0b00, 0b01, 0b10, 0b11] } else { &[0b00, 0b10] };
    let free = &mut judge.free;
    let Some(code) = free.take(0x4000, 0x1000) else { return };
    // Write-back, read and write, executable; EL1 executes no page that EL0 may write.
    let open = 0b1111 << 2 | 0b11 << 6 | AF;
    for (n, (va, ap)) in [(VECTORS, 0b10), (CODE, 0b10), (USER_CODE, 0b11)].into_iter().enumerate() {
        stage1.page(free, va, va, ap << 6 | AF);
        stage2.page(free, va, code + 0x1000 * n as u64, open);
    }
    for vector in 0..16 {
        ram::set(code + 0x80 * vector, HVC_OF_VECTOR.into());
    }
    for (page, end) in [(1, HVC), (2, SVC)] {
        let pair = |first: u32| u64::from(first) | u64::from(end) << 32;
        ram::set(code + 0x1000 * page, pair(LOAD));
        ram::set(code + 0x1000 * page + OF_STORE, pair(STORE));
    }
    let target = code + 0x3000;
    ram::set(target, HVC.into());
    ram::set(target + OF_SVC, SVC.into());
    // One page of stage 2 for each of its values, and one of stage 1 for each pair.
    let second = (0..FOUR).flat_map(|s2ap| xns.iter().map(move |xn| (s2ap, xn)));
    let mut pages = PAGES;
    for (s2ap, xn) in second {
        let ipa = pages;
        stage2.page(free, ipa, target, 0b1111 << 2 | s2ap << 6 | xn << 53 | DBM | AF);
        for (ap, xns) in (0..FOUR).flat_map(|ap| (0..FOUR).map(move |xns| (ap, xns))) {
            stage1.page(free, pages, ipa, ap << 6 | xns << 53 | DBM | AF);
            pages += 0x1000;
        }
    }
    for memory in [stage1.root].into_iter().chain(stage1.tables().iter().map(|table| table.memory)) {
        stage2.page(free, memory, memory, open);
    }
    let entered = judge.enter(&Regime {
        vttbr: stage2.root | 1 << 48,
        vtcr: fixed::VTCR | u64::from(64 - bits) | 1 << 6 | judge.features.pa_range << 16,
        hcr: fixed::HCR,
        ttbr0: stage1.root,
        ttbr1: 0,
        tcr: 25 | 1 << 23 | judge.features.pa_range << 32,
        mair: 0xff,
        sctlr: fixed::SCTLR,
    });
    if !entered {
        return;
    }
    machine::set_vectors(VECTORS);
    for page in (PAGES..pages).step_by(0x1000) {
        for access in Access::TRIED {
            let (user, entry) = match access {
                Access::Store => (false, CODE + OF_STORE),
                Access::Fetch => (false, page),
                Access::UserLoad => (true, USER_CODE),
                Access::UserStore => (true, USER_CODE + OF_STORE),
                Access::UserFetch => (true, page + OF_SVC),
                _ => (false, CODE),
            };
            let answer = machine::try_at(user, entry, page);
            judge.note(access, page, answer, 0);
        }
    }
}
