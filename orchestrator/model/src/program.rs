//! The file of a program that a scenario brings, checked before anything boots: hosts and guests run
//! static programs for arm64.
//!
//! The layout is that of the ELF-64 object file format, version 1.5.

use std::fmt;

const MAGIC: &[u8] = b"\x7fELF";
/// `ELFCLASS64`.
const CLASS_64: u8 = 2;
/// `ELFDATA2LSB`.
const LITTLE_ENDIAN: u8 = 1;
/// `EM_AARCH64` (ELF for the Arm 64-bit architecture, "Machine").
const AARCH64: u16 = 183;
/// `ET_EXEC`, `ET_DYN`.
const PROGRAM: [u16; 2] = [2, 3];
/// `PT_LOAD`, `PT_INTERP`.
const LOAD: u32 = 1;
const INTERPRETER: u32 = 3;
/// The size of a program header.
const HEADER: u16 = 56;

/// The reason why a host cannot run a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    Empty,
    /// It begins with `#!`.
    Script,
    NotElf,
    /// It is not of 64 bits and little endian.
    Class,
    /// It is for another machine: `e_machine`.
    Machine(u16),
    /// It is an object file, a core file or the like: `e_type`.
    Kind(u16),
    /// Its headers lie outside of the file, or nothing of it is loaded.
    Torn,
    /// It needs this loader, which a host does not have.
    Dynamic(String),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::Empty => f.write_str("it is empty"),
            Unfit::Script => f.write_str("it is a script, not an ELF program"),
            Unfit::NotElf => f.write_str("it is not an ELF program"),
            Unfit::Class => f.write_str("it is not a program of 64 bits, little endian"),
            Unfit::Machine(62) => f.write_str("it is a program for x86-64, not for arm64"),
            Unfit::Machine(machine) => write!(f, "it is a program for machine {machine}, not for arm64"),
            Unfit::Kind(kind) => write!(f, "it is an ELF file of type {kind}, not a program"),
            Unfit::Torn => f.write_str("its ELF headers are damaged"),
            Unfit::Dynamic(loader) => write!(f, "it is a dynamic program, which needs `{loader}`"),
        }
    }
}

impl Unfit {
    /// A hint what to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Unfit::Script => "hosts and guests have no interpreter for it: build a static program for arm64",
            Unfit::Dynamic(_) => {
                "link it statically: `aarch64-linux-gnu-gcc -static`, or Rust's target \
                 aarch64-unknown-linux-musl"
            }
            Unfit::Torn | Unfit::Empty | Unfit::Kind(_) => "build it again, as a static program for arm64",
            Unfit::NotElf | Unfit::Class | Unfit::Machine(_) => "build it as a static program for arm64",
        }
    }
}

/// Checks the content of a program.
pub fn check(bytes: &[u8]) -> Result<(), Unfit> {
    match bytes {
        [] => return Err(Unfit::Empty),
        [b'#', b'!', ..] => return Err(Unfit::Script),
        _ if !bytes.starts_with(MAGIC) => return Err(Unfit::NotElf),
        _ => {}
    }
    if bytes.get(4..6) != Some(&[CLASS_64, LITTLE_ENDIAN]) {
        return Err(Unfit::Class);
    }
    let half = |at: u64| number(bytes, at).map(u16::from_le_bytes);
    match half(18).ok_or(Unfit::Torn)? {
        AARCH64 => {}
        machine => return Err(Unfit::Machine(machine)),
    }
    let kind = half(16).ok_or(Unfit::Torn)?;
    if !PROGRAM.contains(&kind) {
        return Err(Unfit::Kind(kind));
    }
    segments(bytes).ok_or(Unfit::Torn)?
}

