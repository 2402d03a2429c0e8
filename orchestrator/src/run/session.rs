//! A session: one boot of a host, from its preparation to its end. Today a session serves one cell.

use super::{
    cell::Shared,
    conclusion::{Completion, Facts},
    console::{AlarmSwitch, Console},
    log::EventLog,
    nonce::nonce,
    operator::{CRASH_ENDS, GdbSocket, Operator, print},
    stages::Stop,
    watch::{Cancel, Consoles, Watch},
};
use crate::{
    boot::{
        kernel::ready::KernelFiles,
        preflight::{self, Room},
    },
    host::{
        Host, Parts, Streams,
        deadlines::{Deadline, Deadlines},
        link::Link,
    },
};
use s2lab_model::{
    event::{Event, PlannedCell, StopCause},
    kconfig::Options,
    record::{Surroundings, environment},
};
use s2lab_os::{
    machine::Machine,
    whole::{self, Sync},
};
use s2lab_protocol::{
    Hello, Peer,
    ask::{Ask, HostRequest, Memory},
};
use std::{io, os::unix::net::UnixStream, path::Path, time::Duration};
use tokio::{net::UnixListener, sync::mpsc};

/// The hint if no socket for gdb can be made.
const NO_SOCKET: &str = "a socket's path has at most 107 bytes: give a shorter --out, or set XDG_RUNTIME_DIR";
/// The hint if a scenario counts without a plugin.
const NO_COUNTS: &str =
    "see docs/troubleshooting.md, Preflight; without `count: true` the cell runs without a plugin";
/// The answers of a host whose cell has stopped early, in the cell's folder.
const DIAGNOSIS: &str = "diagnosis.txt";

/// A host, the link to its agent, and all that is known of the host.
pub(super) struct Session<'a> {
    pub(super) host: Host,
    pub(super) link: Link,
    /// For events of the host.
    pub(super) log: EventLog,
    pub(super) nonce: u64,
    pub(super) deadlines: Deadlines,
    /// The known options of the host's kernel.
    pub(super) options: Options,
    /// The host's reports about itself so far.
    pub(super) around: Surroundings,
    kernel: &'a KernelFiles,
    /// For consoles, logs and the diagnosis.
    folder: &'a Path,
    gdb_socket: Option<GdbSocket>,
}

impl<'a> Session<'a> {
    /// Makes a host that stands before its first instruction, and begins to watch it.
    pub(super) async fn prepare(
        shared: &Shared<'_>,
        planned: &PlannedCell,
        kernel: &'a KernelFiles,
        folder: &'a Path,
        log: &EventLog,
    ) -> Result<(Self, Watch), Stop> {
        let nonce = nonce()?;
        let deadlines = match shared.operator {
            Some(operator) => operator.deadlines(shared.deadlines),
            None => shared.deadlines,
        };
        let (gdb_socket, listener) = gdb_socket(shared.operator, folder)?;
        let consoles = consoles(planned, kernel, folder, log, nonce)?;
        let (host, streams) = host(shared, planned, kernel, folder, nonce, listener).await?;
        // From here on nothing fails: the session ends its host.
        log.event(environment(shared, planned, kernel, &host));
        match Machine::this() {
            Ok(machine) => log.event(Event::Machine { kind: machine.kind() }),
            Err(error) => tracing::warn!("the kind of this machine is not known: {error}"),
        }
        let ram = host.ram();
        log.event(Event::HostRam { start: ram.start, size: ram.end - ram.start });
        let (notices, noticed) = mpsc::channel(64);
        let guests = planned.resolved.guests.keys().cloned().collect();
        let link = Link::start(streams.agent, nonce, guests, notices, host.ending().clone());
        let session = Self {
            host,
            link,
            log: log.clone(),
            nonce,
            deadlines,
            options: Options::default(),
            around: Surroundings { ram: std::iter::once(ram).collect(), ..Surroundings::default() },
            kernel,
            folder,
            gdb_socket,
        };
        let watch = Watch::start(streams.console, noticed, consoles, &session);
        Ok((session, watch))
    }

    /// Looks for what the cell lacks, before the first instruction.
    pub(super) fn preflight(&mut self, planned: &PlannedCell, least_space: u64) -> Result<(), Stop> {
        let room = Room::of_machine(self.folder)
            .map_err(|e| Stop::lab(format!("cannot learn about this machine: {e}")))?;
        if let Some(why) = self.host.trace().err().filter(|_| planned.resolved.host.counts()) {
            let what = format!("the scenario counts, and QEMU has no plugin: {why}");
            return Err(Stop::new(StopCause::Lacking, what).hint(NO_COUNTS));
        }
        self.options = preflight::check(planned, self.kernel, self.host.lack(), room, least_space)?;
        if let Some(socket) = &self.gdb_socket {
            socket.show(&planned.key, self.kernel);
        }
        Ok(())
    }

