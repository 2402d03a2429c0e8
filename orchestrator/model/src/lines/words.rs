//! Words and numbers of several kinds of lines.

use crate::scenario::Size;
use s2lab_mmu::MemoryType;
use std::fmt;

/// The name of a memory type that both stages together give.
pub fn effective_name(of: Option<MemoryType>) -> &'static str {
    of.map_or("left open by the architecture", MemoryType::name)
}

/// The value that prints as `text`.
pub(crate) fn one_of<T: fmt::Display>(all: impl IntoIterator<Item = T>, text: &str) -> Option<T> {
    all.into_iter().find(|value| value.to_string() == text)
}

/// A number in hexadecimal, with its `0x`.
pub(super) fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// Two numbers in hexadecimal, `FROM..TO`.
pub(super) fn hex_range(text: &str) -> Option<(u64, u64)> {
    let (from, to) = text.split_once("..")?;
    Some((hex(from)?, hex(to)?))
}

/// A size, which may also be 0.
pub(super) fn size(text: &str) -> Option<Size> {
    if text == "0" { Some(Size(0)) } else { Size::try_from(text.to_owned()).ok() }
}

const EQUAL: &str = "equal";
const DIFFERS: &str = "DIFFERS";

/// The word for the result of a comparison of bytes.
pub(crate) fn equality(equal: bool) -> &'static str {
    if equal { EQUAL } else { DIFFERS }
}

pub(crate) fn is_equal(text: &str) -> Option<bool> {
    bit(text, EQUAL, DIFFERS)
}

/// A bit, by the word for set and the one for clear.
pub(super) fn bit(text: &str, set: &str, clear: &str) -> Option<bool> {
    match text {
        _ if text == set => Some(true),
        _ if text == clear => Some(false),
        _ => None,
    }
}