/// Checks the program headers. Returns None if they cannot be read.
fn segments(bytes: &[u8]) -> Option<Result<(), Unfit>> {
    let half = |at: u64| number(bytes, at).map(u16::from_le_bytes);
    let long = |at: u64| number(bytes, at).map(u64::from_le_bytes);
    let (table, size, count) = (long(32)?, half(54)?, half(56)?);
    if size != HEADER {
        return None;
    }
    let mut loaded = false;
    for index in 0..u64::from(count) {
        let header = table.checked_add(index * u64::from(size))?;
        let header: [u8; HEADER as usize] = number(bytes, header)?;
        let long = |at: u64| number(&header, at).map(u64::from_le_bytes);
        let (offset, length) = (long(8)?, long(32)?);
        match number(&header, 0).map(u32::from_le_bytes)? {
            LOAD => loaded = true,
            INTERPRETER => {
                let start = usize::try_from(offset).ok()?;
                let end = usize::try_from(offset.checked_add(length)?).ok()?;
                let name = bytes.get(start..end)?;
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                return Some(Err(Unfit::Dynamic(String::from_utf8_lossy(name).into_owned())));
            }
            _ => {}
        }
    }
    loaded.then_some(Ok(()))
}

/// Returns `N` bytes of a file.
fn number<const N: usize>(bytes: &[u8], at: u64) -> Option<[u8; N]> {
    let at = usize::try_from(at).ok()?;
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns a file with these program headers: type, offset and size.
    fn elf(segments: &[(u32, u64, u64)]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        bytes[16..20].copy_from_slice(&[2, 0, 183, 0]);
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = segments.len() as u8;
        for (kind, offset, size) in segments {
            bytes.extend(kind.to_le_bytes());
            bytes.extend([0; 4]);
            bytes.extend(offset.to_le_bytes());
            bytes.extend([0; 16]);
            bytes.extend(size.to_le_bytes());
            bytes.extend([0; 16]);
        }
        bytes
    }

    fn changed(at: usize, to: u8) -> Vec<u8> {
        let mut bytes = elf(&[(1, 0, 120)]);
        bytes[at] = to;
        bytes
    }

    #[test]
    fn a_static_program_for_arm64_is_one() {
        assert_eq!(check(&elf(&[(1, 0, 120)])), Ok(()));
        // PIE.
        assert_eq!(check(&changed(16, 3)), Ok(()));
    }

    #[test]
    fn what_a_host_cannot_run() {
        let mut dynamic = elf(&[(1, 0, 120), (3, 176, 9)]);
        dynamic.extend(b"/lib/ld.\0");
        for (bytes, why) in [
            (vec![], Unfit::Empty),
            (b"#!/bin/sh\n".to_vec(), Unfit::Script),
            (b"\x7fEL".to_vec(), Unfit::NotElf),
            (changed(4, 1), Unfit::Class),
            (changed(5, 2), Unfit::Class),
            (changed(18, 62), Unfit::Machine(62)),
            (changed(16, 1), Unfit::Kind(1)),
            (changed(54, 32), Unfit::Torn),
            (changed(56, 2), Unfit::Torn),
            (changed(56, 0), Unfit::Torn),
            (changed(39, 255), Unfit::Torn),
            (elf(&[(2, 0, 120)]), Unfit::Torn),
            (elf(&[(3, u64::MAX, 2)]), Unfit::Torn),
            (dynamic, Unfit::Dynamic("/lib/ld.".into())),
        ] {
            assert_eq!(check(&bytes), Err(why));
        }
        let whole = elf(&[(1, 0, 120)]);
        assert!((0..whole.len()).all(|length| check(&whole[..length]).is_err()));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(head in prop::collection::vec(any::<u8>(), 0..200), places in prop::collection::vec((0usize..200, any::<u8>()), 0..8)) {
            let _ = check(&head);
            let mut bytes = elf(&[(1, 0, 120), (3, 0, 9)]);
            for (at, byte) in places {
                if let Some(old) = bytes.get_mut(at) {
                    *old = byte;
                }
            }
            let _ = check(&bytes);
        }
    }
}
