//! The options of the kernel under test that host, agent and steps need: those of host and agent in
//! one table, those of a step in its file.

use super::{Config, Setting};
use crate::cell::ResolvedCell;
use crate::scenario::AssignDriver;
use s2lab_protocol::{Facility, RamKind};
use std::{collections::BTreeSet, fmt};

/// An option that a kernel must have.
#[derive(Debug)]
pub struct Need {
    /// The name without `CONFIG_`.
    pub option: &'static str,
    /// The part that does not work without it.
    pub reason: &'static str,
    /// The file name, with `_`, of the module that also provides it, if that is delivered. None: it
    /// must be built in.
    pub module: Option<&'static str>,
    /// The scenarios that need it.
    pub of: Whose,
    /// The facility that a host shows if its kernel initializes it. None: without the option no
    /// agent runs that could look.
    pub shows: Option<Facility>,
}

/// The scenarios that need an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    All,
    /// Scenarios that bind a device to vfio-pci, for a guest or for selftests.
    Assigning,
    /// Scenarios that assign a device by vfio-platform.
    AssigningPlatform,
    /// Scenarios that assign a device by either.
    AssigningByVfio,
    /// Scenarios that assign a device in any way.
    WithDevices,
    /// Scenarios with a guest that has memory tagging.
    WithMte,
    /// Scenarios that assign a virtual function.
    WithFunctions,
    /// Scenarios with memory of s2lab's own kernel module.
    WithModule,
    /// Scenarios in which this kind of memory backs RAM.
    WithRam(&'static [RamKind]),
}

pub(crate) const fn need(option: &'static str, reason: &'static str, of: Whose) -> Need {
    Need { option, reason, module: None, of, shows: None }
}

const fn shown(need: Need, facility: Facility) -> Need {
    Need { shows: Some(facility), ..need }
}

const fn or_module(need: Need, module: &'static str) -> Need {
    Need { module: Some(module), ..need }
}

/// The options that host, guests and agent need. An option that is not in the table is always on
/// for arm64 (the GIC, PSCI), or the lab works without it (hot-plug).
pub static NEEDS: [Need; 26] = [
    need("BLK_DEV_INITRD", "the host's user land is an initramfs", Whose::All),
    need("BINFMT_ELF", "the agent is an ELF program", Whose::All),
    need("DEVTMPFS", "the agent finds its devices in it", Whose::All),
    need("PROC_FS", "the agent reads its parameters from it", Whose::All),
    need("SYSFS", "the agent finds and binds devices by it", Whose::All),
    // The agent's parts use them too.
    need("UNIX", "the agent talks to a guest's VMM through its sockets", Whose::All),
    need("PRINTK", "alarms are read from the console", Whose::All),
    need("SERIAL_AMBA_PL011_CONSOLE", "alarms are read from the machine's serial port", Whose::All),
    // Without firmware a device tree describes the machine: `pci-host-ecam-generic` (QEMU 10.0
    // hw/arm/virt.c).
    need("PCI_HOST_GENERIC", "it drives the machine's PCI host bridge", Whose::All),
    or_module(need("VIRTIO_PCI", "the agent's port is a virtio device", Whose::All), "virtio_pci"),
    or_module(
        need("VIRTIO_CONSOLE", "the agent's port is one of virtio-serial", Whose::All),
        "virtio_console",
    ),
    shown(need("KVM", "the host runs guests", Whose::All), Facility::Kvm),
    or_module(need("VFIO", "a device is bound to VFIO", Whose::AssigningByVfio), "vfio"),
    shown(
        or_module(need("VFIO_PCI", "a PCI device is bound to vfio-pci", Whose::Assigning), "vfio_pci"),
        Facility::VfioPci,
    ),
    shown(
        or_module(
            need("VFIO_IOMMU_TYPE1", "VFIO maps the guest's memory for the device by it", Whose::Assigning),
            "vfio_iommu_type1",
        ),
        Facility::VfioIommuType1,
    ),
    shown(need("ARM_SMMU_V3", "VFIO needs the machine's IOMMU", Whose::Assigning), Facility::Iommu),
    shown(
        need("VFIO_PLATFORM", "the guest is given a platform device", Whose::AssigningPlatform),
        Facility::VfioPlatform,
    ),
    shown(
        need("VFIO_NOIOMMU", "the machine's platform device has no IOMMU", Whose::AssigningPlatform),
        Facility::VfioNoIommu,
    ),
    // No module of these is delivered: hosts without virtual functions would load it too.
    shown(need("IGB", "it makes the virtual function of a guest", Whose::WithFunctions), Facility::Igb),
    shown(
        need("PCI_IOV", "the guest is given a virtual function", Whose::WithFunctions),
        Facility::VirtualFunctions,
    ),
    shown(
        need("PACKET", "the agent exchanges frames with the guest", Whose::WithFunctions),
        Facility::PacketSockets,
    ),
    need("MODULES", "s2lab's own module makes VMAs", Whose::WithModule),
    shown(need("ARM64_MTE", "the guest has memory tagging", Whose::WithMte), Facility::Mte),
    shown(
        need(
            "HUGETLBFS",
            "RAM of a guest is of its pages",
            Whose::WithRam(&[RamKind::Hugetlb, RamKind::Hugetlb64K]),
        ),
        Facility::HugePages,
    ),
    need(
        "ARM64_4K_PAGES",
        "16 of them are a page of 64 KiB of hugetlbfs",
        Whose::WithRam(&[RamKind::Hugetlb64K]),
    ),
    shown(
        need(
            "TRANSPARENT_HUGEPAGE",
            "the VMM gives advice about them",
            Whose::WithRam(&[RamKind::Thp, RamKind::NoThp, RamKind::ThpAskew]),
        ),
        Facility::TransparentHugePages,
    ),
];

