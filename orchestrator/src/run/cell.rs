//! A cell: one scenario on one kernel, from power-on to the final record.

use super::{
    console::{Console, Heed},
    diagnosis::diagnose,
    images::{Images, KernelFiles},
    link::{Heard, Link},
    log::EventLog,
    preflight::{self, Room},
    pulse::Pulse,
    stages::{Deadlines, Stages, Stop, room},
    steps::Hands,
    stuck::stuck,
    visit::Visit,
};
use crate::qemu::{
    argv::RAM_START,
    cpu,
    factor::Factor,
    machine::{Machine, Parts},
    process::{Launcher, Process},
    qmp::Qmp,
};
use rustix::rand::{GetRandomFlags, getrandom};
use s2lab_model::{
    event::{AlarmClass, CellEnd, Event, PlannedCell, Stage, StopCause},
    record::{Surroundings, environment},
};
use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::Path,
    pin::pin,
    process::ExitStatus,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{io::AsyncReadExt, net::UnixStream, sync::mpsc, task::JoinHandle, time::timeout};

/// Most remarks of the agents that are kept, and the longest, characters: they go to s2lab's own log.
const MAX_REMARKS: usize = 1000;
const MAX_REMARK: usize = 1000;

/// What a person does about a crash.
const CRASHED: &str =
    "the kernel under test crashed: crash.txt in the cell's folder has it, console.host.log what came before";
const GUEST_CRASHED: &str = "the guests' kernel is the same for all hosts: see crash.txt and the guest's console in the cell's \
                             folder, and whether the guest has enough `memory`";

/// What all cells of a run share.
pub struct Shared<'a> {
    pub launcher: &'a Launcher,
    pub images: &'a Images,
    /// Where table pages are kept.
    pub raw: &'a Path,
    pub deadlines: Deadlines,
    /// What `deadlines` were stretched by.
    pub factor: Factor,
    /// What the run's file system must have left before a host boots, bytes; [`preflight::STATE_SPACE`] but for tests of less.
    pub least_space: u64,
    /// Who gets a shell in the host instead of the scenario's steps.
    pub visit: Option<&'a Visit>,
}

/// Carries out a cell. Whatever happens, no process is left when this returns, and the log says how it ended.
/// `cancelled` resolves when the run is interrupted.
pub async fn run(
    shared: &Shared<'_>,
    planned: &PlannedCell,
    kernel: &KernelFiles,
    folder: &Path,
    log: EventLog,
    cancelled: impl Future<Output = ()>,
) {
    log.event(Event::CellStarted);
    let mut stages = Stages::new(log.clone());
    let end = match attempt(shared, planned, kernel, folder, &mut stages, cancelled).await {
        Ok(()) => CellEnd::Complete,
        Err(Stop { cause, what, hint }) => CellEnd::Stopped { stage: stages.current(), cause, what, hint },
    };
    stages.finish();
    log.event(Event::CellEnded { end });
}

