//! A cell: one scenario on one kernel, from power-on to the final record.

use super::{
    console::{AlarmSwitch, Console},
    consoles::{ConsoleSinks, keep_notices, read_console},
    images::{Images, KernelFiles},
    log::EventLog,
    nonce::nonce,
    operator::{CRASH_ENDS, Operator, tell},
    preflight::{self, Room},
    stages::{Stages, Stop},
    steps::CellContext,
    stuck::stuck,
};
use crate::{
    host::{
        deadlines::{Deadline, Deadlines, Factor},
        emulated::{
            argv::RAM_START,
            cpu,
            diagnosis::diagnose,
            machine::{Machine, Parts},
            process::{Launcher, Process},
            qmp::Qmp,
        },
        link::Link,
    },
    outside::{self, kinds},
    waits::timeout,
};
use s2lab_model::{
    event::{CellEnd, Event, PlannedCell, Stage, StopCause},
    kconfig::Options,
    plan::Key,
    record::{Surroundings, environment},
};
use std::{collections::BTreeMap, fs::File, io, path::Path, pin::pin, process::ExitStatus, time::Duration};
use tokio::{net::UnixListener, sync::mpsc, task::JoinHandle};

/// The hint where no socket for gdb can be made.
const NO_SOCKET: &str = "a socket's path has at most 107 bytes: give a shorter --out, or set XDG_RUNTIME_DIR";

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
    /// A person at the host.
    pub operator: Option<&'a Operator>,
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
        Ok(end) => end,
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
) -> Result<CellEnd, Stop> {
    let log = stages.log().clone();
    let operator = shared.operator;
    let deadlines = operator.map_or(shared.deadlines, |operator| operator.deadlines(shared.deadlines));
    stages.enter(Stage::Prepare);
    let nonce = nonce()?;
    let (gdb_socket, listener) = match operator.map(|operator| operator.gdb_socket(folder)).transpose() {
        Ok(gdb_socket) => gdb_socket.flatten().unzip(),
        Err(error) => return Err(Stop::lab(format!("no socket for gdb: {error}")).hint(NO_SOCKET)),
    };
    let mut cancelled = pin!(cancelled);
    let machine = tokio::select! {
        biased;
        () = &mut cancelled => return Err(Stop::interrupted()),
        started = start(shared, planned, kernel, folder, nonce, listener) => started?,
    };
    log.event(environment(shared, planned, kernel));
    let Machine { mut process, mut qmp, mut gdb, console, agent, ssh, ram, bars, arguments } = machine;
    write(folder, "qemu.args", arguments.join("\n").as_bytes())?;
    log.event(Event::HostRam { start: RAM_START, size: ram.memory.size() });

    let (trouble, mut troubles) = mpsc::channel(4);
    let switch = AlarmSwitch::default();
    let console_of = |name: &str| {
        Console::create(folder, name, log.clone(), switch.clone()).map_err(|e| Stop::disk(folder, e))
    };
    let host_console = console_of("host")?
        .with_symbols(kernel.symbols.map.clone())
        .tested_by(s2lab_protocol::test_line(nonce));
    let (stall, mut stalls) = mpsc::channel(4);
    let (notices, noticed) = mpsc::channel(64);
    let mut consoles = BTreeMap::new();
    for guest in planned.scenario.guests.keys() {
        consoles.insert(guest.clone(), console_of(guest)?);
    }
    let mut listener = ScopedTask(tokio::spawn(keep_notices(noticed, consoles, trouble.clone())));
    let link = Link::start(agent, nonce, planned.scenario.guests.keys().cloned().collect(), notices);
    let liveness = link.liveness();
    let sinks = ConsoleSinks { trouble, stall, liveness: liveness.clone() };
    let mut reader = ScopedTask(tokio::spawn(read_console(console, host_console, sinks)));

    let mut context = CellContext {
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
        options: Options::default(),
        around: Surroundings {
            ram: std::iter::once(RAM_START..RAM_START + ram.memory.size()).collect(),
            ..Surroundings::default()
        },
        looked: BTreeMap::new(),
    };
    let outcome = {
        let mut work = pin!(async {
            stages.enter(Stage::Preflight);
            let room = Room::of_machine(folder)
                .map_err(|e| Stop::lab(format!("cannot learn about this machine: {e}")))?;
            context.options =
                preflight::check(planned, kernel, context.qmp.version(), room, shared.least_space)?;
            if let Some(gdb_socket) = &gdb_socket {
                gdb_socket.show(&planned.key, kernel);
            }
            context.raise(stages).await?;
            stages.enter(Stage::Steps);
            match operator.filter(|operator| operator.is_instead_of_steps()) {
                Some(operator) => operator.receive(&ssh, deadlines.of(Deadline::Login)).await?,
                None => context.steps().await?,
            }
            if let Some(why) = lacks(operator, &planned.key, &log).await {
                return Ok(Done::Lacking(why));
            }
            stages.enter(Stage::ShutDown);
            context.shut_down().await.map(|()| Done::Finished)
        });
        tokio::select! {
            biased;
            () = &mut cancelled => Err(Stop::interrupted()),
            Some(stop) = troubles.recv() => Err(stop),
            done = &mut work => done,
            // A person in a shell may stop what they like.
            stop = stuck(&liveness, deadlines, &mut stalls), if !operator.is_some_and(Operator::is_instead_of_steps) => Err(stop),
            status = process.wait() => match timeout(deadlines.of(Deadline::Rest), work).await {
                // What was said before the end was still on its way: all of it, or how a guest ended.
                Ok(Err(stop)) if !matches!(stop.cause, StopCause::Lab | StopCause::Timeout) => Err(stop),
                Ok(Ok(done)) => Ok(done),
                _ => Err(ended(status, "in the middle of the cell")),
            },
        }
    };
    // Without it the host's agent would have nobody to talk to, and there would be no guest and no shell any more.
    let CellContext { link: _link, .. } = context;
    let mut outcome = match outcome {
        // After the final record nothing counts, and a host powers off for seconds. But until there it must have had its
        // console.
        Ok(_) if reader.0.is_finished() && matches!(process.try_wait(), Ok(None)) => Err(Stop::lab(
            "the host's console was closed before the host ended, so that its alarms could not be seen",
        )),
        // One that crashes has more to say.
        Err(stop) if stop.cause == StopCause::Kernel => {
            let _ = timeout(deadlines.of(Deadline::Drain), process.wait()).await;
            Err(stop)
        }
        Err(stop) => Err(explained(stop, &mut process, &mut qmp, deadlines).await),
        Ok(done) => Ok(done),
    };
    let keeper = operator.filter(|operator| operator.keeps());
    let mut left_alone = false;
    if let Err(stop) = &outcome
        && stop.cause != StopCause::Interrupted
        && matches!(process.try_wait(), Ok(None))
    {
        // A host that did not come up has no sshd, and a person asks what they want.
        let ssh = ssh.try_clone().ok().filter(|_| stages.current() > Stage::HostBoot && keeper.is_none());
        let diagnosis = diagnose(&stop.what, &mut qmp, &mut gdb, ssh, deadlines.of(Deadline::Diagnosis));
        tokio::select! {
            () = &mut cancelled => left_alone = true,
            // What cannot be written changes nothing of why the cell stopped.
            text = diagnosis => drop(write(folder, "diagnosis.txt", text.as_bytes())),
        }
    }
    overrule(&mut outcome, &mut troubles);
    if let (Some(operator), Some(why), Ok(None)) = (keeper, kept_for(&outcome), process.try_wait())
        && !left_alone
    {
        // The verdict is made: nothing that a person does changes it.
        switch.turn_off();
        // What was dropped in the middle of a look has left the machine stopped.
        let _ = gdb.release(&mut qmp).await;
        let ssh = Some(&ssh).filter(|_| stages.current() > Stage::HostBoot);
        tokio::select! {
            biased;
            () = &mut cancelled => {}
            _ = process.wait() => tell("the host has ended"),
            () = operator.keep(&planned.key, why, ssh, deadlines.of(Deadline::Login)) => {}
        }
        while troubles.try_recv().is_ok() {}
    }
    let killed = process.kill().await;
    // A guest's last words may explain its end.
    finish_task(&mut listener, deadlines.of(Deadline::Rest)).await;
    // The console is read to its end.
    finish_task(&mut reader, deadlines.of(Deadline::Rest)).await;
    overrule(&mut outcome, &mut troubles);
    match killed {
        Err(left) if !outcome.as_ref().is_err_and(Stop::outweighs_lab) => {
            Err(Stop::lab(format!("after the cell: {left}")))
        }
        _ => outcome.map(|done| match done {
            Done::Finished => CellEnd::Complete,
            Done::Lacking(_) => CellEnd::Kept,
        }),
    }
}

