//! Whole runs in a process of their own, which tests may kill and watch.

use crate::{
    harness::{boot_files, left, planned, with_programs},
    kernels::{self, LATE, Late},
};
use fake_qemu::script::{Act, Moment, Script};
use rustix::process::{Pid, Signal, kill_process};
use s2lab::{
    boot::kernel::memory_module::MemoryModule,
    host::{
        Launcher,
        deadlines::{Deadline, Deadlines, Factor},
    },
    run::{
        Course, Run,
        folder::{self, RunFolder},
        judging::{Judging, RawPages},
        log::EventLog,
        operator::{Operator, When},
        programs::Programs,
        saved::SavedHosts,
        signals::{Interruption, is_ignored},
        slots::Slots,
    },
    show::tables,
};
use s2lab_cache::{Cache, CacheError, Quiet};
use s2lab_model::{
    comparison::Compare,
    event::{Attempts, Event, Plan, PlannedCell},
    judge::{JudgedRun, judge_run},
    plan::Key,
    record,
    shards::{Inputs, KernelIdentity, PlanFile, Shard, ShardNumber},
    verdict::Verdict,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    error::Error,
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

/// The variable that names the folder in which this program, started again, carries out a run.
pub(crate) const FOLDER: &str = "S2LAB_LIFECYCLE_FOLDER";
/// The script that it plays.
const SCRIPT: &str = "lab.json";
const ORDER: &str = "order.json";
/// The run's folder.
pub(crate) const RUN: &str = "run";
/// The cell whose kernel is missing.
pub(crate) const NONE: &str = "lifecycle@none";
/// The cell that always exists.
pub(crate) const CELL: &str = "lifecycle@fake";
/// The bound of everything here that needs no time.
const SOON: Duration = Duration::from_secs(10);
/// The bound of a run of several cells; alone it takes 3 s, beside other work of the machine more.
pub(crate) const RUN_ENDS: Duration = Duration::from_secs(60);
const OFTEN: Duration = Duration::from_millis(10);
/// The most memory that s2lab may use for itself, whatever a console prints.
const MOST_MEMORY_KIB: u64 = 64 * 1024;
/// The longest time after which a run is killed; a good run takes half a second.
const MOMENTS_MS: u64 = 900;
const KILLS: u64 = 24;

pub(crate) type Checked = Result<(), String>;

/// Carries out the run, in the child.
pub(crate) fn main(folder: &Path) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(carry_out(folder))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// The properties of the run, besides its script.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) attempts: Attempts,
    pub(crate) fail_fast: bool,
    /// If set, a cell comes before it, on a kernel that the cache cannot supply.
    pub(crate) none_before: bool,
    /// If set, a cell comes before all others, on a kernel that is not there at first.
    pub(crate) late: Option<Late>,
    pub(crate) person: Option<Person>,
    /// The cells, and the shard of their plan that is run. None: the one cell, and no shard.
    pub(crate) part: Option<Part>,
    /// The number of cells of one host, which share its boot if nothing prevents it. 0: see `part`.
    pub(crate) shared: usize,
    /// If set, the scenario excludes the first of them.
    pub(crate) excluded: bool,
    /// The cell that runs programs, in the guest and in the host.
    pub(crate) programs_in: Option<usize>,
    /// The deadlines of silent agents, of answers and of looks. None: those of every run.
    pub(crate) patience: Option<Duration>,
    /// If set, the run compares two kernels, of which the second may be the one that the cache cannot
    /// supply.
    pub(crate) compare: Option<Compare>,
    /// If set, cells go on with saved hosts.
    pub(crate) resume: bool,
    /// If set, the guests of the last cell have more memory than those of the others.
    pub(crate) unlike: bool,
    /// If set, the cells count accesses.
    pub(crate) counts: bool,
}

/// A part of several cells.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) cells: usize,
    /// None: all cells, by a run that knows no shards.
    pub(crate) shard: Option<ShardNumber>,
}

impl Part {
    /// Returns the cells of the part, and its shard.
    fn planned(&self, script: &Script) -> Result<(Vec<PlannedCell>, Option<Shard>), Box<dyn Error>> {
        let first = planned(script)?;
        let cell = |n: usize| -> Result<PlannedCell, Box<dyn Error>> {
            let n = n.to_string();
            let key = Key::of(first.key.scenario(), first.key.kernel(), [("n", n.as_str())])?;
            Ok(PlannedCell { key, ..first.clone() })
        };
        let cells = (0..self.cells).map(cell).collect::<Result<Vec<_>, _>>()?;
        let Some(number) = self.shard else { return Ok((cells, None)) };
        let identity = KernelIdentity { digest: String::new(), origin: None, is_built: false };
        let whole = PlanFile::new(Inputs {
            s2lab: "test",
            selection: vec![],
            guest: String::new(),
            kernels: [(first.kernel.clone(), identity)].into(),
            cells: &cells,
            durations: &Default::default(),
        });
        let cells = whole.part(number).into_iter().map(|cell| cell.cell.clone()).collect();
        Ok((cells, Some(Shard::new(number, whole))))
    }
}

