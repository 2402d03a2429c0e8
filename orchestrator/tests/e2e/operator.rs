//! The operator at a real host: gdb from its first instruction on, and a host that is kept.

use crate::harness::{Place, left_over, scenario};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// The time for a run to print something: others may hold the slot, and the cache may have to be
/// filled.
const REACHED: Duration = Duration::from_secs(30 * 60);
/// The number of pc in QEMU's gdbstub (QEMU 10.0 gdb-xml/aarch64-core.xml).
const PC: &str = "p20";
/// The address of QEMU's own first instructions and of the kernel (QEMU 10.0 hw/arm/boot.c).
const FIRST: u64 = 0x4000_0000;
const KERNEL: u64 = 0x4020_0000;

/// Waits until stderr has `what`, and returns all of it.
fn shown(place: &Place, what: &str) -> String {
    let begin = Instant::now();
    loop {
        let shown = fs::read_to_string(place.path().join("stderr")).unwrap_or_default();
        if shown.contains(what) {
            return shown;
        }
        assert!(begin.elapsed() < REACHED, "nothing says `{what}`: {shown}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a packet of gdb's, and returns the answer.
fn ask(gdb: &mut UnixStream, packet: &str) -> String {
    let sum = packet.bytes().fold(0u8, u8::wrapping_add);
    write!(gdb, "${packet}#{sum:02x}").unwrap();
    let mut byte = || {
        let mut byte = [0];
        gdb.read_exact(&mut byte).unwrap();
        byte[0]
    };
    while byte() != b'$' {}
    let answer = std::iter::repeat_with(&mut byte).take_while(|byte| *byte != b'#').collect();
    let _checksum = [byte(), byte()];
    gdb.write_all(b"+").unwrap();
    String::from_utf8(answer).unwrap()
}

fn little_endian(value: u64) -> String {
    value.to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A host of its own, because gdb stops it.
#[test]
fn gdb_attaches_before_the_first_instruction_and_looks_go_on() {
    let place = Place::new();
    let run = place.start(["run", "ram-stays-cacheable@debian-6.12", "--gdb"]);
    let shown = shown(&place, "target remote ");
    let socket = shown.split_once("target remote ").unwrap().1.split('\'').next().unwrap();
    let socket = PathBuf::from(socket);
    let mut gdb = UnixStream::connect(&socket).unwrap();
    gdb.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert!(ask(&mut gdb, "qSupported:multiprocess+;xmlRegisters=aarch64").contains("vContSupported+"));
    assert!(ask(&mut gdb, "?").starts_with("T05"));
    assert_eq!(ask(&mut gdb, PC), little_endian(FIRST));
    let place_of = |kind: &str| format!("{kind},{KERNEL:x},4");
    assert_eq!(ask(&mut gdb, &place_of("Z0")), "OK");
    assert!(ask(&mut gdb, "vCont;c").starts_with("T05"), "the breakpoint");
    assert_eq!(ask(&mut gdb, PC), little_endian(KERNEL));
    assert_eq!(ask(&mut gdb, &place_of("z0")), "OK");
    // From now on gdb waits for a stop, and s2lab still takes its looks.
    gdb.write_all(b"$vCont;c#a8").unwrap();
    let done = place.finish(run);
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.starts_with("PASS ") && done.stdout.contains("same as accepted"), "{}", done.stdout);
    // gdb got an acknowledgement, and no stop of s2lab's own.
    let mut rest = vec![];
    gdb.read_to_end(&mut rest).unwrap();
    assert_eq!(String::from_utf8_lossy(&rest), "+");
    assert!(!socket.exists());
    assert_eq!(left_over(&place), Vec::<String>::new());
}

/// A host of its own, because it panics. Without `--keep-on-failure` the panic would end the machine.
/// Here it stays as it is until somebody ends the run.
#[test]
fn a_host_that_has_panicked_is_kept_until_a_signal() {
    let place = Place::new();
    let arguments = ["run", &scenario("panics-at-boot"), "--kernel", "debian-6.12", "--keep-on-failure"];
    let run = place.start(arguments);
    let shown = shown(&place, "it stays until Ctrl-C");
    assert!(
        shown.contains("its host keeps running, console of host: ") && shown.contains("Kernel panic"),
        "{shown}"
    );
    let host = left_over(&place);
    assert!(host.iter().any(|line| line.contains("qemu-system-aarch64")), "{host:?}");
    kill_process(Pid::from_child(&run), Signal::INT).unwrap();
    let done = place.finish(run);
    assert_eq!(done.code, Some(130), "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.starts_with("FAIL "), "{}", done.stdout);
    assert_eq!(left_over(&place), Vec::<String>::new());
    assert!(crash(&place.run()).starts_with("host: panic in "));
}

fn crash(run: &Path) -> String {
    let cell = fs::read_dir(run.join("cells")).unwrap().next().unwrap().unwrap().path();
    fs::read_to_string(cell.join("crash.txt")).unwrap()
}