/// How far a cell has come that nothing has stopped.
enum Done {
    /// To the final record.
    Finished,
    /// To the end of its steps; this keeps it from passing, and the host is kept for a person.
    Lacking(String),
}

/// What keeps the cell from passing, if its host is to be kept then.
async fn lacks(operator: Option<&Operator>, key: &Key, log: &EventLog) -> Option<String> {
    let operator = operator.filter(|operator| operator.keeps())?;
    log.flush().await;
    operator.lacks(key)
}

/// Why a person might want to see the host.
fn kept_for(outcome: &Result<Done, Stop>) -> Option<&str> {
    match outcome {
        Ok(Done::Finished) => None,
        Ok(Done::Lacking(why)) => Some(why),
        Err(Stop { cause, what, .. }) => {
            matches!(cause, StopCause::Kernel | StopCause::Timeout | StopCause::Lab).then_some(what)
        }
    }
}

/// A task that ends with its cell, also if that panics.
struct ScopedTask(JoinHandle<()>);

impl Drop for ScopedTask {
    fn drop(&mut self) {
        self.0.abort();
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
            let status =
                timeout(deadlines.of(Deadline::Alive), qmp.execute(qapi::qmp::query_status {})).await;
            let why = match status {
                Ok(Ok(status)) if status.running => return stop,
                Ok(Ok(status)) => format!("QEMU has stopped the machine ({:?})", status.status),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("QEMU does not answer QMP in {:?}", deadlines.of(Deadline::Alive)),
            };
            Stop::lab(format!("{}; {why}", stop.what))
        }
        _ => stop,
    }
}