async fn attempt(
    shared: &Shared<'_>,
    planned: &PlannedCell,
    kernel: &KernelFiles,
    folder: &Path,
    stages: &mut Stages,
    cancelled: impl Future<Output = ()>,
) -> Result<(), Stop> {
    let log = stages.log().clone();
    let deadlines = patient_with(shared.deadlines, &planned.scenario.host.arguments);
    stages.enter(Stage::Prepare);
    let nonce = random().map_err(|e| Stop::lab(format!("no random numbers: {e}")))?;
    let mut cancelled = pin!(cancelled);
    let machine = tokio::select! {
        biased;
        () = &mut cancelled => return Err(Stop::interrupted()),
        started = start(shared, planned, kernel, folder, nonce) => started?,
    };
    log.event(environment(shared, planned, kernel));
    let Machine { mut process, mut qmp, mut gdb, console, agent, ssh, ram, bars, arguments } = machine;
    write(folder, "qemu.args", arguments.join("\n").as_bytes())?;
    log.event(Event::HostRam { start: RAM_START, size: ram.memory.size() });

    let (trouble, mut troubles) = mpsc::channel(4);
    let host_console = Console::create(folder, "host", log.clone()).map_err(|e| Stop::disk(folder, e))?;
    let spoke = Arc::new(AtomicBool::new(false));
    let (stall, mut stalls) = mpsc::channel(4);
    let (heard, hearing) = mpsc::channel(64);
    let mut consoles = BTreeMap::new();
    for guest in planned.scenario.guests.keys() {
        let console = Console::create(folder, guest, log.clone()).map_err(|e| Stop::disk(folder, e))?;
        consoles.insert(guest.clone(), console);
    }
    let mut hearer = tokio::spawn(hear(hearing, consoles, trouble.clone()));
    let link = Link::start(agent, nonce, planned.scenario.guests.keys().cloned().collect(), heard);
    let pulse = link.pulse();
    let told = Told { trouble, stall, pulse: pulse.clone() };
    let mut reader = tokio::spawn(read_console(console, host_console, Arc::clone(&spoke), told));

    let mut hands = Hands {
        planned,
        log: &log,
        qmp: &mut qmp,
        gdb: &mut gdb,
        ram: &ram,
        bars: &bars,
        link,
        raw: shared.raw,
        nonce,
        deadlines,
        around: Surroundings {
            ram: std::iter::once(RAM_START..RAM_START + ram.memory.size()).collect(),
            devices: BTreeMap::new(),
        },
    };
    let outcome = {
        let mut work = pin!(async {
            stages.enter(Stage::Preflight);
            let room = Room::of_machine(folder)
                .map_err(|e| Stop::lab(format!("cannot learn about this machine: {e}")))?;
            preflight::check(planned, kernel, hands.qmp.version(), room, shared.least_space)?;
            hands.raise(stages).await?;
            stages.enter(Stage::Steps);
            match shared.visit {
                Some(visit) => visit.receive(&ssh).await?,
                None => hands.steps().await?,
            }
            stages.enter(Stage::ShutDown);
            hands.shut_down().await
        });
        tokio::select! {
            biased;
            () = &mut cancelled => Err(Stop::interrupted()),
            Some(stop) = troubles.recv() => Err(stop),
            done = &mut work => done,
            // A person in a shell may stop what they like.
            stop = stuck(&pulse, deadlines, &mut stalls), if shared.visit.is_none() => Err(stop),
            status = process.wait() => match timeout(deadlines.rest, work).await {
                // What was said before the end was still on its way: all of it, or how a guest ended.
                Ok(Err(stop)) if !matches!(stop.cause, StopCause::Lab | StopCause::Timeout) => Err(stop),
                Ok(Ok(())) => Ok(()),
                _ => Err(ended(status, "in the middle of the cell")),
            },
        }
    };
    drop(hands);
    let mut outcome = match outcome {
        // After the final record nothing counts, and a host powers off for seconds. But until there it must have had its
        // console.
        Ok(()) if reader.is_finished() && matches!(process.try_wait(), Ok(None)) => Err(Stop::lab(
            "the host's console was closed before the host ended, so that its alarms could not be seen",
        )),
        // One that crashes has more to say.
        Err(stop) if stop.cause == StopCause::Kernel => {
            let _ = timeout(deadlines.drain, process.wait()).await;
            Err(stop)
        }
        Err(stop) => Err(explained(stop, &mut process, &mut qmp, deadlines).await),
        Ok(()) => Ok(()),
    };
    if let Err(stop) = &outcome
        && stop.cause != StopCause::Interrupted
        && matches!(process.try_wait(), Ok(None))
    {
        // A host that did not come up has no sshd.
        let ssh = Some(ssh).filter(|_| stages.current() > Stage::HostBoot);
        let diagnosis = diagnose(&stop.what, &mut qmp, &mut gdb, ssh, deadlines.diagnosis);
        tokio::select! {
            () = cancelled => {}
            // What cannot be written changes nothing of why the cell stopped.
            text = diagnosis => drop(write(folder, "diagnosis.txt", text.as_bytes())),
        }
    }
    let killed = process.kill().await;
    // A guest's last words may explain its end.
    finish_task(&mut hearer, deadlines.rest).await;
    finish_console(&mut reader, &mut troubles, &mut outcome, deadlines.rest).await;
    if outcome.is_ok() && !spoke.load(Ordering::Relaxed) {
        let silent = "the host's console said nothing, so that its alarms could not have been seen";
        let hint = "a kernel needs CONFIG_SERIAL_AMBA_PL011_CONSOLE for it";
        outcome = Err(Stop { hint: Some(hint.into()), ..Stop::lab(silent) });
    }
    match killed {
        Err(left) if !outcome.as_ref().is_err_and(Stop::outweighs_lab) => {
            Err(Stop::lab(format!("after the cell: {left}")))
        }
        _ => outcome,
    }
}

