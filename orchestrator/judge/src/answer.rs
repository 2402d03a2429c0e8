//! Results of address translations.

use s2lab_mmu::{MemoryType, Shareability, TypeAttr};
use std::fmt;

/// The answer to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The access goes to memory.
    Translation {
        /// The physical address of the 4 KiB page.
        page: u64,
        /// The effective type, or None if the architecture does not define it.
        of: Option<Type>,
        sh: Shareability,
    },
    /// A real access was done.
    Done,
    /// The access faults.
    Fault {
        status: Status,
        /// It is stage 2's.
        stage2: bool,
        /// It came up in a walk of stage 1.
        walk: bool,
    },
    /// There is nothing where a descriptor should be.
    ExternalAbort { status: Status },
}

/// Inner and outer type of memory. They are equal if it is Device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Type {
    pub inner: MemoryType,
    pub outer: MemoryType,
}

impl Type {
    /// The type that is inner and outer the same.
    pub const fn pure(of: MemoryType) -> Self {
        Self { inner: of, outer: of }
    }

    /// Returns true if it is always outer shareable: Device, or non-cacheable.
    pub fn is_outer_shareable(self) -> bool {
        let never_cached = |of: MemoryType| of.is_device() || of == MemoryType::NormalNC;
        never_cached(self.inner) && never_cached(self.outer)
    }
}

impl From<TypeAttr> for Type {
    fn from(of: TypeAttr) -> Self {
        Self { inner: of.inner(), outer: of.outer() }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inner, outer } = self;
        if inner == outer { inner.fmt(f) } else { write!(f, "inner {inner} outer {outer}") }
    }
}

/// A fault status code, as PAR_EL1.FST and ESR_EL2.DFSC have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u8);

impl Status {
    /// Returns the code of a fault at a level, -1 to 3 (DDI 0487, ESR_EL2, "DFSC"). `base` is the
    /// code at level 0, `below` the one at level -1.
    const fn at(base: u8, below: u8, level: i8) -> Self {
        Self(if level < 0 { below } else { base | level as u8 })
    }

    pub(crate) const fn address_size(level: i8) -> Self {
        Self::at(0b00_0000, 0b10_1001, level)
    }

    pub(crate) const fn translation(level: i8) -> Self {
        Self::at(0b00_0100, 0b10_1011, level)
    }

    /// An access flag fault. There are no leaves at level -1.
    pub(crate) const fn access_flag(level: i8) -> Self {
        Self::at(0b00_1000, 0b00_1000, level)
    }

    pub(crate) const fn permission(level: i8) -> Self {
        Self::at(0b00_1100, 0b00_1100, level)
    }

    pub(crate) const fn is_permission(self) -> bool {
        self.0 & !0b11 == Self::permission(0).0
    }

    pub(crate) const fn external_abort(level: i8) -> Self {
        Self::at(0b01_0100, 0b01_0011, level)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = i8::try_from(self.0 & 0b11).unwrap_or(0);
        match self.0 {
            0b10_1001 => f.write_str("address size fault, level -1"),
            0b10_1011 => f.write_str("translation fault, level -1"),
            0b01_0011 => f.write_str("external abort, level -1"),
            0b00_0000..=0b00_0011 => write!(f, "address size fault, level {level}"),
            0b00_0100..=0b00_0111 => write!(f, "translation fault, level {level}"),
            0b00_1000..=0b00_1011 => write!(f, "access flag fault, level {level}"),
            0b00_1100..=0b00_1111 => write!(f, "permission fault, level {level}"),
            0b01_0100..=0b01_0111 => write!(f, "external abort, level {level}"),
            other => write!(f, "fault status {other:#08b}"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Translation { page, of: Some(of), sh } => write!(f, "{page:#x}, {of}, {sh} shareable"),
            Self::Translation { page, of: None, .. } => write!(f, "{page:#x}, of no defined type"),
            Self::Done => f.write_str("done"),
            Self::Fault { status, stage2, walk } => {
                let stage = if *stage2 { 2 } else { 1 };
                write!(f, "stage {stage}: {status}{}", if *walk { ", in a walk of stage 1" } else { "" })
            }
            Self::ExternalAbort { status } => write!(f, "{status}"),
        }
    }
}
