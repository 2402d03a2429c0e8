//! Runs one cell against a scripted QEMU and compares the result with its row.

use crate::{
    agent,
    row::{LIFECYCLE, Module, Row, Within},
};
use fake_qemu::script::Script;
use s2lab::{
    boot::{
        files::BootFiles,
        kernel::{
            memory_module::MemoryModule,
            ready::{Bootable, KernelConfig, KernelFiles, KernelSymbols},
            selftests::Selftests,
        },
        prepared::PreparedKernels,
    },
    host::{
        Launcher,
        deadlines::{Deadline, Deadlines, Factor},
    },
    run::{
        cell::{CellPlace, Shared},
        log::EventLog,
        programs::Programs,
        serve::{Alone, serve},
    },
};
use s2lab_model::{
    cell::ResolvedCell,
    event::{Attempts, CellEnd, Event, Plan, PlannedCell, Stage},
    hash::digest,
    judge::{JudgedCell, judge_run},
    kconfig::{self, Config},
    kernel::{Trait, Traits},
    plan::{Key, SharedHost},
    record::Run,
    scenario::{Scenario, load},
    steps::{HOST, Suite},
};
use s2lab_os::waits;
use s2lab_protocol::MODULE_FILE;
use std::{collections::BTreeMap, error::Error, io, path::Path, sync::Arc, time::Duration};

const KERNEL: &str = "fake";
const SCRIPT: &str = "script.json";
/// A deadline that a row waits for.
const SHORT: Duration = Duration::from_millis(1500);
/// All other deadlines: a row that waits for one of them misses its bound.
const LONG: Duration = Duration::from_secs(60);
/// The longest time to a verdict, beside the deadline that a row waits for.
const BOUND: Duration = Duration::from_secs(10);

/// Returns an error that names the point in which the row does not hold.
pub(crate) fn hold(row: &Row) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    // By the clock of the deadlines: on a busy machine they take longer.
    let began = waits::now();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let carried = runtime.map_err(|e| e.to_string())?.block_on(carry_out(row, folder.path()));
    let took = began.elapsed();
    let judged = carried.map_err(|e| format!("the run: {e}"))?;
    check(row, &judged, took).map_err(|why| {
        let log = std::fs::read_to_string(folder.path().join("qemu.log")).unwrap_or_default();
        format!("{why}\nit took {took:?}; {}\nQEMU's log: {log}", reasons(&judged).join("\n"))
    })?;
    match left(folder.path()) {
        left if left.is_empty() => Ok(()),
        left => Err(format!("processes are left: {left:?}")),
    }
}

async fn carry_out(row: &Row, folder: &Path) -> Result<JudgedCell, Box<dyn Error>> {
    let mut script = row.script.clone();
    if let Some(host) = row.host {
        script.agent = Some(agent::make(folder)?);
        (host.change)(&agent::folder(folder))?;
    }
    let boot = boot_files(folder, &script, row.config, None, module(row.module, folder)?)?;
    let raw = folder.join("raw");
    std::fs::create_dir(&raw)?;
    let mut planned = planned_of(row.scenario, &row.script)?;
    planned.resolved.host.devices.values_mut().for_each(|device| device.count = row.counts);
    planned.resolved.guests.values_mut().for_each(|guest| guest.vcpus = row.vcpus);
    if !row.selftests.is_empty() {
        with_selftests(&mut planned, row.selftests)?;
    }
    let programs = if row.programs { with_programs(&mut planned)? } else { Programs::new() };
    let path = folder.join("events.jsonl");
    let (log, writer) = EventLog::create(&path, |_, _| ())?;
    log.event(Event::Plan(Plan {
        s2lab: "test".into(),
        started: "now".into(),
        lab: None,
        lab_commit: None,
        attempts: Attempts::Once,
        kernels: BTreeMap::new(),
        shuffle: None,
        night: None,
        mutants: None,
        shard: None,
        compare: None,
        cells: vec![planned.clone()],
    }));
    let launcher = Launcher::start()?;
    let shared = Shared {
        launcher: &launcher,
        boot: &boot,
        qemu: boot.qemu(&planned.key).map_err(|_| "no QEMU")?,
        raw: &raw,
        deadlines: deadlines(row),
        factor: Factor::default(),
        programs: &programs,
        least_space: 0,
        operator: None,
        seed: None,
        saved: None,
        turns: None,
    };
    let kernel = boot.kernel(KERNEL).ok_or("no kernel")?;
    let host = SharedHost::of(&planned);
    let cell = CellPlace { log: log.cell(&planned.key), folder: folder.to_owned(), planned };
    serve(&shared, cell, kernel, &host, &Alone, std::future::pending()).await;
    log.event(Event::RunEnded);
    drop(log);
    writer.finish().await?;
    let run = Run::read(&std::fs::read_to_string(&path)?)?;
    let judged = judge_run(run, &|digest: &str| std::fs::read(raw.join(digest)).ok());
    Ok(judged.cells.into_iter().next().ok_or("no cell")?)
}

