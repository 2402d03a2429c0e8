//! Leaves as the walk and as KVM's dump have them, in the same form.

use s2lab_mmu::Stage2Leaf;
use s2lab_protocol::ask::DumpedRange;
use std::fmt;

/// Bits of a descriptor (DDI 0487, D8, "VMSAv8-64 descriptor formats"): XN, the access flag, S2AP, and
/// the bit that a block has clear.
const XN: u64 = 0b11 << 53;
const XN_OF_ALL: u64 = 1 << 54;
const AF: u64 = 1 << 10;
const READ: u64 = 1 << 6;
const WRITE: u64 = 1 << 7;
const PAGE: u64 = 1 << 1;

/// The form of XN in a kernel's dump, which its flags show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exec {
    /// Nothing: in 6.12 `X` stands for leaves that are never executable, later for the others.
    Unsaid,
    /// `NX` or `x`: bit 54.
    OneBit,
    /// `px ux`, `PXNux`, `PXNUXN` or `px UXN`: bits 54:53.
    TwoBits,
}

/// The words for XN, and the bits that they stand for (Linux 7.2 arch/arm64/kvm/ptdump.c,
/// stage2_pte_bits; `px UXN` and `px ux` are two words).
const WORDS: [(&str, Exec, u64); 6] = [
    ("NX", Exec::OneBit, XN_OF_ALL),
    ("x", Exec::OneBit, 0),
    ("PXNux", Exec::TwoBits, 0b01 << 53),
    ("PXNUXN", Exec::TwoBits, 0b10 << 53),
    ("UXN", Exec::TwoBits, 0b11 << 53),
    ("ux", Exec::TwoBits, 0),
];

impl Exec {
    /// Returns what this dump says.
    pub(super) fn of(ranges: &[DumpedRange]) -> Exec {
        let said = |range: &DumpedRange| word(&range.flags).map(|(_, exec, _)| exec);
        ranges.iter().find_map(said).unwrap_or(Exec::Unsaid)
    }

    fn bits(self) -> u64 {
        match self {
            Exec::Unsaid => 0,
            Exec::OneBit => XN_OF_ALL,
            Exec::TwoBits => XN,
        }
    }
}

fn word(flags: &str) -> Option<(&'static str, Exec, u64)> {
    WORDS.into_iter().find(|(word, ..)| flags.split(' ').any(|flag| flag == *word))
}

/// Neighbouring leaves that are alike in all that a dump says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    ipa: u64,
    end: u64,
    level: i8,
    /// The bits of the descriptor that the dump says, and for a block [`PAGE`] clear.
    bits: u64,
    exec: Exec,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Run { ipa, end, level, bits, exec } = self;
        let has = |bit, word: &'static str| if bits & bit != 0 { word } else { "-" };
        write!(f, "{ipa:#x}..{end:#x} level {level} {}{}", has(READ, "r"), has(WRITE, "w"))?;
        if *exec != Exec::Unsaid {
            write!(f, " XN {:#04b}", (bits & XN) >> 53)?;
        }
        write!(f, " {}{}", has(AF, "AF"), if bits & PAGE == 0 { " BLK" } else { "" })
    }
}

/// Returns the leaves of a walk.
pub(super) fn of_walk<'a>(leaves: impl Iterator<Item = &'a Stage2Leaf>, exec: Exec) -> Vec<Run> {
    let said = READ | WRITE | AF | PAGE | exec.bits();
    let run = |leaf: &Stage2Leaf| Run {
        ipa: leaf.ipa,
        end: leaf.ipa.saturating_add(leaf.size),
        level: leaf.level,
        bits: leaf.descriptor & said,
        exec,
    };
    merged(leaves.map(run).collect())
}

/// Returns the ranges of a dump.
pub(super) fn of_dump(ranges: &[DumpedRange], exec: Exec) -> Vec<Run> {
    let run = |range: &DumpedRange| {
        let bit = |word: &str, bit| if range.flags.split(' ').any(|flag| flag == word) { bit } else { 0 };
        let xn = word(&range.flags).filter(|_| exec != Exec::Unsaid).map_or(0, |(_, _, bits)| bits);
        let page = PAGE ^ bit("BLK", PAGE);
        let bits = bit("R", READ) | bit("W", WRITE) | bit("AF", AF) | page | xn;
        Run { ipa: range.ipa, end: range.end, level: range.level, bits, exec }
    };
    merged(ranges.iter().map(run).collect())
}

fn merged(mut runs: Vec<Run>) -> Vec<Run> {
    runs.sort_by_key(|run| run.ipa);
    let mut out: Vec<Run> = vec![];
    for run in runs {
        match out.last_mut() {
            Some(last)
                if Run { ipa: last.ipa, end: run.end, ..*last } == Run { ipa: last.ipa, ..run }
                    && last.end == run.ipa =>
            {
                last.end = run.end;
            }
            _ => out.push(run),
        }
    }
    out
}

/// Returns the first IPA at which two lists differ, and what each has there.
pub(super) fn difference<'a>(
    one: &'a [Run],
    other: &'a [Run],
) -> Option<(u64, Option<&'a Run>, Option<&'a Run>)> {
    let at = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    let (one, other) = (one.get(at), other.get(at));
    let starts = [one, other].map(|run| run.map_or(u64::MAX, |run| run.ipa));
    let ipa = match (one, other) {
        (None, None) => return None,
        (Some(a), Some(b)) if (a.ipa, a.level, a.bits) == (b.ipa, b.level, b.bits) => a.end.min(b.end),
        _ => starts[0].min(starts[1]),
    };
    let there = |run: Option<&'a Run>| run.filter(|run| run.ipa <= ipa && ipa < run.end);
    Some((ipa, there(one), there(other)))
}
