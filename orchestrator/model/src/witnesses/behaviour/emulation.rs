//! The ability of a QEMU to show how an access to Device memory ends on hardware. What a version
//! does not show is not used as a witness, and an expectation of it is a SKIP. The same table with
//! its sources is in `docs/architecture.md`.

use s2lab_protocol::ProbeKind;

/// The ability of a QEMU version to fault where the architecture does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Faults {
    Never,
    /// Only in code generated for several vCPUs: serial code loses the alignment check by
    /// optimisation.
    ParallelOnly,
    Always,
}

/// A kind of probe with the ability by the first version (major, minor) that has it; ascending.
type Ability = (&'static str, &'static [((u32, u32), Faults)]);

/// Sources: the alignment check of Device memory came with QEMU 9.0 (target/arm, March 2024). Until
/// 10.1 `tcg_canonicalize_memop` (10.0.2 tcg/tcg-op-ldst.c) sets MO_ATOM_NONE in serial code and
/// the check is lost: measured on 10.0.2 with one vCPU, `thread=single` and icount; QEMU issue
/// 3171, fixed by commit 4dea00368dc in 10.2. Measured with two vCPUs on 11.1.3: the same endings as on
/// 10.0.2, also where only stage 1 is Device.
const ALIGNMENT: Ability = (
    "the alignment of Device memory",
    &[((0, 0), Faults::Never), ((9, 0), Faults::ParallelOnly), ((10, 2), Faults::Always)],
);

/// Source: `HELPER(dc_zva)` in target/arm/tcg/helper-a64.c says in a comment that it does not
/// implement the alignment fault of Device memory (10.0.2 to 10.2). Measured on 11.1.3: no fault either.
const ZVA: Ability = ("the memory type of DC ZVA", &[((0, 0), Faults::Never)]);

/// Source: LDADD and the exclusives are operations on the host's memory, whatever the type
/// (`do_atomic_ld`, `gen_store_exclusive` in target/arm/tcg/translate-a64.c, 10.0.2 to 10.2). The
/// fault of an unsupported exclusive or atomic access (FSC 0x35) is not raised there. Measured on
/// 11.1.3: no fault either.
const EXCLUSIVE: Ability = ("the memory type of atomic and exclusive accesses", &[((0, 0), Faults::Never)]);

/// Source: `get_phys_addr_lpae` in target/arm/ptw.c has checked XN since EL2 came.
const EXECUTE_NEVER: Ability = ("execute-never", &[((0, 0), Faults::Always)]);

/// The vCPUs of the emulated host, each with a thread of its own (`-smp 2`, MTTCG).
const HOST_VCPUS: u32 = 2;

/// Checks that the QEMU with this version text, `10.0.2` or
/// `QEMU emulator version 10.0.2 (Debian ...)`, shows the fault of an access. The error is the
/// reason why not.
pub(super) fn shows(kind: ProbeKind, qemu: Option<&str>) -> Result<(), String> {
    let Some(text) = qemu else { return Err("QEMU's version is not known".into()) };
    let Some(version) = version(text) else { return Err(format!("no version in `{text}`")) };
    shows_with(ability(kind), version, HOST_VCPUS)
}

fn ability(kind: ProbeKind) -> Ability {
    match kind {
        ProbeKind::Store | ProbeKind::Load => ALIGNMENT,
        ProbeKind::Zva => ZVA,
        ProbeKind::Atomic | ProbeKind::Exclusive => EXCLUSIVE,
        ProbeKind::Fetch => EXECUTE_NEVER,
    }
}

fn shows_with((what, rows): Ability, (major, minor): (u32, u32), vcpus: u32) -> Result<(), String> {
    let row = rows.iter().rfind(|(first, _)| *first <= (major, minor));
    match row.map_or(Faults::Never, |(_, faults)| *faults) {
        Faults::Always => Ok(()),
        Faults::ParallelOnly if vcpus > 1 => Ok(()),
        Faults::ParallelOnly => Err(format!("QEMU {major}.{minor} with one vCPU ignores {what}")),
        Faults::Never => Err(format!("QEMU {major}.{minor} ignores {what}")),
    }
}

/// Returns the first `N.N` in a text.
fn version(text: &str) -> Option<(u32, u32)> {
    text.split(|c: char| !c.is_ascii_digit() && c != '.').find_map(|word| {
        let mut numbers = word.split('.').map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_versions_show_it() {
        for kind in [ProbeKind::Store, ProbeKind::Load] {
            assert_eq!(shows(kind, Some("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)")), Ok(()));
            assert_eq!(shows(kind, Some("10.2.2")), Ok(()));
            assert_eq!(shows(kind, Some("11.1.3 (package 1:11.1.3+ds-1~bpo13+1 sha256:5e)")), Ok(()));
            for none in [None, Some("8.2.4"), Some("unknown"), Some("7"), Some("99999999999.1")] {
                assert!(shows(kind, none).is_err(), "{none:?}");
            }
        }
        let alignment = |version, vcpus| shows_with(ALIGNMENT, version, vcpus);
        assert!(alignment((10, 1), 1).is_err() && alignment((9, 0), 1).is_err());
        assert!(alignment((9, 0), 2).is_ok() && alignment((8, 9), 2).is_err());
        assert!(alignment((10, 2), 1).is_ok() && alignment((11, 0), 1).is_ok());
    }

    #[test]
    fn no_version_shows_the_faults_that_qemu_does_not_have() {
        for kind in [ProbeKind::Zva, ProbeKind::Atomic, ProbeKind::Exclusive] {
            for version in ["10.2", "11.1"] {
                let why = shows(kind, Some(&format!("{version}.3"))).unwrap_err();
                assert!(why.starts_with(&format!("QEMU {version} ignores the memory type of ")), "{why}");
            }
        }
        assert_eq!(shows(ProbeKind::Fetch, Some("7.0.0")), Ok(()));
    }
}