fn deadlines(row: &Row) -> Deadlines {
    // The scripted host has no sshd.
    let all = Deadlines::default().all(LONG).with(Deadline::Diagnosis, Duration::from_millis(500));
    match row.within {
        Within::After(deadline) => all.with(deadline, SHORT),
        Within::Soon => all,
    }
}

pub(crate) fn planned(script: &Script) -> Result<PlannedCell, Box<dyn Error>> {
    planned_of(LIFECYCLE, script)
}

fn planned_of((file, text): (&str, &str), script: &Script) -> Result<PlannedCell, Box<dyn Error>> {
    let scenario: Scenario = load(file, text).map_err(|mistakes| mistakes.to_string())?;
    let traits = Trait::ALL.into_iter().filter(|_| script.series);
    let key = Key::of(&scenario.scenario, KERNEL, [])?;
    Ok(PlannedCell {
        key,
        kernel: KERNEL.into(),
        about: scenario.about.clone(),
        repeat: vec![],
        resolved: ResolvedCell::of(&scenario, Traits::Exactly(traits.collect())),
    })
}

/// Makes the cell run a program in its guest and then in its host, before its other steps.
pub(crate) fn with_programs(planned: &mut PlannedCell) -> Result<Programs, Box<dyn Error>> {
    let program = fake_qemu::programs::program("", fake_qemu::programs::End::Exit(0));
    let cell = &mut planned.resolved;
    for place in [HOST, "g0"] {
        let step = serde_json::json!({"exec": {"in": place, "file": "repro", "timeout": "1s"}});
        cell.steps.insert(0, serde_json::from_value(step)?);
    }
    let digest = digest(&program);
    cell.programs.insert("repro".into(), digest.clone());
    Ok(Programs::from([(digest, program.into())]))
}

/// The selftest that is built.
pub(crate) const SELFTEST: &str = "kvm_page_table_test";

/// Makes the cell run these selftests before its other steps.
fn with_selftests(planned: &mut PlannedCell, tests: &[&str]) -> Result<(), Box<dyn Error>> {
    let step = serde_json::json!({"suite": {"of": "kvm-selftests", "tests": tests, "timeout": "1s"}});
    planned.resolved.steps.insert(0, serde_json::from_value(step)?);
    Ok(())
}

/// Makes the files that cells boot, without meaning, and this program in QEMU's place, with the
/// script. `lacks` is an option that the kernel's configuration, if there is one, does not have.
/// `late` is a kernel that is not there at first.
pub(crate) fn boot_files(
    folder: &Path,
    script: &Script,
    lacks: Option<&str>,
    late: Option<&str>,
    module: MemoryModule,
) -> io::Result<BootFiles> {
    let path = folder.join(SCRIPT);
    std::fs::write(&path, serde_json::to_vec(script)?)?;
    let file = |name: &str| {
        let path = folder.join(name);
        std::fs::write(&path, name).map(|()| path)
    };
    let env = vec![(fake_qemu::SCRIPT.into(), path.into())];
    let qemu = s2lab_cache::Qemu {
        program: std::env::current_exe()?,
        env,
        args: vec![],
        version: "10.0.2".into(),
        packages: vec![],
    };
    let userland = s2lab_cache::Userland {
        archive: file("userland")?,
        without_qemu: file("userland-without-qemu")?,
        packages: vec![],
        qemu_version: "10.0.2".into(),
    };
    let agent = s2lab_cache::Agent { program: file("agent")?, sha256: String::new() };
    let bootable = |image: &str, modules: &str| {
        let (image, modules) = (file(image)?, file(modules)?);
        Ok::<_, io::Error>(Bootable { image, sha256: String::new(), modules, absent: vec![], package: None })
    };
    let guest = bootable("guest-image", "guest-modules")?;
    // An archive without modules: the configurations here have everything built in.
    let mut modules = vec![];
    s2lab_cache::parts::initramfs::append(&mut modules, [])?;
    let kernel = KernelFiles {
        boot: bootable("image", "modules")?,
        config: lacks.map(config).transpose()?,
        symbols: KernelSymbols::default(),
        selftests: selftests(folder)?,
        module,
    };
    std::fs::write(&kernel.boot.modules, modules)?;
    let plugin = match script.plugin {
        Some(_) => Ok(s2lab_cache::Plugin { file: file("plugin")?, sha256: String::new() }),
        None => Err("the script has none".to_owned()),
    };
    let kernels = PreparedKernels::awaited([KERNEL].into_iter().chain(late).map(str::to_owned));
    kernels.settle(KERNEL, Ok(kernel));
    Ok(BootFiles::from_parts(qemu, userland, agent, plugin, guest, Arc::new(kernels)))
}

