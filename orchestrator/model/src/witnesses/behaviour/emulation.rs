//! The ability of a QEMU to show an unaligned access to Device memory, which faults on hardware.
//! Versions without it are not used as a witness.

/// The ability of a QEMU version to fault on unaligned accesses to Device memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Faults {
    Never,
    /// Only in code generated for several vCPUs: serial code loses the alignment check by
    /// optimisation.
    ParallelOnly,
    Always,
}

/// The ability by the first version (major, minor) that has it; ascending.
///
/// Sources: the alignment check of Device memory came with QEMU 9.0 (target/arm, March 2024). Until
/// 10.1 `tcg_canonicalize_memop` (10.0.2 tcg/tcg-op-ldst.c) sets MO_ATOM_NONE in serial code and
/// the check is lost: measured on 10.0.2 with one vCPU, `thread=single` and icount; QEMU issue
/// 3171, fixed by commit 4dea00368dc in 10.2.
static ALIGNMENT: [((u32, u32), Faults); 3] =
    [((0, 0), Faults::Never), ((9, 0), Faults::ParallelOnly), ((10, 2), Faults::Always)];

/// The vCPUs of the emulated host, each with a thread of its own (`-smp 2`, MTTCG).
const HOST_VCPUS: u32 = 2;

/// Checks that the QEMU with this version text, `10.0.2` or
/// `QEMU emulator version 10.0.2 (Debian ...)`, shows the alignment fault. The error is the reason
/// why not.
pub(super) fn shows_device_alignment(qemu: Option<&str>) -> Result<(), String> {
    let Some(text) = qemu else { return Err("QEMU's version is not known".into()) };
    let Some(version) = version(text) else { return Err(format!("no version in `{text}`")) };
    shows(version, HOST_VCPUS)
}

fn shows((major, minor): (u32, u32), vcpus: u32) -> Result<(), String> {
    let row = ALIGNMENT.iter().rfind(|(first, _)| *first <= (major, minor));
    match row.map_or(Faults::Never, |(_, faults)| *faults) {
        Faults::Always => Ok(()),
        Faults::ParallelOnly if vcpus > 1 => Ok(()),
        Faults::ParallelOnly => {
            Err(format!("QEMU {major}.{minor} with one vCPU ignores the alignment of Device memory"))
        }
        Faults::Never => Err(format!("QEMU {major}.{minor} ignores the alignment of Device memory")),
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
        assert_eq!(
            shows_device_alignment(Some("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)")),
            Ok(())
        );
        assert_eq!(shows_device_alignment(Some("10.2.2")), Ok(()));
        for none in [None, Some("8.2.4"), Some("unknown"), Some("7"), Some("99999999999.1")] {
            assert!(shows_device_alignment(none).is_err(), "{none:?}");
        }
        assert!(shows((10, 1), 1).is_err() && shows((9, 0), 1).is_err());
        assert!(shows((9, 0), 2).is_ok() && shows((8, 9), 2).is_err());
        assert!(shows((10, 2), 1).is_ok() && shows((11, 0), 1).is_ok());
    }
}