impl Order {
    fn deadlines(&self) -> Deadlines {
        let all = Deadlines::default();
        let shorter = [
            Deadline::Request,
            Deadline::Store,
            Deadline::Idle,
            Deadline::Look,
            Deadline::Silence,
            Deadline::Stuck,
        ];
        match self.patience {
            Some(time) => shorter.into_iter().fold(all, |all, deadline| all.with(deadline, time)),
            None => all,
        }
    }
}

/// The answers to the question whether a cell's host is kept for a person.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Person {
    /// Panics the first time, then says no.
    Panics,
    /// Says yes.
    Stays,
}

impl Person {
    fn operator(self) -> Operator {
        let asked = AtomicBool::new(false);
        let lacks = move |_: &Key| match self {
            Person::Panics if !asked.swap(true, Ordering::Relaxed) => panic!("a defect of the test"),
            Person::Panics => None,
            Person::Stays => Some("for the test".to_owned()),
        };
        Operator::new(Some(When::NotPassed(Box::new(lacks))), false, tables::now)
    }
}

async fn carry_out(folder: &Path) -> Result<(), Box<dyn Error>> {
    // A test that fails prints the warnings of its run.
    let traced = tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_ansi(false);
    traced.with_writer(std::io::stderr).init();
    let interruption = Interruption::listen()?;
    let script: Script = serde_json::from_slice(&std::fs::read(folder.join(SCRIPT))?)?;
    let order: Order = serde_json::from_slice(&std::fs::read(folder.join(ORDER))?)?;
    let deadlines = order.deadlines();
    let Order { attempts, fail_fast, none_before, person, part, shared, .. } = order;
    let Order { excluded, programs_in, compare, late, resume, unlike, counts, .. } = order;
    let together = (shared > 0).then_some(Part { cells: shared, shard: None });
    let (mut cells, shard) = match part.or(together) {
        Some(part) => part.planned(&script)?,
        None => (vec![planned(&script)?], None),
    };
    if let Some(first) = cells.first_mut().filter(|_| excluded) {
        first.resolved.excluded = Some("too slow".into());
    }
    if none_before {
        let cell = PlannedCell { key: NONE.parse()?, kernel: "none".into(), ..planned(&script)? };
        cells.insert(0, cell);
    }
    if late.is_some() {
        let cell = PlannedCell { key: kernels::CELL.parse()?, kernel: LATE.into(), ..planned(&script)? };
        cells.insert(0, cell);
    }
    if counts {
        let devices = cells.iter_mut().flat_map(|cell| cell.resolved.host.devices.values_mut());
        devices.for_each(|device| device.count = true);
    }
    if let Some(last) = cells.last_mut().filter(|_| unlike) {
        last.resolved.guests.values_mut().for_each(|guest| guest.memory.0 *= 2);
    }
    let mut programs = Programs::new();
    if let Some(cell) = programs_in.and_then(|at| cells.get_mut(at)) {
        programs = with_programs(cell)?;
    }
    let run = RunFolder::create(folder, Some(&folder.join(RUN)), folder::now())?;
    let judging = Judging::new(RawPages::new(run.raw()));
    let judge = judging.clone();
    let (log, writer) = EventLog::begin(run.log()?, move |_, text| judge.line(text));
    log.event(Event::Plan(Plan {
        s2lab: "test".into(),
        started: "now".into(),
        lab: None,
        lab_commit: None,
        attempts,
        kernels: Default::default(),
        shuffle: None,
        night: None,
        mutants: None,
        shard: shard.map(Box::new),
        compare: compare.clone(),
        cells: cells.clone(),
    }));
    let boot = boot_files(folder, &script, None, late.map(|_| LATE), MemoryModule::None)?;
    late.into_iter().for_each(|late| drop(tokio::spawn(late.prepare(&boot, folder))));
    let run = Run {
        folder: run,
        log,
        boot,
        slots: Slots::new(folder, 1)?,
        launcher: Launcher::start()?,
        interruption,
        deadlines,
        factor: Factor::default(),
        programs,
        least_space: 0,
        operator: person.map(|person| Arc::new(person.operator())),
        seed: None,
        saved: if resume { Some(SavedHosts::new(saved_cache(folder)?)) } else { None },
    };
    let course = Course { jobs: 1, attempts, fail_fast, isolate: shared == 0, compare };
    let carried = run.carry_out(cells, course, Some(judging.clone()), |_| ()).await;
    writer.finish().await.map_err(|error| format!("cannot write the event log: {error}"))?;
    carried?;
    let judgements = judging.judgements();
    let attempts = judging.finish()?.cells.iter().map(|cell| cell.attempts.len()).sum::<usize>();
    match judgements <= attempts {
        true => Ok(()),
        false => Err(format!("{judgements} judgements of {attempts} attempts").into()),
    }
}

