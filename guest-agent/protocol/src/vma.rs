//! VMAs of s2lab's own kernel module, `images/module/s2lab_memory.c`.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A VMA that the module makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ModuleVma {
    #[serde(default, skip_serializing_if = "is_usual")]
    pub kind: VmaKind,
    pub pgprot: Pgprot,
    /// It has the flag VM_ALLOW_ANY_UNCACHED.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub marked: bool,
    /// The mapping is private: a write copies the page.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub private: bool,
}

/// The flag that says what a VMA is made of (Linux include/linux/mm.h).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VmaKind {
    /// VM_PFNMAP: page frames alone.
    #[default]
    Pfnmap,
    /// VM_MIXEDMAP: page frames, and pages with a struct page.
    Mixedmap,
}

/// The memory type of a VMA at stage 1 of the VMM (Linux arch/arm64/include/asm/pgtable.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pgprot {
    /// Normal-WB, as every VMA has it at first.
    WriteBack,
    /// Normal-NC: `pgprot_writecombine`.
    WriteCombine,
    /// Device-nGnRE: `pgprot_device`.
    Device,
    /// Device-nGnRnE: `pgprot_noncached`.
    Noncached,
}

/// The file name of the module, in the folder `modules` of a host's initramfs. It is not in the list of modules to
/// load: a guest's VMM loads it.
pub const MODULE_FILE: &str = "s2lab_memory.ko";
/// The name of the module's device in `/dev`.
pub const MODULE_DEVICE: &str = "s2lab-memory";

fn is_usual(kind: &VmaKind) -> bool {
    *kind == VmaKind::default()
}

impl ModuleVma {
    /// Returns the line that is written to the module's device before memory from `start` on is mapped. None: pages
    /// of RAM.
    pub fn line(&self, range: Option<(u64, u64)>) -> String {
        let mark = if self.marked { "marked" } else { "unmarked" };
        let (start, size) = range.unwrap_or_default();
        format!("{} {} {mark} {start:x} {size:x}", self.kind.name(), self.pgprot.name())
    }
}

impl VmaKind {
    pub const ALL: [VmaKind; 2] = [VmaKind::Pfnmap, VmaKind::Mixedmap];

    /// The word in scenarios, and of the module.
    pub fn name(self) -> &'static str {
        match self {
            VmaKind::Pfnmap => "pfnmap",
            VmaKind::Mixedmap => "mixedmap",
        }
    }
}

impl Pgprot {
    pub const ALL: [Pgprot; 4] = [Pgprot::WriteBack, Pgprot::WriteCombine, Pgprot::Device, Pgprot::Noncached];

    /// The word in scenarios, and of the module.
    pub fn name(self) -> &'static str {
        match self {
            Pgprot::WriteBack => "write-back",
            Pgprot::WriteCombine => "write-combine",
            Pgprot::Device => "device",
            Pgprot::Noncached => "noncached",
        }
    }
}

impl fmt::Display for Pgprot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = include_str!("../../../images/module/s2lab_memory.c");

    #[test]
    fn a_word_has_one_spelling_which_the_module_knows() {
        let quoted = |word: &str| SOURCE.contains(&format!("\"{word}\""));
        for kind in VmaKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
            assert!(quoted(kind.name()), "{}", kind.name());
        }
        for pgprot in Pgprot::ALL {
            assert_eq!(serde_json::to_value(pgprot).unwrap(), pgprot.to_string());
            assert!(quoted(pgprot.name()), "{pgprot}");
        }
        for word in ["marked", "unmarked", MODULE_DEVICE] {
            assert!(quoted(word), "{word}");
        }
    }

    #[test]
    fn the_line_says_what_is_mapped() {
        let vma =
            ModuleVma { kind: VmaKind::Mixedmap, pgprot: Pgprot::WriteCombine, marked: true, private: false };
        assert_eq!(
            vma.line(Some((0x80_0000_0000, 0x1_0000))),
            "mixedmap write-combine marked 8000000000 10000"
        );
        let usual: ModuleVma = serde_json::from_str(r#"{"pgprot": "device"}"#).unwrap();
        assert_eq!(usual.line(None), "pfnmap device unmarked 0 0");
        assert_eq!(serde_json::to_string(&usual).unwrap(), r#"{"pgprot":"device"}"#);
    }
}