fn ended(status: io::Result<ExitStatus>, when: &str) -> Stop {
    Stop::lab(match status {
        Ok(status) => format!("QEMU ended ({status}) {when}"),
        Err(error) => format!("QEMU cannot be waited for: {error}"),
    })
}

/// Why the lab or the host did not go on: QEMU may have ended, or be unwell, and then that is the cause.
async fn explained(stop: Stop, process: &mut Process, qmp: &mut Qmp, deadlines: Deadlines) -> Stop {
    match stop.cause {
        StopCause::Lab => match process.last_breath().await {
            Some(status) => ended(Ok(status), &format!("in the middle of the cell: {}", stop.what)),
            None => stop,
        },
        StopCause::Timeout => {
            let status = timeout(deadlines.alive, qmp.execute(qapi::qmp::query_status {})).await;
            let why = match status {
                Ok(Ok(status)) if status.running => return stop,
                Ok(Ok(status)) => format!("QEMU has stopped the machine ({:?})", status.status),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("QEMU does not answer QMP in {:?}", deadlines.alive),
            };
            Stop::lab(format!("{}; {why}", stop.what))
        }
        _ => stop,
    }
}

/// The console is read to its end; a crash that it tells of explains whatever else has stopped.
async fn finish_console(
    reader: &mut JoinHandle<()>,
    troubles: &mut mpsc::Receiver<Stop>,
    outcome: &mut Result<(), Stop>,
    rest: Duration,
) {
    finish_task(reader, rest).await;
    while let Ok(stop) = troubles.try_recv() {
        match outcome {
            Err(known) if known.cause == StopCause::Interrupted => {}
            _ if stop.cause == StopCause::Kernel => *outcome = Err(stop),
            Ok(()) => *outcome = Err(stop),
            Err(_) => {}
        }
    }
}

/// Waits for a task's end, and brings it about. Not before it is gone may the cell's last event be written.
async fn finish_task(task: &mut JoinHandle<()>, rest: Duration) {
    if timeout(rest, &mut *task).await.is_err() {
        task.abort();
        let _ = task.await;
    }
}

async fn start(
    shared: &Shared<'_>,
    planned: &PlannedCell,
    kernel: &KernelFiles,
    folder: &Path,
    nonce: u64,
) -> Result<Machine, Stop> {
    let images = shared.images;
    let host = &planned.scenario.host;
    let cpu = cpu::argument(shared.launcher, images.qemu().command(), &host.cpu, shared.deadlines.qmp)
        .await
        .map_err(|error| Stop::cpu(&error))?;
    let initramfs =
        images.initramfs(kernel).map_err(|e| Stop::lab(format!("cannot make the host's initramfs: {e}")))?;
    let log = File::create(folder.join("qemu.log")).map_err(|e| Stop::disk(folder, e))?;
    let parts = Parts {
        qemu: images.qemu().command(),
        cpu: &cpu,
        host,
        kernel: &kernel.image,
        initramfs,
        kernel_arguments: &kernel_arguments(&format!("{nonce:016x}"), &host.arguments),
        log,
        deadlines: shared.deadlines,
    };
    Machine::start(shared.launcher, parts).await.map_err(|error| {
        let said = std::fs::read_to_string(folder.join("qemu.log")).unwrap_or_default();
        Stop::lab(format!("{error}{}{}", if said.is_empty() { "" } else { "; it says: " }, said.trim_end()))
    })
}