impl Need {
    fn concerns(&self, cell: &ResolvedCell) -> bool {
        let assigns = || cell.bound().map(|(_, way)| way);
        match self.of {
            Whose::All => true,
            Whose::Assigning => assigns().any(|driver| driver.is_vfio_pci()),
            Whose::AssigningPlatform => assigns().any(|driver| driver == AssignDriver::VfioPlatform),
            Whose::AssigningByVfio => assigns().any(|driver| driver.is_vfio()),
            Whose::WithDevices => assigns().next().is_some(),
            Whose::WithMte => cell.guests.values().any(|guest| guest.mte),
            Whose::WithFunctions => cell.has_functions(),
            Whose::WithModule => cell.uses_module(),
            Whose::WithRam(kinds) => {
                let mut ram = cell.guests.values().flat_map(|guest| &guest.ram);
                ram.any(|kind| kinds.contains(kind))
            }
        }
    }
}

/// An option that does not have the setting that a cell needs.
#[derive(Debug, Clone, Copy)]
pub struct Lack {
    pub need: &'static Need,
    pub how: How,
}

/// The setting of an option that is not as needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// The configuration does not set it.
    Off,
    /// It is a module, which is not delivered.
    Module,
    /// The kernel's lists of modules do not have it.
    Nowhere,
}

impl Lack {
    /// Returns the module that would provide the option and was not given. Returns None for an
    /// IOMMU's driver: the agent would load it too late.
    pub fn module_not_given(&self) -> Option<&'static str> {
        self.need.module.filter(|_| self.how == How::Module)
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Need { option, reason, .. } = self.need;
        let how = match self.how {
            How::Off => "",
            How::Module => "=m, whose module is not delivered",
            How::Nowhere => ", neither built in nor a module",
        };
        write!(f, "CONFIG_{option}{how} ({reason})")
    }
}

/// Returns the options that `cell` needs: those of the table, then those of its steps, each
/// once.
pub fn needs(cell: &ResolvedCell) -> Vec<&'static Need> {
    let of_steps = cell.steps.iter().flat_map(|step| step.kind().needs());
    let mut out: Vec<&Need> = vec![];
    for need in NEEDS.iter().chain(of_steps).filter(|need| need.concerns(cell)) {
        if !out.iter().any(|known| known.option == need.option) {
            out.push(need);
        }
    }
    out
}

/// Returns the options that `config` lacks for `cell`, in the order of [`needs`]. `delivered` has
/// the names of the modules that the agent loads; `-` and `_` are the same.
pub fn lacking(config: &Config, cell: &ResolvedCell, delivered: &BTreeSet<String>) -> Vec<Lack> {
    let delivered: BTreeSet<_> = delivered.iter().map(|name| name.replace('-', "_")).collect();
    let lack = |need: &'static Need| match config.setting(need.option) {
        Setting::BuiltIn => None,
        Setting::Module if need.module.is_some_and(|module| delivered.contains(module)) => None,
        Setting::Module => Some(Lack { need, how: How::Module }),
        Setting::Off => Some(Lack { need, how: How::Off }),
    };
    needs(cell).into_iter().filter_map(lack).collect()
}

