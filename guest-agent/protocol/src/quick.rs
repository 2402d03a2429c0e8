//! Words of a kernel's command line that shorten a boot under TCG. No promise and no fact of a report depends on
//! them. `docs/speed.md` has what each gives.

/// Words for each Linux that s2lab boots, in the host and in guests. A kernel without the facility ignores its word.
///
/// - `kpti=0`: with KPTI each entry to the kernel and each return changes the ASID, and then QEMU drops its whole TLB
///   (QEMU 10.0 target/arm/helper.c, vmsa_ttbr_write). Linux has KPTI on all of QEMU's CPUs without FEAT_E0PD if it
///   has KASLR (Linux 6.12 arch/arm64/include/asm/cpufeature.h, kaslr_requires_kpti).
/// - `cryptomgr.notests`: otherwise each cipher tests itself when it is registered (crypto/algboss.c), which takes
///   half of the instructions of a boot.
/// - `initcall_blacklist=jent_mod_init`: the random number generator from jitter (crypto/jitterentropy-kcapi.c)
///   measures itself at its start. Linux has its random numbers from the seed in QEMU's device tree.
pub const QUICK_BOOT: &str = "kpti=0 cryptomgr.notests initcall_blacklist=jent_mod_init";
