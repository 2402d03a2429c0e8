//! Sizes in a readable form.

use std::fmt;

/// A number of bytes that prints in whole KiB, MiB or GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 >> 10, self.0 >> 20) {
            (kib, 0) => write!(f, "{kib} KiB"),
            (_, mib) if mib < 10 << 10 => write!(f, "{mib} MiB"),
            (_, mib) => write!(f, "{} GiB", mib >> 10),
        }
    }
}
