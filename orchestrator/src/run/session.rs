//! A session: one boot of a host, from its preparation to its end. It serves cells one after the other
//! ([`super::serve`]).

mod machine;
mod saved;

pub use machine::kernel_arguments;

use super::{
    cell::{CellPlace, Shared},
    conclusion::{Completion, Facts},
    console::Console,
    log::EventLog,
    nonce::nonce,
    operator::{GdbSocket, Operator, SshPatience, print},
    saved::{Keeping, SavedFacts, SavedKey},
    stages::Stop,
    watch::{Cancel, Consoles, Watch},
};
use crate::{
    boot::{
        kernel::{ready::KernelFiles, selftests::Selftests},
        preflight::{self, Needs, Room},
    },
    host::{
        Host,
        deadlines::{Deadline, Deadlines},
        link::{AgentNotice, Link},
    },
};
use machine::{consoles, environment, gdb_socket, guest_consoles, host};
use rustix::fd::{AsFd, OwnedFd};
use s2lab_model::{
    event::{Event, PlannedCell, StopCause},
    kconfig::Options,
    plan::SharedHost,
    record::{Surroundings, virt},
    scenario::{self, FLASH},
};
use s2lab_os::{
    machine::Machine,
    whole::{self, Sync},
};
use s2lab_protocol::{
    Hello, Peer,
    ask::{Ask, HostRequest, Memory},
};
use saved::Begun;
use std::{io, os::unix::net::UnixStream, path::PathBuf, time::Duration};
use tokio::sync::{mpsc, oneshot};

/// The hint if a scenario counts without a plugin.
const NO_COUNTS: &str =
    "see docs/troubleshooting.md, Preflight; without `count: true` the cell runs without a plugin";
/// The answers of a host whose cell has stopped early, in the cell's folder.
const DIAGNOSIS: &str = "diagnosis.txt";

/// A host, the link to its agent, and all that is known of the host.
pub(super) struct Session<'a> {
    pub(super) host: Host,
    pub(super) link: Link,
    /// For events of the host, and for those of the present cell.
    pub(super) log: EventLog,
    /// The nonce of the present cell.
    pub(super) nonce: u64,
    pub(super) deadlines: Deadlines,
    /// The known options of the host's kernel.
    pub(super) options: Options,
    /// The host's reports about itself so far.
    pub(super) around: Surroundings,
    pub(super) consoles: Consoles,
    /// For a mark among the agents' notices.
    notices: mpsc::Sender<AgentNotice>,
    kernel: &'a KernelFiles,
    /// The machine, with the devices of all cells that may come.
    machine: &'a scenario::Host,
    /// The present cell's, for consoles, logs and the diagnosis.
    folder: PathBuf,
    gdb_socket: Option<GdbSocket>,
    /// The facts of a saved host that goes on, for the first cell.
    pub(super) resumed: Option<SavedFacts>,
    /// The key under which the host is to be saved.
    saves: Option<SavedKey>,
    /// The host is becoming an object of the cache.
    keeping: Option<Keeping>,
    /// The host's console, which is only asked for unread bytes.
    console: OwnedFd,
}

impl<'a> Session<'a> {
    /// Makes a host that stands before its first instruction, and begins to watch it.
    pub(super) async fn prepare(
        shared: &Shared<'_>,
        CellPlace { planned, folder, log }: &CellPlace,
        kernel: &'a KernelFiles,
        shared_host: &'a SharedHost,
    ) -> Result<(Self, Watch), Stop> {
        let machine = shared_host.host();
        let (nonce, of_cell) = (nonce()?, self::nonce()?);
        let deadlines = match shared.operator {
            Some(operator) => operator.deadlines(shared.deadlines),
            None => shared.deadlines,
        };
        let (gdb_socket, listener) = gdb_socket(shared.operator, folder)?;
        let consoles = consoles(planned, kernel, folder, log, nonce)?;
        let (resumed, key) = saved::resume(shared, planned, kernel, machine, folder, nonce).await;
        let is_resumed = resumed.is_some();
        let Begun { host, mut link, console, notices, noticed, resumed } = match resumed {
            Some(resumed) => {
                consoles.put(&resumed.consoles).await.map_err(|error| Stop::disk(folder, error))?;
                resumed.begun
            }
            None => {
                let own = (planned.kernel.as_str(), kernel);
                let (host, streams) = host(shared, shared_host, own, folder, nonce, listener).await?;
                Begun::boots(host, streams, nonce)
            }
        };
        let unread = console.as_fd().try_clone_to_owned();
        let unread =
            unread.map_err(|error| Stop::lab(format!("cannot watch the host's console: {error}")))?;
        // From here on nothing fails: the session ends its host.
        log.event(environment(shared, machine, kernel, (&host, is_resumed)));
        match Machine::this() {
            Ok(machine) => log.event(Event::Machine { kind: machine.kind() }),
            Err(error) => tracing::warn!("the kind of this machine is not known: {error}"),
        }
        let ram = host.ram();
        log.event(Event::HostRam { start: ram.start, size: ram.end - ram.start });
        if !is_resumed {
            link.begin_cell(of_cell, planned.resolved.guests.keys().cloned().collect());
        }
        let session = Self {
            host,
            link,
            log: log.clone(),
            nonce: of_cell,
            deadlines,
            options: Options::default(),
            around: Surroundings {
                ram: std::iter::once(ram).collect(),
                gicv: virt::gicv(&planned.resolved.host),
                ..Surroundings::default()
            },
            consoles,
            notices,
            kernel,
            machine,
            folder: folder.clone(),
            gdb_socket,
            resumed,
            saves: key.filter(|_| !is_resumed),
            keeping: None,
            console: unread,
        };
        let watch = Watch::start(console, noticed, &session);
        Ok((session, watch))
    }