/// Opens the cache of the saved hosts of the run in `folder`.
pub(crate) fn saved_cache(folder: &Path) -> Result<Cache, CacheError> {
    Cache::open(&folder.join("cache"), true, Arc::new(Quiet))
}

/// Reads and judges the log of the run in `folder`.
pub(crate) fn judged(folder: &Path) -> Result<JudgedRun, String> {
    let log = std::fs::read_to_string(folder.join(RUN).join("events.jsonl")).map_err(|e| e.to_string())?;
    let run = record::Run::read(&log).map_err(|e| e.to_string())?;
    let raw = folder.join(RUN).join("raw");
    Ok(judge_run(run, &|digest: &str| std::fs::read(raw.join(digest)).ok()))
}

/// A run in a process of its own.
pub(crate) struct Lab {
    child: Child,
    pub(crate) folder: tempfile::TempDir,
}

impl Lab {
    fn start(script: &Script) -> Result<Self, Box<dyn Error>> {
        Self::ordered(tempfile::tempdir()?, script, &Order::default(), Command::new(std::env::current_exe()?))
    }

    /// Starts `command`, which in turn starts this program.
    pub(crate) fn ordered(
        folder: tempfile::TempDir,
        script: &Script,
        order: &Order,
        mut command: Command,
    ) -> Result<Self, Box<dyn Error>> {
        std::fs::write(folder.path().join(SCRIPT), serde_json::to_vec(script)?)?;
        std::fs::write(folder.path().join(ORDER), serde_json::to_vec(order)?)?;
        let child = command
            .env(FOLDER, folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("stderr"))?)
            .spawn()?;
        Ok(Self { child, folder })
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("run/events.jsonl")).unwrap_or_default()
    }

    pub(crate) fn wait_for(&self, event: &str) -> Checked {
        soon(&format!("no {event}"), || self.log().contains(event))
    }

    pub(crate) fn signal(&self, signal: Signal) -> Checked {
        kill_process(Pid::from_child(&self.child), signal).map_err(|e| e.to_string())
    }

    /// Returns the exit code, or 128 plus the signal's number.
    pub(crate) fn ended(&mut self) -> Result<i32, String> {
        use std::os::unix::process::ExitStatusExt;
        let mut status = None;
        within(RUN_ENDS, "it does not end", || {
            status = self.child.try_wait().ok().flatten();
            status.is_some()
        })?;
        let status = status.ok_or("no status")?;
        Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()))
    }

    /// Checks that no process of it is alive, and that nothing panicked.
    pub(crate) fn gone(&self) -> Checked {
        self.no_process()?;
        let said = self.said();
        if said.contains("panicked") { Err(said) } else { Ok(()) }
    }

    pub(crate) fn no_process(&self) -> Checked {
        soon("a process is left", || left(self.folder.path()).is_empty())
    }

    /// Returns its stderr.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }

    pub(crate) fn judged(&self) -> Result<JudgedRun, String> {
        judged(self.folder.path())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // It has ended, unless its test has failed.
        let _ = (self.child.kill(), self.child.wait());
    }
}

pub(crate) fn soon(otherwise: &str, done: impl FnMut() -> bool) -> Checked {
    within(SOON, otherwise, done)
}

pub(crate) fn within(bound: Duration, otherwise: &str, mut done: impl FnMut() -> bool) -> Checked {
    let begin = Instant::now();
    while !done() {
        if begin.elapsed() > bound {
            return Err(format!("{otherwise} in {bound:?}"));
        }
        sleep(OFTEN);
    }
    Ok(())
}

pub(crate) fn expect<T: PartialEq + std::fmt::Debug>(what: &str, found: T, due: T) -> Checked {
    if found == due { Ok(()) } else { Err(format!("{what}: {found:?} instead of {due:?}")) }
}

fn start(at: Moment, act: Act) -> Result<Lab, String> {
    Lab::start(&Script { series: true, ..Script::default() }.and(at, act)).map_err(|e| e.to_string())
}