/// Returns s2lab's own module for the kernel.
fn module(state: Module, folder: &Path) -> io::Result<MemoryModule> {
    let path = folder.join(MODULE_FILE);
    std::fs::write(&path, "module")?;
    let failed = || s2lab_cache::CacheError::Offline { missing: "the compiler".into() };
    Ok(match state {
        Module::Built => MemoryModule::Built(path),
        Module::None => MemoryModule::None,
        Module::Failed => MemoryModule::Failed(Arc::new(failed())),
    })
}

/// Returns the selftests of the kernel's tree, of which one in each suite is built.
fn selftests(folder: &Path) -> io::Result<Selftests> {
    let path = folder.join(SELFTEST);
    std::fs::write(&path, fake_qemu::programs::program("", fake_qemu::programs::End::Exit(0)))?;
    let suite = |built: &str, other: &str| {
        let known = [built, other].map(str::to_owned).into();
        Ok(s2lab_cache::Selftests { programs: [(built.to_owned(), path.clone())].into(), known })
    };
    Ok(Selftests::of([
        (Suite::KvmSelftests, suite(SELFTEST, "page_fault_test")),
        (Suite::VfioSelftests, suite("vfio_pci_device_test", "vfio_dma_mapping_test")),
    ]))
}

/// The options that only a virtual function needs.
const OF_FUNCTIONS: [&str; 3] = ["IGB", "PCI_IOV", "PACKET"];

/// Returns a configuration with all needed options but one.
fn config(lacks: &str) -> io::Result<KernelConfig> {
    let planned = planned(&Script::default()).map_err(|why| io::Error::other(why.to_string()))?;
    let needs = kconfig::needs(&planned.resolved).into_iter();
    let options = needs.map(|need| need.option).chain(OF_FUNCTIONS).filter(|option| *option != lacks);
    let text: String = options.chain(["ARM64"]).map(|option| format!("CONFIG_{option}=y\n")).collect();
    let config = Config::parse(&text).map_err(io::Error::other)?;
    Ok(KernelConfig { config, sha256: String::new() })
}

fn check(row: &Row, judged: &JudgedCell, took: Duration) -> Result<(), String> {
    let verdict = judged.verdict.as_ref().map(ToString::to_string).unwrap_or_default();
    if verdict != row.verdict {
        return Err(format!("{verdict} instead of {}", row.verdict));
    }
    let stage = stopped_in(judged);
    if stage != row.stage {
        return Err(format!("stopped in {stage:?} instead of {:?}", row.stage));
    }
    let reasons = reasons(judged);
    if reasons.is_empty() != row.says.is_empty()
        || !reasons.iter().any(|said| said.contains(row.says)) && !reasons.is_empty()
    {
        return Err(format!("nothing says `{}`", row.says));
    }
    if let Some((witness, due)) = row.hears.filter(|(of, due)| !testimony(judged, of).starts_with(due)) {
        return Err(format!("{witness} is not `{due}`: {}", testimony(judged, witness)));
    }
    let attempts = judged.attempts.iter().map(|attempt| &attempt.record);
    let mut crashed = attempts.filter(|record| record.alarms.iter().any(|alarm| alarm.class.is_fatal()));
    if crashed.any(|record| record.crashes.is_empty()) {
        return Err("the log has no lines of the crash".into());
    }
    let (least, most) = match row.within {
        Within::Soon => (Duration::ZERO, BOUND),
        Within::After(_) => (SHORT, SHORT + BOUND),
    };
    if !(least..=most).contains(&took) {
        return Err(format!("not within {least:?} to {most:?}"));
    }
    Ok(())
}

fn stopped_in(judged: &JudgedCell) -> Option<Stage> {
    match judged.attempts.last()?.record.end.as_ref()? {
        CellEnd::Complete | CellEnd::Kept => None,
        CellEnd::Stopped { stage, .. } => Some(*stage),
    }
}

/// Returns the testimony of a witness that is not compared.
fn testimony(judged: &JudgedCell, witness: &str) -> String {
    let variable = judged.attempts.iter().flat_map(|attempt| &attempt.judgement.variable);
    variable.filter(|(name, _)| *name == witness).map(|(_, said)| said.to_string()).collect()
}

/// Returns all reasons against the cell.
fn reasons(judged: &JudgedCell) -> Vec<String> {
    let findings = judged.attempts.iter().flat_map(|attempt| &attempt.judgement.findings);
    findings.map(|f| format!("{}: {} instead of {} {:?}", f.what, f.found, f.expected, f.detail)).collect()
}

/// Returns the processes that were started with the folder's script, whatever their parents and
/// groups are now.
pub(crate) fn left(folder: &Path) -> Vec<String> {
    left_of(&folder.join(SCRIPT).display().to_string())
}

/// Returns the processes whose environment has the text.
pub(crate) fn left_of(mark: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ours = processes.filter(|process| {
        let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
        environment.windows(mark.len()).any(|part| part == mark.as_bytes())
    });
    ours.map(|process| {
        let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        format!("{} {}", process.file_name().display(), String::from_utf8_lossy(&command).replace('\0', " "))
    })
    .collect()
}
