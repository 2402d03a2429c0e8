//! The needs of an emulated host.

use super::qmp::QemuVersion;
use crate::host::Lack;
use s2lab_cache::OLDEST_QEMU;
use s2lab_model::scenario;

/// Bytes that QEMU itself takes beside the host's RAM: translated code (1 GiB at most, some 100 MiB
/// in use) and its own.
const QEMU_MEMORY: u64 = 256 << 20;

/// Returns what a QEMU of this version lacks.
pub fn lack(version: QemuVersion) -> Option<Lack> {
    let QemuVersion { major, minor, micro } = version;
    let (oldest, point) = OLDEST_QEMU;
    ((major, minor) < (oldest, point)).then(|| Lack {
        what: format!("QEMU {major}.{minor}.{micro} is older than {oldest}.{point}"),
        hint: "put a newer QEMU on PATH, or none: then s2lab takes one of its own",
    })
}

/// Bytes of this machine's memory that the host takes.
pub fn memory(host: &scenario::Host) -> u64 {
    let bars = host.devices.values().map(scenario::Device::memory);
    bars.fold(host.memory.0, u64::saturating_add).saturating_add(QEMU_MEMORY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_qemu_is_named_with_what_to_do() {
        let version = |major, minor| QemuVersion { major, minor, micro: 4 };
        let old = lack(version(9, 2)).unwrap();
        assert_eq!(old.what, "QEMU 9.2.4 is older than 10.0");
        assert!(old.hint.contains("newer QEMU"));
        assert!(lack(version(10, 0)).is_none() && lack(version(11, 0)).is_none());
    }
}