    /// Begins the next cell on a host that has served others. `console` is that of the host, of which
    /// nobody reads meanwhile; `note` is the first line of its part.
    pub(super) async fn begin_cell(
        &mut self,
        CellPlace { planned, folder, log }: &CellPlace,
        console: &mut Console,
        note: &str,
    ) -> Result<(), Stop> {
        let unkept = |error| Stop::disk(folder, error);
        console.begin_cell(folder, log.clone(), note).map_err(unkept)?;
        *self.consoles.guests.lock().await = guest_consoles(planned, folder, log, &self.consoles.switch)?;
        (self.nonce, self.log, self.folder) = (nonce()?, log.clone(), folder.clone());
        self.link.begin_cell(self.nonce, planned.resolved.guests.keys().cloned().collect());
        self.around.devices.clear();
        self.around.placed.clear();
        self.resumed = None;
        let cleared = self.host.clear_devices();
        cleared.map_err(|error| Stop::lab(format!("cannot clear the memory of the devices: {error}")))
    }

    /// Returns the selftests of the kernel's tree.
    pub(super) fn selftests(&self) -> &'a Selftests {
        &self.kernel.selftests
    }

    /// Waits until the consoles of the guests have everything that the host has sent.
    pub(super) async fn notices_read(&self) {
        let (mark, reached) = oneshot::channel();
        // Without the reader there is nothing to wait for.
        if self.notices.send(AgentNotice::Mark(mark)).await.is_ok() {
            let _ = reached.await;
        }
    }

    /// PCI address in the host of the port above a device of the present cell; the name of its flash.
    pub(super) fn port_of(&self, device: &str) -> Result<String, Stop> {
        if device == FLASH {
            return Ok(virt::FLASH_NAME.to_owned());
        }
        let index = self.machine.devices.keys().position(|name| name == device);
        let index = index.ok_or_else(|| Stop::lab(format!("the host has no device `{device}`")))?;
        Ok(self.host.port_address(index))
    }

    /// Looks for what the cell lacks. `boots`: before the first instruction of the host.
    pub(super) fn preflight(
        &mut self,
        planned: &PlannedCell,
        least_space: u64,
        boots: bool,
    ) -> Result<(), Stop> {
        let room = Room::of_machine(&self.folder)
            .map_err(|e| Stop::lab(format!("cannot learn about this machine: {e}")))?;
        if let Some(why) = self.host.trace().err().filter(|_| planned.resolved.host.counts()) {
            let what = format!("the scenario counts, and QEMU has no plugin: {why}");
            return Err(Stop::new(StopCause::Lacking, what).hint(NO_COUNTS));
        }
        let needs = Needs { memory: boots.then_some(self.machine), space: least_space };
        self.options = preflight::check(planned, self.kernel, self.host.lack(), room, needs)?;
        if let Some(socket) = self.gdb_socket.as_ref().filter(|_| boots) {
            socket.show(&planned.key, self.kernel);
        }
        Ok(())
    }

    /// From the first instruction to an agent that answers, and the map of the host's memory. A saved host has
    /// all that behind it.
    pub(super) async fn boot(&mut self) -> Result<(), Stop> {
        let loaded = match &self.resumed {
            Some(saved) => saved.loaded.clone(),
            // By the machine's own word, while nothing else has written to the memory.
            None => self.host.loaded().await?,
        };
        for part in loaded {
            self.log.event(Event::HostLoaded(part));
            self.around.loaded.push(part);
        }
        if self.resumed.is_none() {
            self.host.boot().await?;
        }
        let hello = self.link.hello(&Peer::Host, self.deadlines.of(Deadline::HostBoot)).await?;
        let Hello { release, page_size, taint, .. } = hello;
        self.log.event(Event::HostUp { release, page_size, taint });
        // By the word of the host, which has no guest yet.
        let memory = match &self.resumed {
            Some(saved) => saved.memory.clone(),
            None => self.ask_host(Memory {}, self.deadlines.of(Deadline::Request)).await?,
        };
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

    /// Returns the deadlines of a person's ssh.
    pub(super) fn ssh_patience(&self) -> SshPatience {
        let of = |deadline| self.deadlines.of(deadline);
        SshPatience { login: of(Deadline::Login), copy: of(Deadline::Copy) }
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
            Ok(Completion::Finished | Completion::Ready) => return,
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
        let kept = operator.keep(&planned.key, why, ssh, self.ssh_patience());
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
        saved::keep(self.keeping).await;
        facts.left = killed.err().map(|left| left.to_string());
        // The reader of the notices ends when nobody can send any.
        drop(self.notices);
        facts.troubles.extend(watch.finish().await);
        facts
    }
}
