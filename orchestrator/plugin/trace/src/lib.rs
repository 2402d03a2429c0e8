//! The memory that s2lab shares with its QEMU plugin: s2lab makes it, the plugin maps it when QEMU
//! starts, and both use it while the machine runs. All words are `u64` in the byte order of the
//! machine that QEMU runs on.

#![no_std]

use core::{ffi::CStr, sync::atomic::AtomicU64};

/// The first word of a memory that a plugin of this version has mapped: "S2LAB" and the version.
pub const MAGIC: u64 = 0x5332_4c41_4200_0003;
/// The name of the plugin's argument with the number of the descriptor. Without it the plugin
/// traces nothing: QEMU is only asked if it takes the plugin.
pub const DESCRIPTOR: &str = "fd";
/// The name of QEMU's environment variable with the version of the plugin interface that the plugin
/// declares. QEMU reads that version before it calls the plugin, so it is no argument.
pub const INTERFACE: &CStr = c"S2LAB_PLUGIN_INTERFACE";
/// The versions of the interface that the plugin serves; it declares the first without
/// [`INTERFACE`]. QEMU 10.0 takes 2 to 4 (plugins/plugin.h, QEMU_PLUGIN_MIN_VERSION), 11.1 takes 7.
pub const INTERFACES: [i32; 2] = [4, 7];
/// The number of vCPUs of which the plugin can read registers. A record of another one has
/// [`UNREAD`] in their places.
pub const VCPUS: usize = 8;
/// The number of the latest records that are kept; a power of two. A zap of 64 MiB by 4 KiB pages
/// takes two for each page.
pub const RING: usize = 1 << 16;
/// The most areas of physical memory whose accesses are counted.
pub const AREAS: usize = 8;
/// The widths of an access that are counted apart, as powers of two: 1 to 128 bytes.
pub const WIDTHS: usize = 8;
/// The value of a register that could not be read.
pub const UNREAD: u64 = u64::MAX;

/// Record; QEMU drops all code that it has translated.
pub const DROP: u64 = 1;
/// Record; QEMU keeps the code that it has translated, because none of it is of interest.
pub const KEEP: u64 = 2;

/// The whole memory.
#[repr(C)]
pub struct Trace {
    pub head: Head,
    /// The accesses by vCPU and area. Each vCPU writes its own.
    pub accesses: [[Accesses; AREAS]; VCPUS],
    /// Record `n` is in slot `n % RING`.
    pub ring: [Record; RING],
}

/// The bytes of the whole memory.
pub const SIZE: usize = size_of::<Trace>();

/// The head.
#[repr(C, align(4096))]
pub struct Head {
    /// [`MAGIC`], written last when the plugin has started.
    pub magic: AtomicU64,
    /// The number of records so far.
    pub records: AtomicU64,
    /// The number of registers that QEMU does not have by the names that the plugin knows.
    pub missing: AtomicU64,
    /// Not 0, written by s2lab before QEMU starts: accesses are counted, and stage-2 faults are
    /// recorded. The guest's code runs slower then.
    pub counting: AtomicU64,
    /// The number of accesses whose physical address QEMU did not know.
    pub unplaced: AtomicU64,
    /// [`DROP`] or [`KEEP`], written by s2lab at any time: record. The plugin reads it when a vCPU that has stopped
    /// or waited goes on. Code that QEMU translates for a plugin that records is slower.
    pub wanted: AtomicU64,
    /// Not 0, written by the plugin: code that is translated from now on is recorded.
    pub begun: AtomicU64,
    /// Written by s2lab at any time.
    pub areas: [Area; AREAS],
}

/// An area of physical memory, without its last address; 0 to 0 is none.
#[repr(C)]
pub struct Area {
    pub start: AtomicU64,
    pub end: AtomicU64,
}

/// The number of accesses to an area, by width: place `n` is for 2^n bytes.
#[repr(C, align(128))]
pub struct Accesses {
    pub stores: [AtomicU64; WIDTHS],
    pub loads: [AtomicU64; WIDTHS],
}

/// One TLBI instruction, recorded before the CPU executes it; or one stage-2 fault of a guest,
/// recorded before the first instruction of EL2's vector.
#[repr(C, align(64))]
pub struct Record {
    /// The number of the record plus 1, written last; 0 while the record is written.
    pub written: AtomicU64,
    /// The instruction word, 0 for a fault; and from bit 32 on the number of the vCPU.
    pub instruction: AtomicU64,
    /// The content of Xt, 0 for XZR; of a fault, HPFAR_EL2.
    pub operand: AtomicU64,
    /// PSTATE; bits 3:2 are the exception level.
    pub pstate: AtomicU64,
    /// VTTBR_EL2.
    pub vttbr: AtomicU64,
    /// HCR_EL2.
    pub hcr: AtomicU64,
    /// ESR_EL2 of a fault.
    pub syndrome: AtomicU64,
}

