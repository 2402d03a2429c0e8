//! Benchmark of what s2lab adds to a cell. The same QEMU, kernel, initramfs and requests run in turns
//! with s2lab and from the script `cell/plain.py`, without it. A cell may take 1.05 times as long as
//! the script. s2lab's own memory (RssAnon of `/proc/PID/status`, by samples) may be 48 MiB.
//!
//! `cargo bench --bench cell`: some four minutes. It needs python3, and a machine that does nothing
//! else. It fails only if a cell or the script fails: people read the figures.

#![expect(clippy::unwrap_used, reason = "a benchmark ends at the first thing that is wrong")]

use s2lab_protocol::{
    AssignKind, By, Manner, MapKind, ProbeKind, RamKind, VmmKind,
    ask::{Ask, AssignedDevice, Bind, EndCell, Finish, Probe, Request, Reset, StartGuest, StopGuest, Store},
};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// The cell whose requests the script has.
const KEY: &str = "vfio-pci-bar@debian-6.12+fwb=yes";
const TURNS: usize = 9;
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/cell/plain.py");
const LAB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const GUEST: &str = "g0";
const NIC: &str = "nic";
/// The root port above the device, and the device behind it.
const PORT: &str = "0000:00:08.0";
const HOST_ADDRESS: &str = "0000:01:00.0";
const GUEST_SLOT: u8 = 0x10;
/// The time between two samples.
const SAMPLE: Duration = Duration::from_millis(20);

/// The figures of one run of s2lab.
struct Run {
    /// The wall time of the process in seconds.
    whole: f64,
    /// The time of its cell in seconds.
    cell: f64,
    /// The most anonymous memory in KiB.
    memory: u64,
    /// The longest pause of a look in microseconds.
    pause: u64,
}

fn main() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let captured = folder.path().join("captured");
    fs::create_dir(&captured).unwrap();
    let (mut runs, mut plain) = (vec![], vec![]);
    run(folder.path(), "first", |s2lab| capture(s2lab, &captured));
    for turn in 0..TURNS {
        let cell = || run(folder.path(), &turn.to_string(), |_| true);
        // The order ABBA: a machine that becomes slower does so for both.
        let (cell, script) = if turn % 2 == 0 {
            let cell = cell();
            (cell, script(&captured))
        } else {
            let script = script(&captured);
            (cell(), script)
        };
        println!("turn {}: cell {:.2} s, script {script:.2} s", turn + 1, cell.cell);
        runs.push(cell);
        plain.push(script);
    }
    let times = |seconds: fn(&Run) -> f64| {
        median(runs.iter().zip(&plain).map(|(run, script)| seconds(run) / script).collect())
    };
    let cell = median(runs.iter().map(|run| run.cell).collect());
    println!("{KEY}, medians of {TURNS}: script {:.2} s, cell {cell:.2} s", median(plain.clone()));
    println!(
        "a cell takes {:.3} times as long as the script of its turn, at most 1.05",
        times(|run| run.cell)
    );
    println!("with the start of s2lab and what it does for a run {:.3} times", times(|run| run.whole));
    println!("memory {} KiB, at most {}", runs.iter().map(|run| run.memory).max().unwrap(), 48 << 10);
    println!("longest pause of a look {} us, at most 10000", runs.iter().map(|run| run.pause).max().unwrap());
}

/// Runs the cell. `seen` is called until it returns true.
fn run(folder: &Path, name: &str, mut seen: impl FnMut(u32) -> bool) -> Run {
    let out = folder.join(name);
    let began = Instant::now();
    let mut s2lab = Command::new(env!("CARGO_BIN_EXE_s2lab"));
    s2lab.args(["run", KEY, "--offline", "--quiet", "--format", "json", "--lab", LAB, "--out"]).arg(&out);
    let mut s2lab = s2lab.stdout(fs::File::create(folder.join("json")).unwrap()).spawn().unwrap();
    let (mut memory, mut is_seen) = (0, false);
    let status = loop {
        if let Some(status) = s2lab.try_wait().unwrap() {
            break status;
        }
        memory = memory.max(anonymous(&s2lab).unwrap_or(0));
        is_seen = is_seen || seen(s2lab.id());
        sleep(SAMPLE);
    };
    let whole = began.elapsed().as_secs_f64();
    assert!(status.success(), "the cell did not pass");
    assert!(is_seen, "there was no QEMU");
    let json: Value = serde_json::from_slice(&fs::read(folder.join("json")).unwrap()).unwrap();
    let cell = json["cells"][0]["elapsed_ms"].as_f64().unwrap() / 1000.0;
    Run { whole, cell, memory, pause: pause(&out) }
}

/// Returns the memory of a process that no file backs, in KiB.
fn anonymous(process: &Child) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).ok()?;
    status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB")?.parse().ok())
}