/// Returns the options that `cell` needs and a kernel lacks that has the modules `absent`
/// neither as files nor built in, in the order of [`needs`].
pub fn absent(absent: &[String], cell: &ResolvedCell) -> Vec<Lack> {
    let is_absent = |need: &&Need| need.module.is_some_and(|module| absent.iter().any(|name| name == module));
    let absent = needs(cell).into_iter().filter(is_absent);
    absent.map(|need| Lack { need, how: How::Nowhere }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Traits;
    use proptest::prelude::*;

    const BAR: &str = include_str!("../../../../scenarios/vfio-pci-bar.yaml");
    const RAM: &str = "scenario: idle\nabout: x\nhost: {cpu: neoverse-v1}\nguests:\n  g0: {vmm: qemu}\nsteps:\n  - look: {name: a}\n\
        expect:\n  - {at: a, of: ram, stage2: Normal-WB}\n";

    fn cell(name: &str, text: &str) -> ResolvedCell {
        let scenario = crate::scenario::load(name, text).unwrap();
        ResolvedCell::of(&scenario, Traits::Exactly([].into()))
    }

    #[test]
    fn selftests_with_a_device_need_vfio() {
        let of = |suite: &str| {
            let text = format!(
                "scenario: s\nabout: x\nhost: {{cpu: max, devices: {{nic: {{model: igb}}}}}}\nsteps: [suite: {{{suite}}}]\n"
            );
            needs(&cell("s.yaml", &text)).iter().any(|need| need.option == "VFIO_PCI")
        };
        assert!(of("of: vfio-selftests, tests: [a], device: nic"));
        assert!(!of("of: kvm-selftests, tests: [a]"), "no one binds the device");
    }

    fn bar() -> ResolvedCell {
        cell("vfio-pci-bar.yaml", BAR)
    }

    fn config(off: &[&str], modules: &[&str]) -> Config {
        let mut text = "CONFIG_ARM64=y\n".to_owned();
        for Need { option, .. } in needs(&bar()).into_iter().filter(|need| !off.contains(&need.option)) {
            text += &format!("CONFIG_{option}={}\n", if modules.contains(option) { "m" } else { "y" });
        }
        Config::parse(&text).unwrap()
    }

    fn options(lacks: &[Lack]) -> Vec<&'static str> {
        lacks.iter().map(|lack| lack.need.option).collect()
    }

    #[test]
    fn a_kernel_with_all_of_it_lacks_nothing() {
        assert!(lacking(&config(&[], &[]), &bar(), &BTreeSet::new()).is_empty());
    }

    #[test]
    fn what_lacks_is_named_with_its_reason() {
        let lacks = lacking(&config(&["KVM", "VFIO_PCI"], &[]), &bar(), &BTreeSet::new());
        let text: Vec<_> = lacks.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            ["CONFIG_KVM (the host runs guests)", "CONFIG_VFIO_PCI (a PCI device is bound to vfio-pci)"]
        );
    }

    #[test]
    fn a_module_counts_only_where_it_is_delivered() {
        let modules = ["VFIO_PCI", "VFIO_IOMMU_TYPE1", "ARM_SMMU_V3"];
        let delivered = BTreeSet::from(["vfio-pci".to_owned(), "arm-smmu-v3".to_owned()]);
        let lacks = lacking(&config(&[], &modules), &bar(), &delivered);
        // The agent runs after the devices were probed, so an IOMMU's driver in a module does not
        // count.
        assert_eq!(options(&lacks), ["VFIO_IOMMU_TYPE1", "ARM_SMMU_V3"]);
        assert!(lacks[0].to_string().starts_with("CONFIG_VFIO_IOMMU_TYPE1=m, whose module is not delivered"));
    }

    #[test]
    fn a_scenario_without_devices_needs_no_vfio() {
        let ram = cell("idle.yaml", RAM);
        let off = ["VFIO", "VFIO_PCI", "VFIO_IOMMU_TYPE1", "ARM_SMMU_V3", "PROC_PAGE_MONITOR"];
        assert!(lacking(&config(&off, &[]), &ram, &BTreeSet::new()).is_empty());
        assert_eq!(options(&lacking(&config(&off, &[]), &bar(), &BTreeSet::new())), off);
        assert_eq!(options(&lacking(&config(&["KVM"], &[]), &ram, &BTreeSet::new())), ["KVM"]);
    }

    #[test]
    fn huge_pages_are_needed_where_they_back_ram() {
        let mut ram = cell("idle.yaml", RAM);
        let off = ["HUGETLBFS", "TRANSPARENT_HUGEPAGE", "ARM64_4K_PAGES"];
        let mut lacks = |kinds: &[RamKind]| {
            ram.guests.values_mut().for_each(|guest| guest.ram = kinds.to_vec());
            lacking(&config(&off, &[]), &ram, &BTreeSet::new())
                .iter()
                .map(|lack| lack.need.option)
                .collect::<Vec<_>>()
        };
        assert_eq!(lacks(&[RamKind::Memfd, RamKind::Anonymous]), [""; 0]);
        assert_eq!(lacks(&[RamKind::Memfd, RamKind::Hugetlb]), ["HUGETLBFS"]);
        assert_eq!(lacks(&[RamKind::Hugetlb64K]), ["HUGETLBFS", "ARM64_4K_PAGES"]);
        assert_eq!(lacks(&[RamKind::NoThp]), ["TRANSPARENT_HUGEPAGE"]);
    }

    #[test]
    fn an_operation_on_a_memslot_has_needs_of_its_own() {
        let mut ram = cell("idle.yaml", RAM);
        let off = ["COMPACTION", "ARM64_4K_PAGES"];
        let mut lacks = |operation: &str| {
            let step = serde_json::json!({"memslot": {"guest": "g0", "of": "ram", "do": operation}});
            ram.steps = vec![serde_json::from_value(step).unwrap()];
            options(&lacking(&config(&off, &[]), &ram, &BTreeSet::new()))
        };
        assert_eq!(lacks("fork"), [""; 0]);
        assert_eq!(lacks("compact"), off);
    }

    #[test]
    fn a_platform_device_needs_its_driver_and_no_pci() {
        let mut cell = bar();
        let guest = cell.guests.get_mut("g0").unwrap();
        guest.assign = [("flash".to_owned(), AssignDriver::VfioPlatform)].into();
        let off = ["VFIO", "VFIO_PCI", "VFIO_PLATFORM", "VFIO_NOIOMMU"];
        let lacks = options(&lacking(&config(&off, &[]), &cell, &BTreeSet::new()));
        assert_eq!(lacks, ["VFIO", "VFIO_PLATFORM", "VFIO_NOIOMMU"]);
        assert!(!options(&lacking(&config(&off, &[]), &bar(), &BTreeSet::new())).contains(&"VFIO_PLATFORM"));
    }

    #[test]
    fn a_virtual_function_needs_the_driver_of_the_physical_one() {
        let mut cell = bar();
        let off = ["IGB", "PCI_IOV", "PACKET"];
        let lacks = |cell: &_| options(&lacking(&config(&off, &[]), cell, &BTreeSet::new()));
        assert_eq!(lacks(&cell), [""; 0]);
        let guest = cell.guests.get_mut("g0").unwrap();
        guest.assign = [("nic".to_owned(), AssignDriver::VirtualFunction)].into();
        assert_eq!(lacks(&cell), off);
        let all = needs(&cell);
        assert!(all.iter().any(|need| need.option == "VFIO_PCI"), "vfio-pci holds it");
    }

    #[test]
    fn modules_that_are_nowhere_are_those_of_options() {
        let ram = cell("idle.yaml", RAM);
        let names = ["vfio_iommu_type1", "vfio_pci", "virtio_pci", "of_nobody"].map(str::to_owned);
        assert_eq!(options(&absent(&names, &bar())), ["VIRTIO_PCI", "VFIO_PCI", "VFIO_IOMMU_TYPE1"]);
        assert_eq!(options(&absent(&names, &ram)), ["VIRTIO_PCI"]);
        assert!(absent(&[], &bar()).is_empty());
    }

    #[test]
    fn each_option_stands_once_in_the_table() {
        let names: BTreeSet<_> = NEEDS.iter().map(|need| need.option).collect();
        assert_eq!(names.len(), NEEDS.len());
    }

    #[test]
    fn what_a_step_needs_comes_once_and_last() {
        let looks = bar().steps.iter().filter(|step| !step.kind().needs().is_empty()).count();
        let options: Vec<_> = needs(&bar()).iter().map(|need| need.option).collect();
        assert!(looks > 1 && options.ends_with(&["ARM_SMMU_V3", "PROC_PAGE_MONITOR"]), "{options:?}");
    }

    proptest! {
        /// The result names exactly the options that are switched off.
        #[test]
        fn exactly_what_is_off_is_named(off in proptest::sample::subsequence(
            needs(&bar()).iter().map(|need| need.option).collect::<Vec<_>>(), 0..=needs(&bar()).len()))
        {
            let lacks = lacking(&config(&off, &[]), &bar(), &BTreeSet::new());
            prop_assert_eq!(options(&lacks), off);
        }
    }
}
