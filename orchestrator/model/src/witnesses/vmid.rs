//! The VMIDs of the guests, by which the TLB distinguishes their translations.

use super::{Hearing, Scene, Witness};
use crate::finding::{Finding, Subject, Weight};
use crate::record::{At, Record, registers};
use crate::scenario::Promise;
use crate::steps::Look;
use s2lab_mmu::Stage2;
use std::collections::BTreeMap;

/// The most VMs for one guest: its own, and those with which QEMU asks for KVM's features (QEMU
/// 10.0 target/arm/kvm.c, kvm_arm_create_scratch_host_vcpu).
const VMS_OF_A_GUEST: usize = 16;

/// At all looks, VTTBR_EL2 of a guest has one VMID. It is not 0, and no guest beside it has it. All
/// vCPUs of the guest have the same one, and the same tables.
///
/// 0 is the host's. KVM assigns the others in ascending order as VMs run, and a VM keeps its own
/// until all 255, or 65535 with VTCR_EL2.VS, were assigned. Then a new generation begins, in which
/// it may get another one (Linux 6.1 to 7.2 arch/arm64/kvm/vmid.c, kvm_arm_vmid_update and
/// new_vmid). The generation is in no register, so such a rollover cannot be seen. But it is
/// possible only in a host that had as many VMs as there are VMIDs; in any other a change is an
/// error.
///
/// The same holds with VHE and without. A VM under pKVM has the number of its place in a table of
/// the hypervisor, from 1, as long as it is alive (arch/arm64/kvm/hyp/nvhe/pkvm.c,
/// insert_vm_table_entry).
///
/// Without the fix of Linux commit fa808ed4e199, KVM with VHE can enter a guest with VMID 0.
pub(super) struct Vmid;

impl Witness for Vmid {
    fn name(&self) -> &'static str {
        "vmid"
    }

    fn hear(&self, Scene { record, .. }: &Scene<'_>) -> Hearing {
        Hearing::new(self.early(record), !record.observations.none::<Look>(), "no look")
    }

    fn early(&self, record: &Record) -> Vec<Finding> {
        let vttbrs: Vec<_> = record.all::<Look>().filter_map(Vttbr::of).collect();
        let zero = vttbrs.iter().filter(|vttbr| vttbr.vmid() == 0);
        let zero = zero.map(|vttbr| vttbr.finding("one that is not 0", "0, which is the host's"));
        let rules = changed(record, &vttbrs).into_iter().chain(shared(&vttbrs));
        let rules = rules.chain(vttbrs.iter().flat_map(Vttbr::vcpus));
        zero.chain(rules).map(|finding| finding.breaking(Promise::ISOLATION)).collect()
    }
}

/// VTTBR_EL2 at one look.
struct Vttbr<'a> {
    look: At<'a, Look>,
    stage2: Stage2,
}

impl<'a> Vttbr<'a> {
    /// Returns None for registers that lead to no tables. Such a look is a finding anyway.
    fn of(look: At<'a, Look>) -> Option<Self> {
        Some(Vttbr { look, stage2: registers::stage2(&look.registers).ok()? })
    }

    fn vmid(&self) -> u16 {
        self.stage2.vmid()
    }

    /// Returns a finding for each vCPU of the guest that has another VMID, or other tables.
    fn vcpus(&self) -> Vec<Finding> {
        let unlike = |(vcpu, vttbr): (&String, &u64)| {
            let mut registers = self.look.registers.clone();
            registers.insert("VTTBR_EL2".into(), *vttbr);
            let own = registers::stage2(&registers).ok().map(|own| (own.vmid(), own.base()));
            let due = (self.vmid(), self.stage2.base());
            let found = format!("on vCPU {vcpu} VTTBR_EL2 {vttbr:#x}");
            let expected = format!("VMID {:#x} and tables at {:#x} on all vCPUs", due.0, due.1);
            (own != Some(due)).then(|| self.finding(&expected, found))
        };
        self.look.vcpus.iter().filter_map(unlike).collect()
    }

    /// Makes a finding. It does not depend on the walk of the tables.
    fn finding(&self, expected: &str, found: impl Into<String>) -> Finding {
        let subject = Subject::step(self.look.step).named(&self.look.name).guest(&self.look.guest);
        let what = format!("VMID at {subject}");
        Finding::new(Weight::Kernel, subject, what, expected, found)
    }
}

/// Returns true if the host may have had as many VMs as there are VMIDs of this width.
fn may_roll_over(record: &Record, bits: u32) -> bool {
    let vms = record.planned.resolved.guests.len().saturating_mul(VMS_OF_A_GUEST);
    vms >= (1 << bits) - 1
}