/// A crash that a console tells of explains whatever else has stopped.
fn overrule(outcome: &mut Result<Done, Stop>, troubles: &mut mpsc::Receiver<Stop>) {
    while let Ok(stop) = troubles.try_recv() {
        match outcome {
            Err(known) if known.cause == StopCause::Interrupted => {}
            _ if stop.cause == StopCause::Kernel => *outcome = Err(stop),
            Ok(_) => *outcome = Err(stop),
            Err(_) => {}
        }
    }
}

/// Waits for a task's end, and brings it about. Not before it is gone may the cell's last event be written.
async fn finish_task(ScopedTask(task): &mut ScopedTask, rest: Duration) {
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
    gdb: Option<UnixListener>,
) -> Result<Machine, Stop> {
    let images = shared.images;
    let host = &planned.scenario.host;
    let cpu = cpu::argument(
        shared.launcher,
        images.qemu().command(),
        &host.cpu,
        shared.deadlines.of(Deadline::Qmp),
    )
    .await
    .map_err(|error| Stop::cpu(&error))?;
    let initramfs =
        images.initramfs(kernel).map_err(|e| Stop::lab(format!("cannot make the host's initramfs: {e}")))?;
    let log = File::create(folder.join("qemu.log")).map_err(|e| Stop::disk(folder, e))?;
    let parts = Parts {
        qemu: images.qemu().command(),
        cpu: &cpu,
        host,
        kernel: &kernel.boot.image,
        initramfs,
        kernel_arguments: &kernel_arguments(
            &format!("{nonce:016x}"),
            shared.operator.map_or(CRASH_ENDS, Operator::crash),
            &host.arguments,
        ),
        log,
        deadlines: shared.deadlines,
        gdb,
    };
    Machine::start(shared.launcher, parts).await.map_err(|error| {
        let said = outside::read_text(&folder.join("qemu.log"), kinds::PROGRAM_LOG).unwrap_or_default();
        Stop::lab(format!("{error}{}{}", if said.is_empty() { "" } else { "; it says: " }, said.trim_end()))
    })
}

/// `crash`: what to do when the kernel crashes. `ignore_loglevel`: neither configuration nor user space can keep a warning from
/// the console (kernel/printk/printk.c, suppress_message_printing). The rest is for the agent, and the scenario's own words.
pub fn kernel_arguments(nonce: &str, crash: &str, own: &[String]) -> String {
    let line = format!("console=ttyAMA0 ignore_loglevel {crash} s2lab.level=host s2lab.nonce={nonce}");
    std::iter::once(line.as_str()).chain(own.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
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
    variable.insert(environment::KERNEL_IMAGE.into(), kernel.boot.sha256.clone());
    variable
        .extend(kernel.boot.package.clone().map(|package| (environment::KERNEL_PACKAGE.to_owned(), package)));
    Event::Environment { blocking: blocking.map(|(name, value)| (name.into(), value)).into(), variable }
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), Stop> {
    std::fs::write(folder.join(name), bytes).map_err(|e| Stop::disk(folder, e))
}
