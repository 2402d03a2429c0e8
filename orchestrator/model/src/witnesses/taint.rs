//! The taint of the kernels: the defects that each has noticed since it booted. This witness needs
//! no text: a console may be silent, or use words that nobody looks for.

use super::{Hearing, Scene, Witness};
use crate::cell::ResolvedCell;
use crate::finding::{Finding, Subject, Weight};
use crate::record::Record;
use crate::scenario::{FLASH, Vmm};

/// A bit of `/proc/sys/kernel/tainted` (Documentation/admin-guide/tainted-kernels.rst, Linux 7.x).
struct Bit {
    number: u32,
    letter: char,
    means: &'static str,
    /// The reason why it does not count against the kernel under test. None: it does.
    harmless: Option<&'static str>,
}

const fn bad(number: u32, letter: char, means: &'static str) -> Bit {
    Bit { number, letter, means, harmless: None }
}

const fn harmless(number: u32, letter: char, means: &'static str, why: &'static str) -> Bit {
    Bit { number, letter, means, harmless: Some(why) }
}

const MODULES: &str = "it says where a module comes from, not that anything went wrong";

const BITS: [Bit; 20] = [
    harmless(0, 'P', "proprietary module", MODULES),
    bad(1, 'F', "module was force loaded"),
    bad(2, 'S', "processor is out of specification"),
    bad(3, 'R', "module was force unloaded"),
    bad(4, 'M', "machine check"),
    bad(5, 'B', "bad page"),
    bad(6, 'U', "taint requested by user space"),
    bad(7, 'D', "oops or BUG"),
    harmless(8, 'A', "ACPI table overridden", "the machine has no ACPI of its own"),
    bad(9, 'W', "warning"),
    harmless(10, 'C', "staging driver", MODULES),
    harmless(11, 'I', "workaround for a bug of the firmware", "the firmware is QEMU's"),
    harmless(12, 'O', "module from outside of the tree", MODULES),
    harmless(13, 'E', "unsigned module", MODULES),
    bad(14, 'L', "soft lockup"),
    harmless(15, 'K', "live patch", "the person who tests it has put it there"),
    harmless(16, 'X', "defined by the distribution", "every distribution means something else by it"),
    harmless(17, 'T', "randomised structures", "it says how the kernel was built"),
    harmless(18, 'N', "in-kernel test", "it says that a test ran, not how it ended"),
    bad(19, 'J', "fwctl changed a device"),
];

/// Every taint was read, and has no bit for a defect.
pub(super) struct Taint;

impl Witness for Taint {
    fn name(&self) -> &'static str {
        "taint"
    }

    fn hear(&self, Scene { record, .. }: &Scene<'_>) -> Hearing {
        let findings = unread(record).chain(gone(record)).chain(bits(record));
        Hearing::new(findings.collect(), true, "")
    }

    fn early(&self, record: &Record) -> Vec<Finding> {
        bits(record)
    }
}

/// Returns a finding for each taint that was not read.
fn unread(record: &Record) -> impl Iterator<Item = Finding> {
    let host = |when: &str, taint: Option<Option<u64>>| {
        (Subject::cell(), format!("taint of the host, {when}"), taint.flatten())
    };
    let at_boot = record.session.host.as_ref().map(|host| host.taint);
    let has_kernel = |name: &str| {
        let guest = record.planned.resolved.guests.get(name);
        guest.is_none_or(|guest| guest.vmm != Vmm::Builtin)
    };
    let guests = record.guests.iter().filter(move |(name, _)| has_kernel(name)).map(|(name, guest)| {
        (Subject::cell().guest(name), format!("taint of guest {name}, at its start"), guest.taint)
    });
    [host("at its start", at_boot), host("in its final record", record.session.final_taint)]
        .into_iter()
        .chain(guests)
        .filter(|(_, _, taint)| taint.is_none())
        .map(|(subject, what, _)| Finding::new(Weight::Lab, subject, what, "a number", "nothing"))
}

/// Returns a finding for a bit that disappeared. A set bit stays until the next boot
/// (kernel/panic.c, add_taint), so one of the readings is wrong.
fn gone(record: &Record) -> Option<Finding> {
    let (at_boot, at_end) = (record.session.host.as_ref()?.taint?, record.session.final_taint??);
    let found = format!("{at_end:#x}");
    let what = "taint of the host, in its final record";
    let expected = format!("all bits of {at_boot:#x}, as at its start");
    (at_boot & !at_end != 0).then(|| Finding::new(Weight::Lab, Subject::cell(), what, expected, found))
}

/// Returns a finding for each kernel whose taint has a bit for a defect.
fn bits(record: &Record) -> Vec<Finding> {
    let at_boot = record.session.host.as_ref().and_then(|host| host.taint).unwrap_or_default();
    let at_end = record.session.final_taint.flatten().unwrap_or_default();
    let asked_for = asked_for(&record.planned.resolved);
    let guests = record.guests.iter().map(|(name, guest)| {
        let subject = Subject::cell().guest(name);
        (subject, format!("taint of guest {name}"), "while it booted", guest.taint.unwrap_or_default())
    });
    let host = |when, taint| (Subject::cell(), "taint of the host".to_owned(), when, taint);
    [host("while it booted", at_boot), host("since then", at_end & !at_boot & !asked_for)]
        .into_iter()
        .chain(guests)
        .filter_map(|(subject, what, when, taint)| {
            let found = against(taint);
            let found = (!found.is_empty()).then(|| format!("{}, {when}", found.join(", ")))?;
            Some(Finding::new(Weight::Kernel, subject, what, "no sign of a fault", found))
        })
        .collect()
}

