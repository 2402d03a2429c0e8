//! The attributes that KVM gives to every leaf, at every look, whatever a scenario expects.
//!
//! One function composes them (Linux 6.1 to 7.2 arch/arm64/kvm/hyp/pgtable.c,
//! stage2_set_prot_attr). It knows three types: Device-nGnRE, Normal-NC, and the write-back of RAM.
//! It refuses executable leaves of the first two. SH is inner shareable for all, with FEAT_LPA2's
//! descriptors by VTCR_EL2. The access flag is set. KVM clears that of RAM as it ages, but ages no
//! BAR: neither rmap nor the walk of MGLRU (mm/vmscan.c, should_skip_vma) enters such a VMA.

use super::leaves::{self, Property};
use crate::finding::{Finding, Subject};
use crate::lines::Area;
use crate::record::look::DecodedLook;
use crate::record::{Record, virt};
use crate::regions::RegionName;
use crate::scenario::{Access, AccessFlag, GICV, Guest, MemoryType, Promise, RAM, Share};
use s2lab_mmu::Stage2Leaf;
use s2lab_protocol::Pgprot;

/// The type of memory that is not RAM, where no scenario expects one.
const NOT_RAM: &str = "Device-nGnRE or Normal-NC";
/// KVM lets a guest load from whatever it maps (mmu.c, user_mem_abort).
const LOADS: &str = "loads";
const UPPER_HALF: &str = "ram, its upper half,";

/// Returns a finding for each property that leaves of a look lack. `known` has the findings of
/// expectations: one of the same property is not repeated.
pub(super) fn findings(record: &Record, looks: &[DecodedLook], known: &[Finding]) -> Vec<Finding> {
    let guests = &record.planned.resolved.guests;
    let of_look = |look: &DecodedLook| {
        let guest = guests.get(&look.guest);
        let read_only = guest.map(|guest| read_only(guest, look)).unwrap_or_default();
        of_look(look, guest).into_iter().chain(read_only)
    };
    let is_new = |finding: &Finding| !known.iter().any(|known| known.what == finding.what);
    looks.iter().flat_map(of_look).filter(is_new).collect()
}

fn of_look(look: &DecodedLook, guest: Option<&Guest>) -> Vec<Finding> {
    let Ok(seen) = &look.seen else { return vec![] };
    let unmet = |properties: &[Property], of: &str, leaves, promise| {
        unmet(properties, leaves, &Subject::look(look).region(of), promise)
    };
    let ram = unmet(&of_ram(), RAM, &seen.ram, Some(Promise::RAM));
    let device = of_device();
    let cacheable = of_cacheable_device();
    let bars = seen.devices.iter().flat_map(|(of, leaves)| {
        let vma = guest.and_then(|guest| guest.vma(of));
        let is_cacheable = vma.is_some_and(|vma| vma.pgprot == Pgprot::WriteBack);
        let properties = if is_cacheable { &cacheable[..] } else { &device };
        unmet(properties, of, leaves, Some(Promise::BAR))
    });
    let gicv = unmet(&of_gicv(), GICV, &seen.gicv, Some(Promise::GICV));
    let unknown = unmet(&device, &Area::Unknown.to_string(), &seen.unknown, None);
    ram.into_iter().chain(bars).chain(gicv).chain(unknown).collect()
}

fn unmet(
    properties: &[Property],
    leaves: &[Stage2Leaf],
    place: &Subject,
    promise: Option<Promise>,
) -> Vec<Finding> {
    if leaves.is_empty() {
        return vec![];
    }
    let unmet = properties.iter().filter_map(|property| property.unmet(leaves, place));
    unmet.map(|finding| Finding { promise, ..finding }).collect()
}

/// Returns the findings of a guest's memslots that are read-only from the start. KVM gives their leaves no
/// permission to write (Linux 6.1 to 7.2 arch/arm64/kvm/mmu.c, user_mem_abort, by `writable` of
/// gfn_to_pfn_memslot).
fn read_only(guest: &Guest, look: &DecodedLook) -> Vec<Finding> {
    let Ok(seen) = &look.seen else { return vec![] };
    let upper = virt::RAM_START + guest.memory.0 / 2;
    let of_region = |region: &String| {
        let leaves = RegionName::of(region).kind().leaves(seen).iter();
        // RAM is read-only in its upper half.
        let leaves: Vec<_> = leaves.filter(|leaf| region != RAM || leaf.ipa >= upper).copied().collect();
        let of = if region == RAM { UPPER_HALF } else { region.as_str() };
        let place = Subject::look(look).region(of);
        unmet(&[Property::access(Access::R)], &leaves, &place, Some(Promise::LOGGING))
    };
    guest.read_only.iter().flat_map(of_region).collect()
}