fn good() -> Result<Lab, String> {
    start(Moment::Start, Act::IgnoreTerm)
}

/// Starts a run that waits in its first store for ever.
fn waiting() -> Result<Lab, String> {
    let lab = start(Moment::Request("store".into()), Act::Hang)?;
    lab.wait_for("guest-up")?;
    Ok(lab)
}

pub(crate) fn killed_in_a_step() -> Checked {
    let mut lab = waiting()?;
    lab.signal(Signal::KILL)?;
    lab.ended()?;
    lab.gone()?;
    let judged = lab.judged()?;
    expect("verdict", judged.cells.first().and_then(|cell| cell.verdict.clone()), Some(Verdict::Lost))?;
    expect("exit code", judged.exit, Verdict::Lost.exit())
}

/// After a kill at any moment nothing remains, and the log can be read.
pub(crate) fn killed_at_any_moment() -> Checked {
    for n in 0..KILLS {
        let mut lab = good()?;
        sleep(Duration::from_millis(MOMENTS_MS * n / KILLS));
        lab.signal(Signal::KILL)?;
        lab.ended()?;
        lab.gone()?;
        if lab.log().contains('\n') {
            lab.judged()?;
        }
    }
    Ok(())
}

/// A child of QEMU's may outlive a killed s2lab. The next run finds it.
pub(crate) fn what_a_killed_run_left() -> Checked {
    // The child exists while the run waits: a run that continues ends it too.
    let store = || Moment::Request("store".into());
    let script =
        Script { series: true, ..Script::default() }.and(store(), Act::Child).and(store(), Act::Hang);
    let mut killed = Lab::start(&script).map_err(|e| e.to_string())?;
    killed.wait_for("guest-up")?;
    soon("no child", || left(killed.folder.path()).iter().any(|process| process.contains("sleep")))?;
    killed.signal(Signal::KILL)?;
    killed.ended()?;
    let mut next = good()?;
    expect("the next run", next.ended()?, 0)?;
    killed.gone()?;
    next.gone()
}

/// The deadline of silent agents in [`stopped_while_a_host_works`]: their heartbeats are a second
/// apart.
const PATIENCE: Duration = Duration::from_secs(3);

/// While s2lab is stopped, its host sends heartbeats and answers: none is lost, and no deadline
/// passes.
pub(crate) fn stopped_while_a_host_works() -> Checked {
    for (request, before) in [("store", "guest-up"), ("hold", "stored")] {
        let script = Script { series: true, ..Script::default() };
        let script = script.and(Moment::Request(request.into()), Act::Wait(1000));
        let order = Order { patience: Some(PATIENCE), ..Order::default() };
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let program = std::env::current_exe().map_err(|e| e.to_string())?;
        let mut lab =
            Lab::ordered(folder, &script, &order, Command::new(program)).map_err(|e| e.to_string())?;
        lab.wait_for(before)?;
        lab.signal(Signal::STOP)?;
        sleep(2 * PATIENCE);
        lab.signal(Signal::CONT)?;
        expect("s2lab's own end", lab.ended()?, 0)?;
        lab.gone()?;
        let judged = lab.judged()?;
        let verdict = judged.cells.first().and_then(|cell| cell.verdict.clone());
        let passed = verdict.as_ref().is_some_and(Verdict::passed);
        if !passed {
            return Err(format!("stopped during `{request}`: {verdict:?}; {}", lab.said()));
        }
    }
    Ok(())
}

/// The environment variables that QEMU may get: those listed for it, s2lab's mark, and the name of
/// this script.
const QEMUS: [&str; 7] =
    ["PATH", "HOME", "TMPDIR", "LC_ALL", "LD_LIBRARY_PATH", "S2LAB_PROCESS", fake_qemu::SCRIPT];

/// QEMU gets no token of the user's.
pub(crate) fn environment_of_qemu() -> Checked {
    let script = Script { series: true, ..Script::default() };
    let script = script.and(Moment::Request("store".into()), Act::Hang);
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let mut command = Command::new(std::env::current_exe().map_err(|e| e.to_string())?);
    command.env("FORGE_TOKEN", "secret").env("LD_PRELOAD_OF_MINE", "x").env("HOME", "/");
    let mut lab = Lab::ordered(folder, &script, &Order::default(), command).map_err(|e| e.to_string())?;
    lab.wait_for("guest-up")?;
    let of = |process: &String| {
        let pid = process.split(' ').next().unwrap_or_default();
        std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default()
    };
    let environments: Vec<_> = left(lab.folder.path()).iter().map(of).collect();
    lab.signal(Signal::KILL)?;
    lab.ended()?;
    let all = environments.concat();
    let variables = all.split(|byte| *byte == 0).filter(|variable| !variable.is_empty());
    let names = variables.filter_map(|variable| variable.split(|byte| *byte == b'=').next());
    let names: BTreeSet<_> = names.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    let others: Vec<_> = names.iter().filter(|name| !QEMUS.contains(&name.as_str())).collect();
    expect("what QEMU has besides", format!("{others:?}"), "[]".into())?;
    expect("QEMU was seen", names.contains("S2LAB_PROCESS") && names.contains("HOME"), true)
}

