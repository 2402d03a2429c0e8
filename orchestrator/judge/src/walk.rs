//! The same questions, answered by s2lab's walk.

use crate::answer::{Answer, Status, Type};
use s2lab_judge_records::{Access, Regime};
use s2lab_mmu::{
    Exec, Fault, PhysMem, Shareability, Stage1, Stage1Leaf, Stage2, Stage2Leaf, ThroughStage2,
    combine_attributes,
};
use std::cell::Cell;

/// HCR_EL2.PTW: a walk of stage 1 through Device memory is a permission fault.
const PTW: u64 = 1 << 2;
const SCTLR_M: u64 = 1;
const HCR_DC: u64 = 1 << 12;

/// A question and the leaves that the walk finds for it.
#[derive(Debug, Clone, Copy)]
pub struct Walked {
    pub answer: Answer,
    pub stage1: Option<Stage1Leaf>,
    pub stage2: Option<Stage2Leaf>,
    /// The last physical address that the walk read.
    pub last: u64,
}

/// A change to a descriptor before the walk gets it.
pub(crate) type Change = fn(u64) -> u64;

/// The machine's memory, with a change to the descriptors of either stage.
pub(crate) struct Memory<'a> {
    mem: &'a dyn PhysMem,
    changes: [Change; 2],
    last: Cell<u64>,
}

impl<'a> Memory<'a> {
    /// Memory as it is.
    pub(crate) fn plain(mem: &'a dyn PhysMem) -> Self {
        Self::changed(mem, [|word| word; 2])
    }

    /// Memory with a change for stage 1, and one for stage 2.
    pub(crate) fn changed(mem: &'a dyn PhysMem, changes: [Change; 2]) -> Self {
        Self { mem, changes, last: Cell::new(u64::MAX) }
    }
}

/// Physical memory, as stage 2 reads its tables.
impl PhysMem for Memory<'_> {
    fn read_u64(&self, pa: u64) -> Option<u64> {
        self.last.set(pa);
        self.mem.read_u64(pa).map(self.changes[1])
    }
}

/// A guest's memory, as stage 1 reads its tables.
struct GuestMemory<'a> {
    stage2: Option<&'a Stage2>,
    mem: &'a Memory<'a>,
}

impl PhysMem for GuestMemory<'_> {
    fn read_u64(&self, ipa: u64) -> Option<u64> {
        // Without a stage 2 that is valid no word of a guest can be read. The CPU needs the access
        // flag, which the walk leaves to the hypervisor.
        let stage2 = self.stage2?;
        stage2.translate(self.mem, ipa).ok().filter(|leaf| leaf.af)?;
        ThroughStage2::new(stage2, self.mem).read_u64(ipa)?;
        self.mem.mem.read_u64(self.mem.last.get()).map(self.mem.changes[0])
    }
}

/// Returns the answer of the walk.
pub(crate) fn answer(regime: &Regime, access: Access, address: u64, mem: &Memory<'_>) -> Walked {
    let walked = both_stages(regime, access, address, mem);
    Walked { last: mem.last.get(), ..walked }
}

fn both_stages(regime: &Regime, access: Access, address: u64, mem: &Memory<'_>) -> Walked {
    let Regime { vttbr, vtcr, hcr, ttbr0, ttbr1, tcr, mair, sctlr } = *regime;
    let kind = Kind::of(access);
    let stage2 = Stage2::new(vttbr, vtcr, hcr).ok();
    let stage1 = Stage1::new(ttbr0, ttbr1, tcr, mair, sctlr).under(hcr);
    let first = stage1.translate(&GuestMemory { stage2: stage2.as_ref(), mem }, address);
    let none = |answer| Walked { answer, stage1: None, stage2: None, last: 0 };
    let at_stage1 = |status| Answer::Fault { status, stage2: false, walk: false };
    let leaf = match first {
        Ok(leaf) => leaf,
        Err(Fault::NoMemory { level, at, .. }) => {
            return none(
                match second(stage2.as_ref(), mem, at, Kind::WALK, hcr & PTW != 0).and_then(Second::allowed) {
                    Ok(leaf) => {
                        mem.last.set(leaf.pa_of(at).unwrap_or(u64::MAX));
                        Answer::ExternalAbort { status: Status::external_abort(level) }
                    }
                    Err(Answer::Fault { status, stage2, .. }) => Answer::Fault { status, stage2, walk: true },
                    Err(other) => other,
                },
            );
        }
        Err(Fault::OutOfRange { .. }) if sctlr & SCTLR_M == 0 || hcr & HCR_DC != 0 => {
            return none(at_stage1(Status::address_size(0)));
        }
        Err(fault) => return none(at_stage1(status(&fault))),
    };
    // The MMU that is off has no level, and refuses nothing.
    let level = leaf.level.unwrap_or(0);
    let refused = if !leaf.af {
        Some(Status::access_flag(level))
    } else if !kind.is_allowed(leaf.user, true, leaf.write, leaf.exec) {
        Some(Status::permission(level))
    } else {
        None
    };
    if let Some(status) = refused {
        return Walked { answer: at_stage1(status), stage1: Some(leaf), stage2: None, last: 0 };
    }
    let found = leaf.ipa_of(address).map(|ipa| (ipa, second(stage2.as_ref(), mem, ipa, kind, false)));
    let (answer, second) = match found {
        Some((ipa, Ok(Second { leaf: second, refused: None }))) => {
            let answer = match access.is_tried() {
                true => Answer::Done,
                false => translation(regime, address, &leaf, &second, ipa),
            };
            (answer, Some(second))
        }
        Some((_, Ok(Second { leaf: second, refused: Some(answer) }))) => (answer, Some(second)),
        Some((_, Err(answer))) => (answer, None),
        None => (at_stage1(Status::translation(0)), None),
    };
    Walked { answer, stage1: Some(leaf), stage2: second, last: 0 }
}