/// TAINT_USER. VFIO taints the kernel by it for a device that has no IOMMU (Linux 6.1 drivers/vfio/vfio_main.c,
/// vfio_noiommu_group_alloc), which vfio-platform's has not.
const USER: u64 = 1 << 6;

/// Returns the bits that a scenario asks of its host.
fn asked_for(cell: &ResolvedCell) -> u64 {
    if cell.assigned(FLASH).is_some() { USER } else { 0 }
}

/// Returns the names of a taint's bits for a defect.
fn against(taint: u64) -> Vec<String> {
    (0..u64::BITS)
        .filter(|number| taint >> number & 1 == 1)
        .filter_map(|number| match BITS.iter().find(|bit| bit.number == number) {
            Some(Bit { harmless: Some(_), .. }) => None,
            Some(Bit { letter, means, .. }) => Some(format!("{letter} ({means})")),
            None => Some(format!("bit {number}, which is not known")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, StopCause};
    use crate::judge::fixture::Story;
    use crate::lines::Testimony;
    use crate::scenario::AssignDriver;
    use crate::verdict::Verdict;

    const WARN: u64 = 1 << 9;
    const UNSIGNED: u64 = 1 << 13;

    fn story(at_boot: Option<u64>, at_end: Option<u64>, in_guest: Option<u64>) -> Story {
        Story::after().edit(|event| match event {
            Event::HostUp { taint, .. } => *taint = at_boot,
            Event::CellRecord { taint, .. } => *taint = at_end,
            Event::GuestUp { taint, .. } => *taint = in_guest,
            _ => {}
        })
    }

    fn judged(story: &Story) -> (Option<Verdict>, Vec<String>) {
        let judgement = story.attempt().judgement;
        let said = judgement.findings.iter().map(|f| format!("{}: {}", f.what, f.found)).collect();
        (judgement.verdict, said)
    }

    #[test]
    fn a_fault_fails_whenever_it_was_and_is_named() {
        for (story, said) in [
            (story(Some(WARN), Some(WARN), Some(0)), "taint of the host: W (warning), while it booted"),
            (story(Some(0), Some(WARN | UNSIGNED), Some(0)), "taint of the host: W (warning), since then"),
            (
                story(Some(0), Some(1 << 40), Some(0)),
                "taint of the host: bit 40, which is not known, since then",
            ),
            (story(Some(0), Some(0), Some(1 << 7)), "taint of guest g0: D (oops or BUG), while it booted"),
        ] {
            assert_eq!(judged(&story), (Some(Verdict::Fail), vec![said.to_owned()]));
        }
    }

    #[test]
    fn a_module_says_nothing_against_the_kernel() {
        let attempt = story(Some(UNSIGNED), Some(UNSIGNED | 1 << 12), Some(UNSIGNED)).attempt();
        assert!(attempt.judgement.verdict.as_ref().is_some_and(Verdict::passed));
        assert!(attempt.judgement.witnesses.contains(&("taint", Testimony::Agrees)));
    }

    #[test]
    fn what_was_not_read_is_no_pass() {
        for (story, said) in [
            (story(None, Some(0), Some(0)), "taint of the host, at its start: nothing"),
            (story(Some(0), None, Some(0)), "taint of the host, in its final record: nothing"),
            (story(Some(0), Some(0), None), "taint of guest g0, at its start: nothing"),
        ] {
            assert_eq!(judged(&story), (Some(Verdict::Miss), vec![said.to_owned()]));
        }
        let unsaid = Story::after().without(|event| matches!(event, Event::CellRecord { .. }));
        assert_eq!(judged(&unsaid).0, Some(Verdict::Miss));
    }

    #[test]
    fn a_bit_does_not_go() {
        let said = "taint of the host, in its final record: 0x0";
        assert_eq!(
            judged(&story(Some(UNSIGNED), Some(0), Some(0))),
            (Some(Verdict::Miss), vec![said.to_owned()])
        );
    }

    #[test]
    fn a_cell_that_stopped_for_another_reason_fails_by_its_taint() {
        let story = story(Some(WARN), None, None).stopped(StopCause::Timeout);
        assert_eq!(judged(&story).0, Some(Verdict::Fail));
    }

    #[test]
    fn a_device_without_an_iommu_taints_the_kernel_and_nothing_else_may() {
        let said = "taint of the host: U (taint requested by user space), since then";
        let mut story = story(Some(0), Some(USER), Some(0));
        assert_eq!(judged(&story), (Some(Verdict::Fail), vec![said.to_owned()]));
        let guest = story.cell.resolved.guests.get_mut("g0").unwrap();
        guest.assign.insert(FLASH.into(), AssignDriver::VfioPlatform);
        assert!(!judged(&story).1.contains(&said.to_owned()));
    }

    #[test]
    fn bits_stand_in_their_order() {
        assert!(BITS.iter().zip(0..).all(|(bit, number)| bit.number == number));
    }
}
