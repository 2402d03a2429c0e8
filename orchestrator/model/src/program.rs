//! The file of a program that a scenario brings, checked before anything boots: hosts and guests run
//! static programs for arm64.

use object::{
    LittleEndian,
    elf::{self, FileHeader64},
    read::elf::{FileHeader as _, ProgramHeader as _},
};
use std::fmt;

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
        _ if !bytes.starts_with(&elf::ELFMAG) => return Err(Unfit::NotElf),
        _ => {}
    }
    if bytes.get(4..6) != Some(&[elf::ELFCLASS64.0, elf::ELFDATA2LSB.0]) {
        return Err(Unfit::Class);
    }
    headers(bytes).unwrap_or(Err(Unfit::Torn))
}

/// Checks the headers of a program of 64 bits, little endian. Fails if they cannot be read.
fn headers(bytes: &[u8]) -> object::Result<Result<(), Unfit>> {
    let header = FileHeader64::<LittleEndian>::parse(bytes)?;
    let (machine, kind) = (header.e_machine(LittleEndian), header.e_type(LittleEndian));
    if machine != elf::EM_AARCH64 {
        return Ok(Err(Unfit::Machine(machine.0)));
    }
    if ![elf::ET_EXEC, elf::ET_DYN].contains(&kind) {
        return Ok(Err(Unfit::Kind(kind.0)));
    }
    let segments = header.program_headers(LittleEndian, bytes)?;
    for segment in segments {
        if let Some(loader) = segment.interpreter(LittleEndian, bytes)? {
            return Ok(Err(Unfit::Dynamic(String::from_utf8_lossy(loader).into_owned())));
        }
    }
    let is_loaded = segments.iter().any(|segment| segment.p_type(LittleEndian) == elf::PT_LOAD);
    Ok(if is_loaded { Ok(()) } else { Err(Unfit::Torn) })
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
