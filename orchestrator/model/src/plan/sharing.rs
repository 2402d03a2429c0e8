//! The cells that one boot of a host can serve.

use super::QemuChoice;
use crate::event::PlannedCell;
use crate::scenario::{Device, Host, MAX_DEVICES};

/// The most bytes of all BARs and drives of a host that several cells share. A scenario alone may have more.
const MOST_BARS: u64 = 512 << 20;

/// A host that cells may share: one kernel on one QEMU with one CPU, memory and arguments, and the
/// devices of all its cells. The page size is the kernel's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedHost {
    kernel: String,
    qemu: Option<QemuChoice>,
    host: Host,
    /// QEMU runs a guest in it, in one of the cells at least.
    runs_qemu: bool,
}

impl SharedHost {
    /// Returns the host of a cell alone.
    pub fn of(cell: &PlannedCell) -> Self {
        let qemu = QemuChoice::of(&cell.key);
        let runs_qemu = cell.resolved.runs_qemu();
        Self { kernel: cell.kernel.clone(), qemu, host: cell.resolved.host.clone(), runs_qemu }
    }

    /// The machine.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Returns true if the host's user land has QEMU: one of the cells has a guest of it.
    pub fn runs_qemu(&self) -> bool {
        self.runs_qemu
    }

    /// Returns true if the cell can run on this host: it is the cell's own but for further devices, and for a
    /// QEMU that the cell does not need.
    pub fn takes(&self, cell: &PlannedCell) -> bool {
        let has = |(name, device)| self.host.devices.get(name) == Some(device);
        let has_qemu = self.runs_qemu || !cell.resolved.runs_qemu();
        has_qemu && self.is_alike(cell) && cell.resolved.host.devices.iter().all(has)
    }

    /// Adds the devices of a cell, and QEMU if it needs that. Returns false, and adds none, if the cell
    /// cannot run on such a host.
    pub fn add(&mut self, cell: &PlannedCell) -> bool {
        let devices = &cell.resolved.host.devices;
        let fits = |(name, device)| self.host.devices.get(name).is_none_or(|known| known == device);
        if !self.is_alike(cell) || !devices.iter().all(fits) {
            return false;
        }
        let mut all = self.host.devices.clone();
        all.extend(devices.clone());
        let bars = all.values().map(Device::memory).fold(0, u64::saturating_add);
        let more = all.len() > self.host.devices.len();
        if more && (all.len() > MAX_DEVICES || bars > MOST_BARS) {
            return false;
        }
        self.host.devices = all;
        self.runs_qemu |= cell.resolved.runs_qemu();
        true
    }