fn pause(run: &Path) -> u64 {
    let log = fs::read_to_string(run.join("events.jsonl")).unwrap();
    let pauses = log.split("\"pause_us\":").skip(1);
    let digits = |text: &str| text.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok();
    pauses.filter_map(digits).max().unwrap()
}

/// Keeps the command line and the initramfs of the QEMU that s2lab has started, once there is one, and the
/// requests of its cell.
fn capture(s2lab: u32, captured: &Path) -> bool {
    let Some((process, argv)) = qemu(s2lab) else { return false };
    let arguments: Vec<&[u8]> = argv.split(|byte| *byte == 0).collect();
    let place = arguments.iter().position(|argument| *argument == b"-initrd").unwrap();
    let descriptor = String::from_utf8(arguments[place + 1].to_vec()).unwrap();
    let descriptor = descriptor.strip_prefix("/proc/self").unwrap();
    fs::copy(format!("{}{descriptor}", process.display()), captured.join("initramfs")).unwrap();
    fs::write(captured.join("requests"), requests(nonce(&argv)).to_string()).unwrap();
    fs::write(captured.join("argv"), argv).unwrap();
    true
}

/// Returns the nonce of the cell, from the command line of its host's kernel.
fn nonce(argv: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(argv);
    let (_, rest) = text.split_once("s2lab.nonce=").unwrap();
    u64::from_str_radix(rest.split([' ', '\0']).next().unwrap(), 16).unwrap()
}

/// Returns the requests of the cell, but for those of its looks and witnesses, each with its receiver.
fn requests(nonce: u64) -> Value {
    let host = |request: Request| json!({"to": "host", "request": request});
    let guest = |request: Request| json!({"to": {"guest": GUEST}, "request": request});
    let start = StartGuest {
        name: GUEST.into(),
        vmm: VmmKind::Qemu,
        nonce,
        memory_mib: 256,
        cpus: 1,
        ram: vec![RamKind::Anonymous],
        ram_vma: None,
        upper_read_only: false,
        mte: false,
        hypervisor: None,
        devices: vec![AssignedDevice {
            device: NIC.into(),
            kind: AssignKind::VfioPci,
            host_address: HOST_ADDRESS.into(),
            guest_slot: GUEST_SLOT,
            hotplug: false,
            read_only: false,
            vma: None,
        }],
        joined: None,
    };
    json!([
        host(wire(Bind { device: NIC.into(), port: PORT.into(), kind: AssignKind::VfioPci })),
        host(wire(start)),
        guest(wire(store(8))),
        guest(wire(store(16))),
        guest(wire(store(64))),
        host(wire(Reset { guest: GUEST.into(), device: NIC.into() })),
        guest(wire(store(8))),
        guest(wire(Probe { address: guest_address(), map: MapKind::Wc, kind: ProbeKind::Store, offset: 64 })),
        host(wire(StopGuest { guest: GUEST.into() })),
        host(wire(EndCell { nonce, follows: false })),
        host(wire(Finish {})),
    ])
}

fn wire(ask: impl Ask) -> Request {
    ask.request().into()
}

fn guest_address() -> String {
    format!("0000:00:{GUEST_SLOT:02x}.0")
}

fn store(width: u32) -> Store {
    Store {
        device: NIC.into(),
        address: guest_address(),
        map: MapKind::Wc,
        width,
        by: By::usual(width),
        manner: Manner::default(),
        bytes: 1 << 20,
        seed: width.into(),
    }
}

/// Returns the QEMU of a host that is a descendant of the process, with its command line.
fn qemu(ancestor: u32) -> Option<(PathBuf, Vec<u8>)> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes.map(|entry| entry.path()).find_map(|process| {
        let argv = fs::read(process.join("cmdline")).ok()?;
        let is_host = argv.windows(9).any(|part| part == b"\0-initrd\0".as_slice());
        (is_host && descends(&process, ancestor)).then_some((process, argv))
    })
}

fn descends(process: &Path, ancestor: u32) -> bool {
    let status = fs::read_to_string(process.join("status")).unwrap_or_default();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse::<u32>().ok());
    match parent {
        None | Some(0) => false,
        Some(parent) if parent == ancestor => true,
        Some(parent) => descends(&Path::new("/proc").join(parent.to_string()), ancestor),
    }
}

/// Runs the script, and returns its seconds.
fn script(captured: &Path) -> f64 {
    let began = Instant::now();
    let mut script = Command::new("python3");
    script.arg(SCRIPT).arg(captured).arg(s2lab_protocol::VERSION.to_string()).stdin(Stdio::null());
    let status = script.status().unwrap();
    assert!(status.success(), "the script failed");
    began.elapsed().as_secs_f64()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