/// The offset in EL2's vectors of a synchronous exception from a lower level in AArch64 (DDI 0487,
/// D1.3, "Vector offsets"). Vectors are aligned to 2 KiB.
pub const SYNCHRONOUS: u64 = 0x400;
/// The mask of an address in vectors.
pub const VECTORS: u64 = 0x7ff;
/// HCR_EL2: stage 2 is on, and the exception is from a guest (DDI 0487, HCR_EL2).
const VM: u64 = 1 << 0;
const TGE: u64 = 1 << 27;

/// Returns true for the registers of EL2 right after a fault of a guest's stage 2: an instruction or
/// data abort from a lower level (DDI 0487, ESR_EL2.EC).
pub const fn is_fault(pstate: u64, hcr: u64, syndrome: u64) -> bool {
    let from_guest = pstate >> 2 & 0b11 == 2 && hcr & VM != 0 && hcr & TGE == 0;
    from_guest && matches!(syndrome >> 26 & 0x3f, 0x20 | 0x24)
}

/// Returns true for an instruction that is recorded: a TLBI that may remove translations of stage 2,
/// or all those of a VMID (DDI 0487, C5.5).
pub const fn is_recorded(word: u32) -> bool {
    // SYS with op0 1 and L 0; CRn 8, or 9 for nXS.
    let tlbi = word & 0xfff8_0000 == 0xd508_0000 && matches!(word >> 12 & 15, 8 | 9);
    let (op1, crm, op2) = (word >> 16 & 7, word >> 8 & 15, word >> 5 & 7);
    tlbi && match (op1, crm, op2) {
        // VMALLE1, IS and OS.
        (0, 1 | 3 | 7, 0) => true,
        // (R)IPAS2(L)E1, IS and OS.
        (4, 0 | 4, _) => true,
        // ALLE1 and VMALLS12E1, IS and OS.
        (4, 1 | 3 | 7, 4 | 6) => true,
        _ => false,
    }
}

/// Returns the offset of the first instruction that is recorded, at `from` or behind. `code` begins with an
/// instruction, and `from` is a multiple of 4.
#[inline(never)]
pub fn next_recorded(code: &[u8], from: usize) -> Option<usize> {
    let words = code.get(from..)?.chunks_exact(4).map(|word| word.try_into().map_or(0, u32::from_le_bytes));
    words.zip((from..).step_by(4)).find(|(word, _)| is_recorded(*word)).map(|(_, offset)| offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tlbis_of_stage_2_and_of_whole_vmids_are_recorded() {
        // As assemblers encode them: IPAS2E1IS x1, RIPAS2E1IS x0, IPAS2LE1 x3, VMALLS12E1IS, ALLE1,
        // VMALLE1IS, VMALLE1, VMALLE1NXS.
        for word in [
            0xd50c_8021,
            0xd50c_8040,
            0xd50c_84a3,
            0xd50c_83df,
            0xd50c_879f,
            0xd508_831f,
            0xd508_871f,
            0xd508_971f,
        ] {
            assert!(is_recorded(word), "{word:#x}");
        }
        // VAE1IS x0, VALE2IS x0, ASIDE1 x0, ALLE2, DC ZVA x0, NOP.
        for word in [0xd508_8320, 0xd50c_83a0, 0xd508_8740, 0xd50c_871f, 0xd50b_7420, 0xd503_201f] {
            assert!(!is_recorded(word), "{word:#x}");
        }
    }

    #[test]
    fn recorded_instructions_are_found_one_after_the_other() {
        let words: [u32; 5] = [0xd503_201f, 0xd50c_8021, 0xd508_8320, 0xd508_831f, 0xd503_201f];
        let mut code = [0; 22];
        code.chunks_exact_mut(4)
            .zip(words)
            .for_each(|(place, word)| place.copy_from_slice(&word.to_le_bytes()));
        let found = [0, 4, 8, 16, 20, 24].map(|from| next_recorded(&code, from));
        assert_eq!(found, [Some(4), Some(4), Some(12), None, None, None]);
    }

    #[test]
    fn aborts_of_guests_are_faults() {
        let (el2, hcr) = (0x3c9, VM | 1 << 34);
        let syndrome = |class: u64| class << 26 | 0b111;
        assert!(is_fault(el2, hcr, syndrome(0x24)) && is_fault(el2, hcr, syndrome(0x20)));
        // A hypercall, an abort of EL2 itself, the host's user space, no guest, EL1.
        assert!(!is_fault(el2, hcr, syndrome(0x16)) && !is_fault(el2, hcr, syndrome(0x25)));
        assert!(!is_fault(el2, hcr | TGE, syndrome(0x24)) && !is_fault(el2, 1 << 34, syndrome(0x24)));
        assert!(!is_fault(0x3c5, hcr, syndrome(0x24)));
    }

    #[test]
    fn the_memory_has_whole_pages() {
        assert_eq!((SIZE % 4096, size_of::<Record>(), size_of::<Head>()), (0, 64, 4096));
        assert!(RING.is_power_of_two());
    }
}