fn of_ram() -> [Property; 2] {
    [Property::stage2(MemoryType::NormalWB), Property::share(Share::Inner)]
}

/// KVM maps it without a VMA, as Device memory that the guest may write to (Linux 6.1 to 7.2
/// arch/arm64/kvm/mmu.c, kvm_phys_addr_ioremap).
fn of_gicv() -> [Property; 5] {
    let (stage2, access) = (Property::stage2(MemoryType::DeviceNGnRE), Property::access(Access::Rw));
    let (share, af) = (Property::share(Share::Inner), Property::access_flag(AccessFlag::Set));
    [stage2, access, Property::never_exec(), share, af]
}

fn of_device() -> [Property; 5] {
    let stage2 = Property::new("stage2", NOT_RAM, |leaf| match leaf.attr.memory_type() {
        Some(MemoryType::DeviceNGnRE | MemoryType::NormalNC) => Some(NOT_RAM.to_owned()),
        _ => leaves::stage2(leaf),
    });
    let [access, share, af] = of_cacheable_device();
    [stage2, access, Property::never_exec(), share, af]
}

/// Since 6.17 KVM gives device memory the write-back of RAM, and execution, if its VMA is cacheable (mmu.c,
/// user_mem_abort). Expectations decide about the type then.
fn of_cacheable_device() -> [Property; 3] {
    let access = Property::new("access", LOADS, |leaf| {
        Some(if leaf.read { LOADS } else { Access::of(leaf.read, leaf.write) }.to_owned())
    });
    [access, Property::share(Share::Inner), Property::access_flag(AccessFlag::Set)]
}

#[cfg(test)]
mod tests {
    use super::findings;
    use crate::cell::ResolvedCell;
    use crate::judge::fixture::{DEVICE_BLOCK, Machine, NC_BLOCK, RAM_PAGE, Story};
    use crate::record::{Run, look::decode};
    use crate::scenario::Gic;
    use crate::steps::ProbeOutcome;
    use s2lab_protocol::{ModuleVma, Pgprot, ProbeEnd, VmaKind};

    fn texts(bar: u64, ram: u64) -> Vec<String> {
        findings_of(&Machine { ram, ..Machine::with(bar) }, Gic::V3)
    }

    /// Returns the findings of the first look at a machine.
    fn findings_of(machine: &Machine, gic: Gic) -> Vec<String> {
        findings_with(machine, gic, &[])
    }

    fn findings_with(machine: &Machine, gic: Gic, read_only: &[&str]) -> Vec<String> {
        findings_as(machine, |cell| {
            cell.host.gic = gic;
            let guest = cell.guests.get_mut("g0").unwrap();
            guest.read_only = read_only.iter().map(|region| (*region).to_owned()).collect();
        })
    }

    fn findings_as(machine: &Machine, change: impl FnOnce(&mut ResolvedCell)) -> Vec<String> {
        let traits = Story::after().cell.resolved.traits;
        let mut story = Story::of(traits, machine, true, ProbeOutcome::Answered(ProbeEnd::Ok));
        change(&mut story.cell.resolved);
        let run = Run::fold(story.lines()).unwrap();
        let looks = decode(&run.cells[0].attempts[0], &|digest: &str| story.pages.get(digest).cloned());
        let found = findings(&run.cells[0].attempts[0], &looks[..1], &[]);
        found.iter().map(|f| format!("{}: expected {}, found {}", f.what, f.expected, f.found)).collect()
    }

    #[test]
    fn what_kvm_writes_is_as_it_should_be() {
        for bar in [NC_BLOCK, DEVICE_BLOCK, NC_BLOCK & !(1 << 7)] {
            assert_eq!(texts(bar, RAM_PAGE), [""; 0]);
        }
        // RAM is aged, and may be executable or not.
        assert_eq!(texts(NC_BLOCK, RAM_PAGE & !(1 << 10) | 1 << 54), [""; 0]);
    }

