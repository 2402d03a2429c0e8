//! Changes to the tables of a live guest, through the memory of its host.

use crate::harness::{Place, scenario};
use rustix::process::{Pid, Signal, kill_process};
use s2lab_mmu::{PhysMem, Stage2};
use s2lab_model::{
    record::{Run, look::decode},
    steps::Look,
};
use std::{
    cell::Cell,
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
    process::Child,
    time::{Duration, Instant},
};

/// The first byte of RAM of QEMU's `virt` (hw/arm/virt.c, VIRT_MEM).
const RAM_START: u64 = 0x4000_0000;
/// The longest time until a cell comes to its first look: others may hold the slot, and the cache
/// may have to be filled.
const REACHED: Duration = Duration::from_secs(30 * 60);

/// The begin of a finding about a leaf of the BAR, and the change of its descriptor (DDI 0487, D8,
/// "VMSAv8-64 descriptor formats").
type Change = (&'static str, fn(u64) -> u64);

const CHANGES: [Change; 7] = [
    // MemAttr: Device-nGnRE in place of Normal-NC.
    ("stage2 of nic", |word| word & !(0b1111 << 2) | 0b0001 << 2),
    // S2AP[1]: read-only.
    ("access of nic", |word| word & !(1 << 7)),
    // XN[1].
    ("exec of nic", |word| word & !(1 << 54)),
    // AF.
    ("access flag of nic", |word| word & !(1 << 10)),
    // SH: not shareable.
    ("share of nic", |word| word & !(0b11 << 8)),
    // The address: RAM of the host.
    ("isolation", |word| word & !0x0000_ffff_ffe0_0000 | 0x4040_0000),
    // No leaf, behind the one that leads elsewhere.
    ("the store to nic", |_| 0),
];
/// The bytes of the BAR that the last two changes leave without a leaf.
const HOLE: &str = "0x400000 bytes without a leaf, the first at +0xc00000";

/// The tables of a guest in the RAM of its host, which can be changed.
struct Patient {
    ram: File,
    tables: Stage2,
    /// The address of the descriptor that was read last.
    last: Cell<u64>,
}

impl PhysMem for Patient {
    fn read_u64(&self, pa: u64) -> Option<u64> {
        self.last.set(pa);
        let mut word = [0; 8];
        self.ram.read_exact_at(&mut word, pa.checked_sub(RAM_START)?).ok()?;
        Some(u64::from_le_bytes(word))
    }
}

impl Patient {
    /// Opens the memory of the host that `s2lab` runs, and takes the tables that a look has found.
    fn of(s2lab: &Child, look: &Look) -> Self {
        let mut files = fs::read_dir(format!("/proc/{}/fd", s2lab.id())).unwrap();
        let is_ram =
            |path: &Path| fs::read_link(path).is_ok_and(|to| to.as_os_str() == "/memfd:ram (deleted)");
        let ram = files.find_map(|file| Some(file.unwrap().path()).filter(|path| is_ram(path)));
        let ram = File::options().read(true).write(true).open(ram.unwrap()).unwrap();
        let register = |name: &str| look.registers[name];
        let tables = Stage2::new(register("VTTBR_EL2"), register("VTCR_EL2"), register("HCR_EL2")).unwrap();
        Self { ram, tables, last: Cell::new(0) }
    }

    /// Changes the leaf that maps `ipa`.
    fn operate(&self, ipa: u64, change: fn(u64) -> u64) {
        let leaf = self.tables.translate(self, ipa).unwrap();
        let place = self.last.get() - RAM_START;
        self.ram.write_all_at(&change(leaf.descriptor).to_le_bytes(), place).unwrap();
    }
}

/// Returns the run so far, and its looks.
fn looks(folder: &Path) -> Option<(Run, Vec<Look>)> {
    let log = fs::read_to_string(folder.join("events.jsonl")).ok()?;
    // The last line may be half written.
    let whole = log.get(..=log.rfind('\n')?)?;
    let run = Run::read(whole).ok()?;
    let looks = run.cells.first()?.attempts.first()?.all::<Look>().map(|look| look.data.clone()).collect();
    Some((run, looks))
}

/// A host of its own, because its tables are changed. Each change is to another leaf of the BAR,
/// and both looks after it must notice each.
#[test]
fn every_look_notices_a_leaf_that_was_changed_from_outside() {
    let place = Place::new();
    let s2lab = place.start(["run", &scenario("surgery"), "--kernel", "debian-6.12"]);
    let (folder, begin) = (place.path().join("s2lab/runs/latest"), Instant::now());
    let (run, first) = loop {
        match looks(&folder) {
            Some((run, looks)) if !looks.is_empty() => break (run, looks),
            _ => assert!(begin.elapsed() < REACHED, "there is no look"),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    // Until it continues, s2lab asks for no other step.
    let pid = Pid::from_child(&s2lab);
    kill_process(pid, Signal::STOP).unwrap();
    let raw = folder.join("raw");
    let pages = |name: &str| fs::read(raw.join(name)).ok();
    let seen = decode(&run.cells[0].attempts[0], &pages).remove(0).seen.unwrap();
    let bar: Vec<u64> = seen.devices["nic"].iter().map(|leaf| leaf.ipa).collect();
    let patient = Patient::of(&s2lab, &first[0]);
    // The first leaf stays as it is: the guest stores through it meanwhile.
    for (ipa, (_, change)) in bar[1..].iter().zip(CHANGES) {
        patient.operate(*ipa, change);
    }
    let so_far = looks(&folder).unwrap().1.len();
    kill_process(pid, Signal::CONT).unwrap();
    let done = place.finish(s2lab);
    assert_eq!((first.len(), so_far), (1, 1), "the surgery came too late");
    assert_eq!(bar.len(), 1 + CHANGES.len());
    assert_eq!(done.code, Some(1), "{}{}", done.stdout, done.stderr);
    let (key, report) = place.reports().remove(0);
    assert!(report.lines().next().unwrap().contains("FAIL"), "{key}\n{report}");
    for look in ["after", "again"] {
        for (finding, _) in CHANGES {
            let what = format!("{finding} at look {look}, guest g0");
            assert!(report.lines().any(|line| line.trim().starts_with(&what)), "{what}\n{report}");
        }
    }
    assert!(report.contains(HOLE), "{report}");
    assert!(!report.contains("at look before"), "{report}");
}