/// A crash ends the machine (`-no-reboot`) instead of hanging it; the rest is for the agent, and the scenario's own words.
pub fn kernel_arguments(nonce: &str, own: &[String]) -> String {
    let line = format!("console=ttyAMA0 panic=-1 oops=panic s2lab.level=host s2lab.nonce={nonce}");
    std::iter::once(line.as_str()).chain(own.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
}

/// A kernel that was told to say less may be silent for all of its boot.
fn patient_with(deadlines: Deadlines, arguments: &[String]) -> Deadlines {
    let quiet = |argument: &String| argument == "quiet" || argument.starts_with("loglevel=");
    match arguments.iter().any(quiet) {
        true => Deadlines { boot_silence: deadlines.host_boot, ..deadlines },
        false => deadlines,
    }
}

fn environment(shared: &Shared<'_>, planned: &PlannedCell, kernel: &KernelFiles) -> Event {
    let scenario = serde_json::to_vec(&planned.scenario).unwrap_or_default();
    let blocking = [
        (environment::SCENARIO, s2lab_model::record::look::digest(&scenario)),
        (environment::CPU, planned.scenario.host.cpu.clone()),
        (environment::ACCELERATOR, environment::TCG.to_owned()),
    ];
    let mut variable = shared.images.facts();
    variable.insert(environment::FACTOR.into(), shared.factor.to_string());
    let config =
        kernel.config.as_ref().map_or(environment::UNKNOWN.to_owned(), |config| config.sha256.clone());
    variable.insert(environment::KERNEL_CONFIG.into(), config);
    variable.insert(environment::KERNEL_IMAGE.into(), kernel.sha256.clone());
    variable.extend(kernel.package.clone().map(|package| (environment::KERNEL_PACKAGE.to_owned(), package)));
    Event::Environment { blocking: blocking.map(|(name, value)| (name.into(), value)).into(), variable }
}

async fn read_console(mut stream: UnixStream, mut console: Console, spoke: Arc<AtomicBool>, told: Told) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        // An error is QEMU's end, like the end of the stream.
        let n = stream.read(&mut buffer).await.unwrap_or(0);
        if n == 0 {
            console.finish();
            return;
        }
        spoke.store(true, Ordering::Relaxed);
        told.pulse.console();
        told.report(console.push(buffer.get(..n).unwrap_or_default()));
    }
}

/// Where the host's console is told of to the cell. Full or closed: the cell has heard of enough trouble already.
struct Told {
    trouble: mpsc::Sender<Stop>,
    /// Lines after which it is to be seen whether the host goes on.
    stall: mpsc::Sender<String>,
    pulse: Pulse,
}

impl Told {
    fn report(&self, pushed: io::Result<Option<Heed>>) {
        match pushed {
            Ok(None) => {}
            Ok(Some(Heed::Fatal(_, line))) => {
                drop(self.trouble.try_send(Stop::kernel(format!("console of host: {line}")).hint(CRASHED)));
            }
            Ok(Some(Heed::Stuck(_, line))) => drop(self.stall.try_send(line)),
            Err(error) => drop(self.trouble.try_send(unkept("host", &error))),
        }
    }
}

fn unkept(who: &str, error: &io::Error) -> Stop {
    Stop { hint: room(error), ..Stop::lab(format!("cannot keep the console of {who}: {error}")) }
}

/// All guests boot one fixed kernel, with which other hosts get on: what makes it crash is looked for in the host.
fn guest_heeds(guest: &str, pushed: io::Result<Option<Heed>>) -> Option<Stop> {
    match pushed {
        Ok(Some(Heed::Fatal(class, line))) => {
            let how = match class {
                AlarmClass::Oops => "crashed",
                _ => "panicked",
            };
            Some(Stop::kernel(format!("guest {guest} {how}: {line}")).hint(GUEST_CRASHED))
        }
        Ok(_) => None,
        Err(error) => Some(unkept(guest, &error)),
    }
}

/// Keeps what the agents tell: the guests' consoles and their remarks.
async fn hear(
    mut hearing: mpsc::Receiver<Heard>,
    mut consoles: BTreeMap<String, Console>,
    trouble: mpsc::Sender<Stop>,
) {
    let mut remarks = 0;
    while let Some(heard) = hearing.recv().await {
        match heard {
            Heard::Console { guest, bytes } => {
                // The link hears of no other guests.
                if let Some(console) = consoles.get_mut(&guest) {
                    // Try, for the cell may have heard of enough trouble already.
                    guest_heeds(&guest, console.push(&bytes)).map(|stop| trouble.try_send(stop));
                }
            }
            Heard::Log { peer, text } if remarks < MAX_REMARKS => {
                remarks += 1;
                let text: String = text.chars().take(MAX_REMARK).collect();
                tracing::info!(%peer, text = text.escape_debug().to_string(), "agent")
            }
            Heard::Log { .. } => {}
            Heard::Heartbeat { peer, uptime_ms, stored } => {
                tracing::trace!(%peer, uptime_ms, stored, "heartbeat");
            }
        }
    }
    consoles.values_mut().for_each(Console::finish);
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), Stop> {
    std::fs::write(folder.join(name), bytes).map_err(|e| Stop::disk(folder, e))
}

/// 64 random bits.
pub fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(u64::from_ne_bytes(bytes))
}
