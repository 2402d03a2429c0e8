//! The CPU's own words: PAR_EL1, and ESR_EL2 of an exception (DDI 0487, PAR_EL1, ESR_EL2). Written
//! without the decoders that are under test.

use crate::answer::{Answer, Status, Type};
use s2lab_judge_records::Question;
use s2lab_mmu::{MemoryType, Shareability};

/// Exception classes of a data abort.
const DATA_ABORTS: [u64; 2] = [0x24, 0x25];

/// Returns the answer of a question, or None if the CPU gave none that the architecture has.
pub(crate) fn answer(question: &Question) -> Option<Answer> {
    let word = question.answer;
    if question.access()?.is_tried() {
        return tried(word);
    }
    if question.is_aborted() {
        let is_abort = DATA_ABORTS.contains(&(word >> 26 & 0x3f));
        return is_abort.then_some(Answer::ExternalAbort { status: Status((word & 0x3f) as u8) });
    }
    let is_set = |bit: u32| word >> bit & 1 != 0;
    if is_set(0) {
        let status = Status((word >> 1 & 0x3f) as u8);
        return Some(Answer::Fault { status, stage2: is_set(9), walk: is_set(8) });
    }
    let sh = match word >> 7 & 0b11 {
        0b00 => Shareability::Non,
        0b10 => Shareability::Outer,
        0b11 => Shareability::Inner,
        _ => Shareability::Reserved,
    };
    Some(Answer::Translation { page: word & 0x000f_ffff_ffff_f000, of: memory((word >> 56) as u8), sh })
}

/// Exception classes of instruction aborts.
const INSTRUCTION_ABORTS: [u64; 2] = [0x20, 0x21];
/// S1PTW: stage 2 refused an access of a walk of stage 1.
const S1PTW: u64 = 1 << 7;

/// Decodes the end of a real access.
fn tried(word: u64) -> Option<Answer> {
    let class = word >> 26 & 0x3f;
    match word {
        0 => Some(Answer::Done),
        _ if [DATA_ABORTS, INSTRUCTION_ABORTS].concat().contains(&class) => Some(Answer::Fault {
            status: Status((word & 0x3f) as u8),
            stage2: word & Question::AT_EL1 == 0,
            walk: word & S1PTW != 0,
        }),
        _ => None,
    }
}

/// Decodes PAR_EL1.ATTR, which has the encodings of a field of MAIR_EL1.
pub(crate) fn memory(attr: u8) -> Option<Type> {
    use MemoryType::{DeviceGRE, DeviceNGRE, DeviceNGnRE, DeviceNGnRnE, NormalNC, NormalWB, NormalWT};
    let cached = |nibble: u8| match nibble {
        0x4 => Some(NormalNC),
        0x1 | 0x2 | 0x3 | 0x8 | 0x9 | 0xa | 0xb => Some(NormalWT),
        0x5 | 0x6 | 0x7 | 0xc | 0xd | 0xe | 0xf => Some(NormalWB),
        _ => None,
    };
    match attr {
        // Bit 0: FEAT_XS.
        0x00 | 0x01 => Some(Type::pure(DeviceNGnRnE)),
        0x04 | 0x05 => Some(Type::pure(DeviceNGnRE)),
        0x08 | 0x09 => Some(Type::pure(DeviceNGRE)),
        0x0c | 0x0d => Some(Type::pure(DeviceGRE)),
        0x40 => Some(Type::pure(NormalNC)),
        0xa0 => Some(Type::pure(NormalWT)),
        // With allocation tags.
        0xf0 => Some(Type::pure(NormalWB)),
        _ => Some(Type { inner: cached(attr & 0xf)?, outer: cached(attr >> 4)? }),
    }
}
