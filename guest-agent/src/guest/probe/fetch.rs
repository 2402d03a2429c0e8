//! An instruction fetch from the BAR. The guest's Linux maps BARs never-executable, so stage 1 of
//! the guest stops it: `pgprot_writecombine` and `pgprot_device` have PTE_UXN
//! (arch/arm64/include/asm/pgtable.h, 6.1 to 7.2), and sysfs allows no PROT_EXEC (SB_I_NOEXEC,
//! fs/kernfs/mount.c).

use super::Access;
use std::ptr::NonNull;

/// A branch to RET in the BAR.
pub(super) struct Fetch;

#[cfg(target_arch = "aarch64")]
impl Access for Fetch {
    fn block(&self) -> Option<u64> {
        Some(4)
    }

    unsafe fn access(&self, block: NonNull<u8>) -> bool {
        /// Arm ARM, "RET": to x30.
        const RET: u32 = 0xd65f_03c0;
        // SAFETY: the caller's: the aligned word. If it can be executed it returns at once.
        unsafe {
            block.cast::<u32>().write_volatile(RET.to_le());
            std::arch::asm!("dsb sy", "isb", "blr {0}", in(reg) block.as_ptr(), out("x30") _, options(nostack));
        }
        true
    }
}

/// Another architecture has other instructions.
#[cfg(not(target_arch = "aarch64"))]
impl Access for Fetch {
    fn block(&self) -> Option<u64> {
        None
    }

    unsafe fn access(&self, _: NonNull<u8>) -> bool {
        false
    }
}
