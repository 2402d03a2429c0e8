//! The names of the files in a bundle: those of a run's folder that are needed to judge again, and
//! those that people read.

use super::{FORMAT, pack::header};
use s2lab_model::plan::Key;

/// The most bytes of a name, with the top folder: keys have 240 bytes at most.
pub(super) const LONGEST: usize = 512;
/// The attempts at one cell, of which the first has no folder of its own.
const LATER_ATTEMPTS: std::ops::RangeInclusive<u32> = 2..=1000;
/// The digits of a SHA-256.
const DIGEST: usize = 64;

/// Returns true if a bundle may have a file of this name, without the top folder.
pub fn is_of_run(name: &str) -> bool {
    match name.split('/').collect::<Vec<_>>().as_slice() {
        [file] => [FORMAT, "events.jsonl"].contains(file),
        ["raw", digest] => digest.len() == DIGEST && digest.bytes().all(is_hex),
        ["reports", file] => file.strip_suffix(".txt").is_some_and(is_key),
        ["cells", key, file] => is_key(key) && is_of_cell(file),
        ["cells", key, attempt, file] => is_key(key) && is_later_attempt(attempt) && is_of_cell(file),
        _ => false,
    }
}

/// Returns true for a file of an attempt that a bundle has: the consoles, and what s2lab and QEMU
/// say of the machine. `qemu.args` is not among them, because it names folders of the user's.
fn is_of_cell(file: &str) -> bool {
    let console = file.strip_prefix("console.").and_then(|rest| rest.strip_suffix(".log"));
    console.is_some_and(|name| !name.is_empty() && name.bytes().all(is_of_word))
        || ["crash.txt", "diagnosis.txt", "qemu.log"].contains(&file)
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

fn is_later_attempt(name: &str) -> bool {
    name.parse().is_ok_and(|number: u32| LATER_ATTEMPTS.contains(&number) && number.to_string() == name)
}

fn is_key(text: &str) -> bool {
    text.parse::<Key>().is_ok()
}

fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// Returns true if `block` is the header that s2lab writes for such a file.
pub(super) fn is_header_of(block: &[u8], name: &str, size: u64) -> bool {
    header(name, size).is_ok_and(|header| header == block)
}
