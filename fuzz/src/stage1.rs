//! Stage 1, alone and through a stage 2: any registers and memory either translate an address or do
//! not.

use crate::memory::{Memory, registers};
use s2lab_mmu::{Stage1, Stage2, ThroughStage2, combine};

pub(crate) fn translate(data: &[u8]) {
    let Some(([ttbr0, ttbr1, tcr, mair, sctlr, va, vttbr, vtcr, hcr], memory)) = registers(data) else {
        return;
    };
    let memory = Memory(memory);
    let stage1 = Stage1::new(ttbr0, ttbr1, tcr, mair, sctlr);
    if let Ok(leaf) = stage1.translate(&memory, va) {
        assert!(leaf.ipa_of(va).is_some(), "{leaf:x?} does not hold {va:#x}");
        assert_eq!((leaf.ipa % leaf.size, leaf.va % leaf.size), (0, 0));
    }
    let Ok(stage2) = Stage2::new(vttbr, vtcr, hcr | 1) else { return };
    let Ok(first) = stage1.translate(&ThroughStage2::new(&stage2, &memory), va) else { return };
    let Some(ipa) = first.ipa_of(va) else { return };
    if let Ok(second) = stage2.translate(&memory, ipa) {
        assert!(second.pa_of(ipa).is_some());
        let _ = combine(first.attr, second.attr);
    }
}