/// A FAIL stays one, and its host is alive until somebody ends it.
pub(crate) fn kept_for_a_person() -> Checked {
    let warn = Act::Print("WARNING: CPU: 0 PID: 1 at arch/arm64/kvm/mmu.c:1 f+0x0/0x10".into());
    let script = Script { series: true, ..Script::default() }.and(Moment::Request("store".into()), warn);
    let order = Order { person: Some(Person::Stays), ..Order::default() };
    let text = |error: Box<dyn Error>| error.to_string();
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut lab = Lab::ordered(folder, &script, &order, Command::new(program)).map_err(text)?;
    soon("nothing is kept", || lab.said().contains("it stays until Ctrl-C"))?;
    expect("a word about why", lab.said().contains("its host keeps running, for the test"), true)?;
    expect("a host", left(lab.folder.path()).is_empty(), false)?;
    lab.signal(Signal::TERM)?;
    expect("s2lab's own end", lab.ended()?, 0)?;
    lab.gone()?;
    let judged = lab.judged()?;
    expect("verdict", judged.cells.first().and_then(|cell| cell.verdict.clone()), Some(Verdict::Fail))?;
    expect("exit code", judged.exit, 143)
}

pub(crate) fn interrupted() -> Checked {
    let signals = [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 130)];
    for (signal, exit) in signals.into_iter().filter(|(signal, _)| !is_ignored_here(*signal)) {
        let mut lab = waiting()?;
        lab.signal(signal)?;
        expect("s2lab's own end", lab.ended()?, 0)?;
        lab.gone()?;
        let judged = lab.judged()?;
        expect("verdict", judged.cells.first().and_then(|cell| cell.verdict.clone()), None)?;
        expect("exit code", judged.exit, exit)?;
    }
    Ok(())
}

/// Returns true if these tests ignore the signal, like under nohup or in the background of a script: then
/// s2lab must ignore it too.
pub(crate) fn is_ignored_here(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    is_ignored(&status, signal.as_raw())
}

/// The second signal waits for nothing, not even for a cell that is about to end.
pub(crate) fn terminated_twice() -> Checked {
    let mut lab = waiting()?;
    lab.signal(Signal::TERM)?;
    lab.signal(Signal::INT)?;
    let exit = lab.ended()?;
    // The first signal may have been enough.
    if exit != 130 && exit != 143 && exit != 0 {
        return Err(format!("it ends with {exit}"));
    }
    lab.gone()
}

pub(crate) fn memory_while_a_console_floods() -> Checked {
    // Three times the amount that is kept of a console. More takes longer: a test build reads 12
    // MB/s.
    const FLOOD: u64 = 192 << 20;
    let script = Script { series: true, ..Script::default() }.and(Moment::Hello, Act::FloodFirst(FLOOD));
    let mut lab = Lab::start(&script).map_err(|e| e.to_string())?;
    let status = format!("/proc/{}/status", lab.child.id());
    let own = || {
        let status = std::fs::read_to_string(&status).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok())
    };
    let mut most = 0;
    while matches!(lab.child.try_wait(), Ok(None)) {
        most = own().unwrap_or_default().max(most);
        sleep(OFTEN);
    }
    lab.gone()?;
    let verdict = lab.judged()?.cells.first().and_then(|cell| cell.verdict.clone());
    expect("verdict", verdict.is_some_and(|verdict| verdict.passed()), true)?;
    let kept = std::fs::metadata(lab.folder.path().join("run/cells/lifecycle@fake/console.host.log"));
    let kept = kept.map(|file| file.len()).unwrap_or_default();
    if kept < MOST_MEMORY_KIB << 10 {
        return Err(format!("no flood: {kept} bytes of the console were kept"));
    }
    match most {
        0 => Err("s2lab's memory was never seen".into()),
        1..=MOST_MEMORY_KIB => Ok(()),
        _ => Err(format!("{most} KiB of memory of its own")),
    }
}