    /// Returns true if a cell has the same kernel and machine, devices aside. A host that counts runs
    /// slower, so it serves only cells that count. A cell that does not run has no host.
    fn is_alike(&self, cell: &PlannedCell) -> bool {
        let (of, host) = (&self.host, &cell.resolved.host);
        let Host { cpu, memory, devices: _, arguments, gic, mte } = host;
        self.kernel == cell.kernel
            && self.qemu == QemuChoice::of(&cell.key)
            && (&of.cpu, &of.memory, &of.arguments, &of.gic, &of.mte) == (cpu, memory, arguments, gic, mte)
            && of.counts() == host.counts()
            && cell.resolved.excluded.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::ResolvedCell;
    use crate::kernel::Traits;
    use crate::scenario::{Vmm, load};
    use proptest::prelude::*;

    /// A cell of a host with these devices, by name and BAR.
    fn cell(kernel: &str, host: &str, devices: &[(String, String)]) -> PlannedCell {
        let written: Vec<_> = devices
            .iter()
            .map(|(name, bar)| format!("{name}: {{model: ivshmem-plain, bar: {bar}}}"))
            .collect();
        let text = format!(
            "scenario: s\nabout: x\nhost: {{{host}, devices: {{{}}}}}\nguests: {{g0: {{vmm: qemu}}}}\n\
             steps: [look: {{name: up}}]\nexpect: [{{at: up, of: ram, stage2: Normal-WB}}]\n",
            written.join(", ")
        );
        let scenario = load("s.yaml", &text).unwrap();
        PlannedCell {
            key: "s@k".parse().unwrap(),
            kernel: kernel.into(),
            about: String::new(),
            repeat: vec![],
            resolved: ResolvedCell::of(&scenario, Traits::Exactly([].into())),
        }
    }

    fn device(name: &str, bar: &str) -> (String, String) {
        (name.to_owned(), bar.to_owned())
    }

    #[test]
    fn a_host_serves_cells_of_the_same_machine() {
        let plain = cell("k", "cpu: neoverse-v1", &[]);
        let nic = [device("nic", "16M")];
        let with_nic = cell("k", "cpu: neoverse-v1", &nic);
        let mut host = SharedHost::of(&plain);
        assert!(host.takes(&plain) && !host.takes(&with_nic));
        assert!(host.add(&with_nic) && host.takes(&with_nic) && host.takes(&plain));
        for other in [
            cell("other", "cpu: neoverse-v1", &nic),
            cell("k", "cpu: neoverse-n1", &nic),
            cell("k", "cpu: neoverse-v1, memory: 2G", &nic),
            cell("k", "cpu: neoverse-v1, arguments: [kvm-arm.mode=nvhe]", &nic),
            cell("k", "cpu: neoverse-v1, gic: 2", &nic),
            cell("k", "cpu: max, mte: true", &nic),
            cell("k", "cpu: neoverse-v1", &[device("nic", "32M")]),
            cell("k", "cpu: neoverse-v1", &[device("nic", "16M, count: true")]),
            PlannedCell { key: "s@k+qemu=newest".parse().unwrap(), ..cell("k", "cpu: neoverse-v1", &nic) },
        ] {
            let before = host.clone();
            assert!(!host.takes(&other) && !host.add(&other), "{other:?}");
            assert_eq!(host, before, "nothing is added");
        }
    }

    #[test]
    fn a_host_without_qemu_serves_no_cell_that_needs_it() {
        let of_qemu = cell("k", "cpu: max", &[]);
        let mut builtin = of_qemu.clone();
        builtin.resolved.guests.values_mut().for_each(|guest| guest.vmm = Vmm::Builtin);
        let mut host = SharedHost::of(&builtin);
        assert!(!host.runs_qemu() && host.takes(&builtin) && !host.takes(&of_qemu));
        assert!(host.add(&builtin) && !host.runs_qemu());
        assert!(host.add(&of_qemu) && host.runs_qemu() && host.takes(&of_qemu) && host.takes(&builtin));
        assert!(SharedHost::of(&of_qemu).takes(&builtin));
    }

    #[test]
    fn devices_are_bounded() {
        let many =
            |from: usize| -> Vec<_> { (from..from + 5).map(|n| device(&format!("d{n}"), "4K")).collect() };
        let mut host = SharedHost::of(&cell("k", "cpu: max", &many(0)));
        assert!(!host.add(&cell("k", "cpu: max", &many(5))), "ten devices");
        assert!(host.add(&cell("k", "cpu: max", &many(3))), "eight");
        let large = |name: &str| cell("k", "cpu: max", &[device(name, "256M")]);
        let mut host = SharedHost::of(&large("a"));
        assert!(host.add(&large("b")) && !host.add(&large("c")), "768 MiB");
        // A scenario alone may have more, and shares it.
        let three: Vec<_> = ["a", "b", "c"].iter().map(|name| device(name, "256M")).collect();
        let mut host = SharedHost::of(&cell("k", "cpu: max", &three));
        assert!(host.add(&large("c")));
    }

    fn any_cell() -> impl Strategy<Value = PlannedCell> {
        let devices = proptest::collection::btree_map("[a-d]", prop_oneof!["4K", "16M"], 0..4);
        let host = prop_oneof![Just("cpu: max"), Just("cpu: neoverse-v1")];
        ("[kl]", host, devices)
            .prop_map(|(kernel, host, devices)| cell(&kernel, host, &devices.into_iter().collect::<Vec<_>>()))
    }

    proptest! {
        /// A host takes every cell that was added to it, and has no device that none of them has.
        #[test]
        fn a_shared_host_has_the_devices_of_its_cells(first in any_cell(), more in proptest::collection::vec(any_cell(), 0..6)) {
            let mut host = SharedHost::of(&first);
            let mut added = vec![first];
            for cell in more {
                let took = host.takes(&cell);
                let adds = host.add(&cell);
                prop_assert!(adds || !took, "what it takes can be added");
                prop_assert_eq!(host.takes(&cell), adds);
                added.extend(adds.then_some(cell));
            }
            prop_assert!(added.iter().all(|cell| host.takes(cell)));
            let of = |name: &String| added.iter().any(|cell| cell.resolved.host.devices.contains_key(name));
            prop_assert!(host.host().devices.keys().all(of));
        }
    }
}