/// Returns a finding for each look at which its guest has another VMID than before.
fn changed(record: &Record, vttbrs: &[Vttbr<'_>]) -> Vec<Finding> {
    let mut last: BTreeMap<&str, u16> = BTreeMap::new();
    let mut out = vec![];
    for vttbr in vttbrs.iter().filter(|vttbr| vttbr.vmid() != 0) {
        let vmid = vttbr.vmid();
        let before = last.insert(&vttbr.look.data.guest, vmid).unwrap_or(vmid);
        if before != vmid && !may_roll_over(record, vttbr.stage2.vmid_bits()) {
            let detail = format!("{vmid:#x}, before {before:#x}");
            out.push(vttbr.finding("that of the look before", "another").with([detail]));
        }
    }
    out
}

/// Returns a finding for each guest that has the VMID of another one at the looks of one step.
fn shared(vttbrs: &[Vttbr<'_>]) -> Vec<Finding> {
    let mut owners: BTreeMap<(usize, u16), &Vttbr<'_>> = BTreeMap::new();
    let mut out = vec![];
    for vttbr in vttbrs.iter().filter(|vttbr| vttbr.vmid() != 0) {
        let owner = owners.entry((vttbr.look.step, vttbr.vmid())).or_insert(vttbr);
        let other_tables = owner.stage2.base() != vttbr.stage2.base();
        if owner.look.guest != vttbr.look.guest && other_tables {
            let found = format!("that of {}, {:#x}, with other tables", owner.look.guest, vttbr.vmid());
            out.push(vttbr.finding("one of its own", found));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, StopCause};
    use crate::judge::fixture::{Machine, NC_BLOCK, Story};
    use crate::lines::Testimony;
    use crate::record::Run;
    use crate::steps::Observation;
    use crate::verdict::Verdict;

    /// The start tables of g0 and g1.
    const G0: u64 = 0x5000_0000;
    const G1: u64 = 0x5010_0000;
    /// VTCR_EL2 of both: PS 40 bits, SL0 level 1, T0SZ 24; and with VS.
    const VMIDS_OF_8_BITS: u64 = 0x8002_0058;
    const VMIDS_OF_16_BITS: u64 = 0x800a_0058;
    const ZERO: &str =
        "VMID at look stored, guest g0: expected one that is not 0, found 0, which is the host's";
    const CHANGED: &str = "VMID at look again, guest g0: expected that of the look before, found another";

    /// Gives g0 these registers at the look `name`.
    fn with(story: Story, name: &str, vttbr: u64, vtcr: u64) -> Story {
        story.edit(|event| {
            if let Event::Observed { data: Observation::Look(look), .. } = event
                && (look.name.as_str(), look.guest.as_str()) == (name, "g0")
            {
                look.registers.insert("VTTBR_EL2".into(), vttbr);
                look.registers.insert("VTCR_EL2".into(), vtcr);
            }
        })
    }

    fn texts(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(|f| format!("{}: expected {}, found {}", f.what, f.expected, f.found)).collect()
    }

    /// Returns the findings of the witness alone.
    fn findings(story: &Story) -> Vec<String> {
        let run = Run::fold(story.lines()).unwrap();
        texts(&Vmid.early(&run.cells[0].attempts[0]))
    }

    fn testimony(story: &Story) -> Testimony {
        let witnesses = story.attempt().judgement.witnesses;
        witnesses.into_iter().find(|(name, _)| *name == "vmid").unwrap().1
    }

    #[test]
    fn zero_is_the_hosts() {
        let story = with(Story::after(), "stored", G0, VMIDS_OF_8_BITS);
        assert_eq!(findings(&story), [ZERO]);
        // Without VTCR_EL2.VS the upper half is not a part of the VMID.
        let upper_half = 0x0100 << 48;
        assert_eq!(findings(&with(Story::after(), "stored", upper_half | G0, VMIDS_OF_8_BITS)), [ZERO]);
        assert!(
            !findings(&with(Story::after(), "stored", upper_half | G0, VMIDS_OF_16_BITS))
                .contains(&ZERO.into())
        );
        let judgement = story.attempt().judgement;
        assert_eq!(judgement.verdict, Some(Verdict::Fail));
        assert_eq!(texts(&judgement.findings), [ZERO]);
        assert_eq!(judgement.findings[0].promise, Some(Promise::ISOLATION));
        assert_eq!(testimony(&story), Testimony::Contradicts);
    }

    #[test]
    fn a_cell_that_stops_early_fails_for_it() {
        let stopped = with(Story::after(), "stored", G0, VMIDS_OF_8_BITS).stopped(StopCause::Timeout);
        let judgement = stopped.attempt().judgement;
        assert_eq!(judgement.verdict, Some(Verdict::Fail));
        assert_eq!(texts(&judgement.findings)[0], ZERO);
    }

    #[test]
    fn a_guest_keeps_its_vmid() {
        assert_eq!(findings(&Story::after()), [""; 0]);
        assert_eq!(testimony(&Story::after()), Testimony::Agrees);
        let story = with(Story::after(), "again", 4 << 48 | G0, VMIDS_OF_8_BITS);
        assert_eq!(findings(&story), [CHANGED]);
        assert_eq!(story.attempt().judgement.verdict, Some(Verdict::Fail));
        assert_eq!(story.attempt().judgement.findings[0].detail, ["0x4, before 0x3"]);
    }

    #[test]
    fn all_vcpus_of_a_guest_have_its_vmid_and_tables() {
        let with = |vttbr: u64, vtcr| {
            let story = with(Story::after(), "stored", 3 << 48 | G0, vtcr).edit(|event| {
                if let Event::Observed { data: Observation::Look(look), .. } = event
                    && look.name == "stored"
                {
                    look.vcpus = [("0".to_owned(), 3 << 48 | G0), ("1".to_owned(), vttbr)].into();
                }
            });
            findings(&story)
        };
        let unlike = |vttbr: u64| {
            let expected = "VMID 0x3 and tables at 0x50000000 on all vCPUs";
            vec![format!(
                "VMID at look stored, guest g0: expected {expected}, found on vCPU 1 VTTBR_EL2 {vttbr:#x}"
            )]
        };
        // CnP is not a part of the address.
        for same in [3 << 48 | G0, 3 << 48 | G0 | 1] {
            assert_eq!(with(same, VMIDS_OF_8_BITS), [""; 0]);
        }
        for other in [G0, 4 << 48 | G0, 3 << 48 | G1] {
            assert_eq!(with(other, VMIDS_OF_8_BITS), unlike(other));
        }
        // Without VTCR_EL2.VS the upper half is not a part of the VMID.
        let upper_half = 0x103 << 48 | G0;
        assert_eq!(with(upper_half, VMIDS_OF_8_BITS), [""; 0]);
        assert_eq!(with(upper_half, VMIDS_OF_16_BITS), unlike(upper_half));
    }

    #[test]
    fn vmids_roll_over_when_all_may_have_been_assigned() {
        let guests = |number: usize, vtcr| {
            let mut story = with(Story::after(), "stored", 3 << 48 | G0, vtcr);
            story = with(story, "again", 4 << 48 | G0, vtcr);
            let guest = story.cell.resolved.guests["g0"].clone();
            let more = (1..number).map(|n| (format!("g{n}"), guest.clone()));
            story.cell.resolved.guests.extend(more);
            findings(&story)
        };
        assert_eq!(guests(15, VMIDS_OF_8_BITS), [CHANGED]);
        assert_eq!(guests(16, VMIDS_OF_8_BITS), [""; 0]);
        assert_eq!(guests(16, VMIDS_OF_16_BITS), [CHANGED]);
    }

    #[test]
    fn two_guests_have_two_vmids() {
        let beside = |vttbr: u64, vtcr: u64| {
            let first = Machine::with(NC_BLOCK);
            let registers = vec![("VTTBR_EL2", vttbr), ("VTCR_EL2", vtcr)];
            let second = Machine { guest: 1, blocks: 0, mapped: false, registers, ..first.clone() };
            Story::after().beside(&first, &second)
        };
        let shared = |look: &str| {
            format!(
                "VMID at look {look}, guest g1: expected one of its own, found that of g0, 0x3, with other tables"
            )
        };
        let both = [shared("stored"), shared("again")];
        assert_eq!(findings(&beside(4 << 48 | G1, VMIDS_OF_8_BITS)), [""; 0]);
        let same = beside(3 << 48 | G1, VMIDS_OF_8_BITS);
        assert_eq!(findings(&same), both);
        assert_eq!(same.attempt().judgement.verdict, Some(Verdict::Fail));
        // The upper half is a part of the VMID with VTCR_EL2.VS only.
        assert_eq!(findings(&beside(0x103 << 48 | G1, VMIDS_OF_8_BITS)), both);
        assert_eq!(findings(&beside(0x103 << 48 | G1, VMIDS_OF_16_BITS)), [""; 0]);
        // Guests that swap their VMIDs have two at each look, but each has another one than before.
        let swapped = beside(4 << 48 | G1, VMIDS_OF_8_BITS).edit(|event| {
            if let Event::Observed { data: Observation::Look(look), .. } = event
                && look.name == "again"
            {
                let vttbr = if look.guest == "g0" { 4 << 48 | G0 } else { 3 << 48 | G1 };
                look.registers.insert("VTTBR_EL2".into(), vttbr);
            }
        });
        assert_eq!(findings(&swapped), [CHANGED.to_owned(), CHANGED.replace("g0", "g1")]);
    }
}
