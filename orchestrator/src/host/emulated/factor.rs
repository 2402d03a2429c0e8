//! The slowness of this machine. Deadlines are meant for the reference machine. Elsewhere they are
//! longer by a factor, which a small program measures: QEMU starts, translates it, runs it and
//! ends. The factor is kept in the cache.

use super::{kept, process::Launcher};
use crate::host::deadlines::Factor;
use rustix::fd::AsRawFd;
use s2lab_cache::Qemu;
use s2lab_os::{
    machine::{Machine, MachineError},
    sealed::sealed,
    waits::timeout,
};
use serde::{Deserialize, Serialize};
use std::{
    io,
    io::Write,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// The time of the program on the reference machine, in milliseconds: the two x86-64 cores on which
/// the deadlines were tried, under QEMU 10.0.2. It is computed from measurements on the busy
/// machine: 0.07 s for QEMU alone, and 0.15 s of CPU time.
const REFERENCE_MS: u64 = 250;
/// The rounds of the program's loop, which take most of the time above. The rest is QEMU's start.
const ROUNDS: u32 = 40_000_000;
/// The measurements of which the lowest counts, and the lowest ever seen is kept: other programs can only
/// make one longer, and deadlines do not count the time in which a host waits for a CPU.
const MEASUREMENTS: usize = 3;
/// A time longer than the slowest machine needs: see `MOST` in `host/deadlines.rs`.
const DEADLINE: Duration = Duration::from_secs(30);
/// The cores that an emulated host keeps busy. With fewer, its vCPUs take turns, which a program on
/// one does not show.
const HOST_CORES: u64 = 2;

/// Returns the factor of a machine that needs `took` for the program and has `cores`.
fn factor(took: Duration, cores: u64) -> Factor {
    let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let turns = HOST_CORES.div_ceil(cores.max(1));
    // Rounded up, because a deadline that is too long does less harm than one that is too short.
    Factor::of_tenths(took.saturating_mul(10).saturating_mul(turns).div_ceil(REFERENCE_MS))
}

#[derive(Debug, thiserror::Error)]
pub enum FactorError {
    #[error("cannot start QEMU to measure this machine: {0}")]
    Start(#[source] io::Error),
    #[error("QEMU ended ({0}) when this machine was to be measured")]
    Ended(ExitStatus),
    #[error("a program of a quarter of a second does not end in {} s under this QEMU", DEADLINE.as_secs())]
    Silent,
    #[error("cannot learn about this machine: {0}")]
    Machine(#[from] MachineError),
}

/// The measurement of one machine and one QEMU.
#[derive(Debug, Serialize, Deserialize)]
struct Found {
    took_ms: u64,
}

/// The machine and QEMU of a factor.
#[derive(Debug, Serialize)]
struct Subject<'a> {
    rounds: u32,
    program: &'a Path,
    version: &'a str,
    packages: Vec<&'a str>,
    cpu: String,
    cores: u64,
}

/// Returns this machine's factor, from the cache or measured. With `anew` it is measured again, and can
/// only become lower.
pub async fn of_machine(
    cache: &Path,
    launcher: &Launcher,
    qemu: &Qemu,
    anew: bool,
) -> Result<Factor, FactorError> {
    let Machine { cores, cpu } = Machine::this()?;
    let cores = u64::try_from(cores).unwrap_or(u64::MAX);
    let packages = qemu.packages.iter().map(|package| package.sha256.as_str()).collect();
    let (program, version) = (qemu.program.as_path(), qemu.version.as_str());
    let path = place(cache, &Subject { rounds: ROUNDS, program, version, packages, cpu, cores });
    let known = kept::read(&path).map(|Found { took_ms }| Duration::from_millis(took_ms));
    if let Some(took) = known.filter(|_| !anew) {
        return Ok(factor(took, cores));
    }
    let mut took = known.unwrap_or(Duration::MAX);
    for _ in 0..MEASUREMENTS {
        took = took.min(measure(launcher, qemu.command()).await?);
    }
    let found = Found { took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX) };
    kept::keep(&path, "this machine's factor", &found);
    Ok(factor(took, cores))
}

fn place(cache: &Path, subject: &Subject<'_>) -> PathBuf {
    kept::place(&cache.join("factor"), subject)
}

/// Returns the time that QEMU takes for the program, from its start to its end.
async fn measure(launcher: &Launcher, mut qemu: std::process::Command) -> Result<Duration, FactorError> {
    let program =
        sealed("factor", |out| program(ROUNDS).iter().try_for_each(|w| out.write_all(&w.to_le_bytes())));
    let program = program.map_err(FactorError::Start)?;
    qemu.args("-M virt -cpu cortex-a57 -accel tcg,thread=multi -m 128M".split(' '));
    qemu.args("-display none -nodefaults -no-user-config -no-reboot -device".split(' '));
    let file = format!("file=/proc/self/fd/{}", program.as_raw_fd());
    qemu.arg(format!("loader,{file},addr={ENTRY:#x},cpu-num=0,force-raw=on"));
    qemu.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // The clock of deadlines is not used: QEMU runs while s2lab does not, and too large a factor
    // does no harm.
    let began = Instant::now();
    let mut process = launcher.launch(qemu, vec![program]).await.map_err(FactorError::Start)?;
    let status = timeout(DEADLINE, process.wait()).await;
    let took = began.elapsed();
    process.kill().await.map_err(FactorError::Start)?;
    match status.map_err(|_| FactorError::Silent)?.map_err(FactorError::Start)? {
        status if status.success() => Ok(took),
        status => Err(FactorError::Ended(status)),
    }
}

/// The address and entry of the program, in the RAM of QEMU's `virt`, which starts at 1 GiB (QEMU
/// 10.0 hw/arm/virt.c).
const ENTRY: u32 = 0x4020_0000;
/// The address of the two words of memory that it works on, above it.
const WORDS: u32 = 0x4030_0000;
/// PSCI's SYSTEM_OFF (Arm DEN 0022, 5.1.9). QEMU takes it by HVC when there is no EL2.
const SYSTEM_OFF: u32 = 0x8400_0008;

/// Returns a program that loads, adds, stores, xors and branches so many times, and switches the
/// machine off. Encodings: Arm ARM, C6.2.
fn program(rounds: u32) -> [u32; 15] {
    let movz = |register: u32, value: u32| 0xd280_0000 | (value & 0xffff) << 5 | register;
    let movk_high = |register: u32, value: u32| 0xf2a0_0000 | (value >> 16) << 5 | register;
    [
        movz(1, rounds),
        movk_high(1, rounds),
        movz(2, WORDS),
        movk_high(2, WORDS),
        // Seven instructions of the loop.
        0xf940_0043, // ldr  x3, [x2]
        0x8b01_0063, // add  x3, x3, x1
        0xf900_0043, // str  x3, [x2]
        0xf940_0444, // ldr  x4, [x2, #8]
        0xca03_0084, // eor  x4, x4, x3
        0xf900_0444, // str  x4, [x2, #8]
        0xf100_0421, // subs x1, x1, #1
        0x54ff_ff21, // b.ne 7 instructions back
        movz(0, SYSTEM_OFF),
        movk_high(0, SYSTEM_OFF),
        0xd400_0002, // hvc  #0
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn printed(ms: u64, cores: u64) -> String {
        factor(Duration::from_millis(ms), cores).to_string()
    }

    #[test]
    fn slower_is_longer_within_bounds() {
        let reference = REFERENCE_MS;
        assert_eq!([printed(reference, 2), printed(1, 2), printed(0, 64)], ["1.0"; 3]);
        assert_eq!(printed(reference * 3 / 2, 2), "1.5");
        assert_eq!(printed(reference * 3 / 2 + 1, 2), "1.6", "up");
        assert_eq!([printed(reference, 1), printed(reference, 0)], ["2.0"; 2], "two vCPUs take turns");
        assert_eq!([printed(reference * 1000, 2), printed(u64::MAX, 1)], ["20.0"; 2]);
    }

    #[test]
    fn another_machine_or_qemu_is_measured_again() {
        let subject = |cpu: &str, cores, version| {
            let (program, packages) = (Path::new("/usr/bin/qemu"), vec![]);
            place(Path::new("/c"), &Subject { rounds: 1, program, version, packages, cpu: cpu.into(), cores })
        };
        let same = subject("A", 2, "10.0.2");
        assert_eq!(same, subject("A", 2, "10.0.2"));
        for other in [subject("B", 2, "10.0.2"), subject("A", 4, "10.0.2"), subject("A", 2, "10.1.0")] {
            assert_ne!(same, other);
        }
    }

    #[tokio::test]
    async fn the_cache_is_believed_and_rubbish_in_it_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let launcher = Launcher::start().unwrap();
        // A QEMU that takes no time. `true` would give a factor of 1.0.
        let qemu = |program: &str| Qemu {
            program: program.into(),
            env: vec![],
            args: vec![],
            version: "10.0.2".into(),
            packages: vec![],
        };
        let fast = of_machine(dir.path(), &launcher, &qemu("/bin/true"), false).await.unwrap();
        let kept = std::fs::read_dir(dir.path().join("factor")).unwrap().next().unwrap().unwrap().path();
        std::fs::write(&kept, "{\"took_ms\": 1000000}").unwrap();
        let cached = of_machine(dir.path(), &launcher, &qemu("/bin/true"), false).await.unwrap();
        assert_eq!(cached.to_string(), "20.0");
        assert!(fast < cached);
        assert!(of_machine(dir.path(), &launcher, &qemu("/bin/true"), true).await.unwrap() < cached, "anew");
        std::fs::write(&kept, "{\"took_ms\": 0}").unwrap();
        of_machine(dir.path(), &launcher, &qemu("/bin/true"), true).await.unwrap();
        let lowest = std::fs::read_to_string(&kept).unwrap();
        assert_eq!(lowest, "{\"took_ms\":0}", "a slower measurement changes nothing");
        std::fs::write(&kept, "{\"took_ms\": 10000").unwrap();
        assert!(of_machine(dir.path(), &launcher, &qemu("/bin/true"), false).await.unwrap() < cached);
        let failed = of_machine(dir.path(), &launcher, &qemu("/bin/false"), false).await.unwrap_err();
        assert!(matches!(failed, FactorError::Ended(_)), "{failed}");
        let absent = of_machine(dir.path(), &launcher, &qemu("/no/qemu"), false).await.unwrap_err();
        assert!(matches!(absent, FactorError::Start(_)), "{absent}");
    }

    proptest! {
        #[test]
        fn more_time_is_never_a_shorter_deadline(a in 0..100_000u64, b in 0..100_000u64, cores in 1..8u64) {
            let of = |ms| factor(Duration::from_millis(ms), cores);
            prop_assert!(of(a.min(b)) <= of(a.max(b)));
        }
    }
}