    /// Write-back RAM has the same descriptor.
    #[test]
    fn a_bar_is_cacheable_only_under_a_cacheable_vma_of_the_module() {
        let of = |pgprot: Option<Pgprot>| {
            findings_as(&Machine::with(RAM_PAGE & !2), |cell| {
                let vma = |pgprot| ModuleVma { kind: VmaKind::Pfnmap, pgprot, marked: false, private: false };
                cell.guests.get_mut("g0").unwrap().vmas =
                    pgprot.map(|of| ("nic".into(), vma(of))).into_iter().collect();
            })
        };
        assert_eq!(of(Some(Pgprot::WriteBack)), [""; 0]);
        for other in [None, Some(Pgprot::WriteCombine)] {
            let found = of(other);
            assert!(
                found[0].starts_with(
                    "stage2 of nic at look stored, guest g0: expected Device-nGnRE or Normal-NC"
                ),
                "{found:?}"
            );
        }
    }

    /// The descriptors are those of the architecture (DDI 0487, D8, "VMSAv8-64 descriptor formats"),
    /// one field wrong in each.
    #[test]
    fn each_field_is_judged() {
        let place = "at look stored, guest g0";
        let bar = |change: u64| texts(NC_BLOCK ^ change, RAM_PAGE);
        assert_eq!(bar(1 << 54), [format!("exec of nic {place}: expected never-exec, found exec")]);
        assert_eq!(bar(1 << 8), [format!("share of nic {place}: expected inner, found outer")]);
        assert_eq!(bar(1 << 10), [format!("access flag of nic {place}: expected set, found clear")]);
        assert_eq!(bar(1 << 6), [format!("access of nic {place}: expected loads, found w")]);
        assert_eq!(bar(3 << 6), [format!("access of nic {place}: expected loads, found none")]);
        let gre = bar((0b0101 ^ 0b0011) << 2);
        assert_eq!(
            gre,
            [format!("stage2 of nic {place}: expected Device-nGnRE or Normal-NC, found Device-GRE")]
        );
        let ram = |change: u64| texts(NC_BLOCK, RAM_PAGE ^ change);
        assert_eq!(ram(0b11 << 2), [format!("stage2 of ram {place}: expected Normal-WB, found Normal-NC")]);
        assert_eq!(ram(0b11 << 8), [format!("share of ram {place}: expected inner, found non")]);
    }

    #[test]
    fn what_is_read_only_from_the_start_is_not_written() {
        let place = "at look stored, guest g0";
        let of = |machine: Machine, read_only: &[&str]| findings_with(&machine, Gic::V3, read_only);
        let nic = of(Machine::with(NC_BLOCK), &["nic"]);
        assert_eq!(nic, [format!("access of nic {place}: expected r, found rw")]);
        assert_eq!(of(Machine::with(NC_BLOCK & !(1 << 7)), &["nic"]), [""; 0]);
        // The guest has 256 MiB: one page is in the lower half, one in the upper half.
        let page = |ipa, bits| (ipa, 0x7000_0000, 3, bits);
        let with = |leaf| Machine { more: vec![leaf], ..Machine::with(NC_BLOCK) };
        assert_eq!(of(with(page(0x4100_0000, RAM_PAGE)), &["ram"]), [""; 0]);
        let upper = of(with(page(0x4800_0000, RAM_PAGE)), &["ram"]);
        assert_eq!(upper, [format!("access of ram, its upper half, {place}: expected r, found rw")]);
        assert_eq!(of(with(page(0x4800_0000, RAM_PAGE & !(1 << 7))), &["ram"]), [""; 0]);
    }

    /// The page of a GICv2's interface, as its guest has it: QEMU 10.0 hw/arm/virt.c, VIRT_GIC_CPU in the
    /// guest, VIRT_GIC_VCPU in the host.
    #[test]
    fn the_interface_of_a_gicv2_is_device_memory() {
        let of = |bits: u64, gic| {
            let more = vec![(0x0801_0000, 0x0804_0000, 3, bits)];
            findings_of(&Machine { more, ..Machine::with(NC_BLOCK) }, gic)
        };
        // Bit 1: a page at level 3 has it, a block has not.
        let (device, nc) = (DEVICE_BLOCK | 0b10, NC_BLOCK | 0b10);
        assert_eq!(of(device, Gic::V2), [""; 0]);
        let place = "at look stored, guest g0";
        assert_eq!(
            of(nc, Gic::V2),
            [format!("stage2 of gicv {place}: expected Device-nGnRE, found Normal-NC")]
        );
        assert_eq!(
            of(device & !(1 << 7), Gic::V2),
            [format!("access of gicv {place}: expected rw, found r")]
        );
        // A GICv3 has none there: it is no region's.
        assert_eq!(of(nc, Gic::V3), [""; 0]);
    }
}