/// The kind of an access, and its exception level.
#[derive(Clone, Copy)]
struct Kind {
    user: bool,
    write: bool,
    fetch: bool,
}

impl Kind {
    /// The read of a descriptor of stage 1.
    const WALK: Self = Self { user: false, write: false, fetch: false };

    fn of(access: Access) -> Self {
        use Access::{Fetch, Store, UserFetch, UserLoad, UserRead, UserStore, UserWrite, Write};
        Self {
            user: matches!(access, UserRead | UserWrite | UserLoad | UserStore | UserFetch),
            write: matches!(access, Write | UserWrite | Store | UserStore),
            fetch: matches!(access, Fetch | UserFetch),
        }
    }

    /// Returns true if a leaf with these permissions allows it. `user` is EL0's permission to read and
    /// write.
    fn is_allowed(self, user: bool, read: bool, write: bool, exec: Exec) -> bool {
        match (self.fetch, self.user) {
            (true, true) => exec.el0,
            (true, false) => exec.el1,
            (false, by_user) => (user || !by_user) && if self.write { write } else { read },
        }
    }
}

/// A leaf of stage 2, and the fault if it refuses the access.
struct Second {
    leaf: Stage2Leaf,
    refused: Option<Answer>,
}

impl Second {
    fn allowed(self) -> Result<Stage2Leaf, Answer> {
        self.refused.map_or(Ok(self.leaf), Err)
    }
}

/// Returns the leaf of stage 2 for an access to `ipa`, or the fault if there is none.
fn second(
    stage2: Option<&Stage2>,
    mem: &Memory<'_>,
    ipa: u64,
    kind: Kind,
    no_device: bool,
) -> Result<Second, Answer> {
    let fault = |status| Answer::Fault { status, stage2: true, walk: false };
    let Some(stage2) = stage2 else { return Err(fault(Status::translation(0))) };
    let leaf = stage2.translate(mem, ipa).map_err(|error| match error {
        Fault::NoMemory { level, .. } => Answer::ExternalAbort { status: Status::external_abort(level) },
        error => fault(status(&error)),
    })?;
    let denied = !kind.is_allowed(true, leaf.read, leaf.write, leaf.exec);
    let is_device = leaf.attr.memory_type().is_some_and(|of| of.is_device());
    let refused = if !leaf.af {
        Some(fault(Status::access_flag(leaf.level)))
    } else if denied || no_device && is_device {
        Some(fault(Status::permission(leaf.level)))
    } else {
        None
    };
    Ok(Second { leaf, refused })
}

/// Returns the status code of a fault (DDI 0487, D8, "MMU fault types").
fn status(fault: &Fault) -> Status {
    match *fault {
        Fault::Translation { level, .. } | Fault::Reserved { level, .. } => Status::translation(level),
        Fault::AddressSize { level, .. } => Status::address_size(level),
        Fault::NoMemory { level, .. } => Status::external_abort(level),
        Fault::OutOfRange { .. } | Fault::Disabled { .. } | Fault::Geometry { .. } => Status::translation(0),
    }
}

/// Returns the result of an access that passes both stages.
fn translation(regime: &Regime, va: u64, first: &Stage1Leaf, second: &Stage2Leaf, ipa: u64) -> Answer {
    let of = combine_attributes(first.attr, second.attr).map(Type::from);
    let page = second.pa_of(ipa).unwrap_or(u64::MAX) & !0xfff;
    let sh = match of {
        Some(of) if of.is_outer_shareable() => Shareability::Outer,
        _ => stricter(stage1_sh(regime, va, first), second.sh.unwrap_or_else(|| sh(regime.vtcr >> 12))),
    };
    Answer::Translation { page, of, sh }
}

/// Returns the shareability that stage 1 names: with FEAT_LPA2's descriptors that of TCR_EL1, with
/// the MMU off outer, with HCR_EL2.DC none.
fn stage1_sh(regime: &Regime, va: u64, leaf: &Stage1Leaf) -> Shareability {
    match (leaf.sh, leaf.level) {
        (Some(sh), _) => sh,
        (None, Some(_)) => sh(regime.tcr >> if va >> 55 & 1 == 0 { 12 } else { 28 }),
        (None, None) if regime.hcr & HCR_DC != 0 => Shareability::Non,
        (None, None) => Shareability::Outer,
    }
}

/// Decodes two bits. The judge does not use the reserved value.
fn sh(bits: u64) -> Shareability {
    Shareability::ALL[(bits & 0b11) as usize]
}

/// Returns the wider domain of both (DDI 0487, D8, "Combining the stage 1 and stage 2 shareability
/// attributes").
fn stricter(one: Shareability, other: Shareability) -> Shareability {
    [Shareability::Outer, Shareability::Inner]
        .into_iter()
        .find(|sh| [one, other].contains(sh))
        .unwrap_or(Shareability::Non)
}