    /// From the first instruction to an agent that answers, and the map of the host's memory.
    pub(super) async fn boot(&mut self) -> Result<(), Stop> {
        // By the machine's own word, while nothing else has written to the memory.
        for part in self.host.loaded().await? {
            self.log.event(Event::HostLoaded(part));
            self.around.loaded.push(part);
        }
        self.host.boot().await?;
        let hello = self.link.hello(&Peer::Host, self.deadlines.of(Deadline::HostBoot)).await?;
        let Hello { release, page_size, taint, .. } = hello;
        self.log.event(Event::HostUp { release, page_size, taint });
        // By the word of the host, which has no guest yet.
        let memory = self.ask_host(Memory {}, self.deadlines.of(Deadline::Request)).await?;
        self.log.event(Event::HostMemory(memory.clone()));
        self.around.memory = Some(memory);
        Ok(())
    }

    /// Asks the host's agent. Every request to the host goes through here.
    pub(super) async fn ask_host<A: Ask<Level = HostRequest>>(
        &mut self,
        ask: A,
        deadline: Duration,
    ) -> Result<A::Answer, Stop> {
        let answer = self.link.ask_host(ask, deadline).await;
        answer.map_err(|error| Stop::of_host(error, &self.options))
    }

    /// Returns the stream to the host's sshd.
    pub(super) fn ssh(&self) -> io::Result<UnixStream> {
        self.host.ssh().try_clone()
    }

    /// A host must have had its console until it is asked for its final record. What comes later
    /// counts for nothing.
    pub(super) async fn require_console(&self) -> Result<(), Stop> {
        if !self.link.liveness().last_heard().console_closed {
            return Ok(());
        }
        self.host.ending().settle().await;
        Err(Stop::lab(
            "the host's console was closed before the host ended, so that its alarms could not be seen",
        ))
    }

    /// Asks a host whose cell has stopped early for what explains it, and writes the answers to the
    /// cell's folder. `ssh`: the host has come up, and nobody else will ask it.
    pub(super) async fn diagnose(
        &mut self,
        facts: &Facts,
        ssh: bool,
        cancel: &mut Cancel<'_, impl Future<Output = ()>>,
    ) {
        let Err(stop) = facts.conclusion() else { return };
        if stop.cause == StopCause::Interrupted || self.host.ending().now().is_some() {
            return;
        }
        let path = self.folder.join(DIAGNOSIS);
        let diagnosis = self.host.diagnose(&stop.what, ssh, self.deadlines.of(Deadline::Diagnosis));
        tokio::select! {
            () = cancel.requested() => {}
            // A failed write does not change the reason why the cell stopped.
            text = diagnosis => drop(whole::write(&path, text.as_bytes(), Sync::Later)),
        }
    }

    /// Keeps the host of a cell that does not pass, until the operator has seen enough. `up`: it
    /// has come up.
    pub(super) async fn keep(
        &mut self,
        operator: &Operator,
        planned: &PlannedCell,
        facts: &Facts,
        watch: &mut Watch,
        up: bool,
        cancel: &mut Cancel<'_, impl Future<Output = ()>>,
    ) {
        let conclusion = facts.conclusion();
        let why = match &conclusion {
            Ok(Completion::Finished) => return,
            Ok(Completion::Lacking(why)) => why,
            Err(Stop { cause: StopCause::Kernel | StopCause::Timeout | StopCause::Lab, what, .. }) => what,
            Err(_) => return,
        };
        if cancel.is_requested() || self.host.ending().now().is_some() {
            return;
        }
        // The verdict is made: no action of a person changes it.
        watch.ignore_alarms();
        // A call that was dropped in the middle of a look has left the machine stopped.
        let _ = self.host.resume().await;
        let ssh = self.ssh().ok().filter(|_| up);
        let ending = self.host.ending().clone();
        let kept = operator.keep(&planned.key, why, ssh, self.deadlines.of(Deadline::Login));
        tokio::select! {
            biased;
            () = cancel.requested() => {}
            _ = ending.ended() => print("the host has ended"),
            () = self.serve_looks(planned, operator, kept) => {}
        }
        drop(watch.troubles());
    }

    /// Ends the machine, and adds to `facts` what comes to light by that. The link stays open until
    /// then: without it the host's agent ends, and with it the guests and the shell.
    pub(super) async fn end(self, watch: Watch, mut facts: Facts) -> Facts {
        let killed = self.host.kill().await;
        facts.left = killed.err().map(|left| left.to_string());
        facts.troubles.extend(watch.finish().await);
        facts
    }
}

async fn host(
    shared: &Shared<'_>,
    planned: &PlannedCell,
    kernel: &KernelFiles,
    folder: &Path,
    nonce: u64,
    gdb: Option<UnixListener>,
) -> Result<(Host, Streams), Stop> {
    let host = &planned.resolved.host;
    let initramfs = shared.boot.initramfs(kernel);
    let crash = shared.operator.map_or(CRASH_ENDS, Operator::crash);
    let own = [&host.arguments, shared.boot.arguments(&planned.kernel)].concat();
    let parts = Parts {
        qemu: shared.qemu,
        host,
        kernel: &kernel.boot.image,
        initramfs: initramfs.map_err(|e| Stop::lab(format!("cannot make the host's initramfs: {e}")))?,
        kernel_arguments: &kernel_arguments(&format!("{nonce:016x}"), crash, &own),
        folder,
        deadlines: shared.deadlines,
        gdb,
        plugin: shared.boot.plugin().map(|plugin| plugin.file.as_path()),
    };
    Ok(Host::prepare(shared.launcher, parts).await?)
}

fn gdb_socket(
    operator: Option<&Operator>,
    folder: &Path,
) -> Result<(Option<GdbSocket>, Option<UnixListener>), Stop> {
    match operator.map(|operator| operator.gdb_socket(folder)).transpose() {
        Ok(socket) => Ok(socket.flatten().unzip()),
        Err(error) => Err(Stop::lab(format!("no socket for gdb: {error}")).hint(NO_SOCKET)),
    }
}

fn consoles(
    planned: &PlannedCell,
    kernel: &KernelFiles,
    folder: &Path,
    log: &EventLog,
    nonce: u64,
) -> Result<Consoles, Stop> {
    let switch = AlarmSwitch::default();
    let create = |name: &str| {
        Console::create(folder, name, log.clone(), switch.clone()).map_err(|e| Stop::disk(folder, e))
    };
    let host =
        create("host")?.with_symbols(kernel.symbols.map.clone()).tested_by(s2lab_protocol::test_line(nonce));
    let guests = planned.resolved.guests.keys().map(|guest| Ok((guest.clone(), create(guest)?)));
    let guests = guests.collect::<Result<_, Stop>>()?;
    Ok(Consoles { host, guests, switch })
}

/// The kernel's command line. `crash`: what to do when the kernel crashes. `ignore_loglevel`:
/// neither configuration nor user space can keep a warning from the console
/// (kernel/printk/printk.c, suppress_message_printing). The rest is for the agent, and the
/// words of the scenario and of the kernel.
pub fn kernel_arguments(nonce: &str, crash: &str, own: &[String]) -> String {
    let line = format!("console=ttyAMA0 ignore_loglevel {crash} s2lab.level=host s2lab.nonce={nonce}");
    std::iter::once(line.as_str()).chain(own.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
}

fn environment(shared: &Shared<'_>, planned: &PlannedCell, kernel: &KernelFiles, host: &Host) -> Event {
    let blocking = [
        (environment::CPU, planned.resolved.host.cpu.clone()),
        (environment::ACCELERATOR, environment::TCG.to_owned()),
    ];
    let mut variable = shared.boot.facts(shared.qemu);
    variable.insert(environment::FACTOR.into(), shared.factor.to_string());
    let plugin = match host.trace().and(shared.boot.plugin()) {
        Ok(plugin) => format!("sha256:{}", plugin.sha256),
        Err(why) => format!("{}{why}", environment::NO_PLUGIN),
    };
    variable.insert(environment::PLUGIN.into(), plugin);
    let config =
        kernel.config.as_ref().map_or(environment::UNKNOWN.to_owned(), |config| config.sha256.clone());
    variable.insert(environment::KERNEL_CONFIG.into(), config);
    variable.insert(environment::KERNEL_IMAGE.into(), kernel.boot.sha256.clone());
    variable
        .extend(kernel.boot.package.clone().map(|package| (environment::KERNEL_PACKAGE.to_owned(), package)));
    Event::Environment { blocking: blocking.map(|(name, value)| (name.into(), value)).into(), variable }
}
