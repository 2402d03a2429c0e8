//! The state of the machine: running or stopped, its console, its memory, and the rest of its
//! script.

use crate::{
    Error,
    agent::{Agents, SavedAgents},
    argv::Options,
    memory::{Memory, RAM},
    plugin::Plugin,
    script::{Act, Moment, PluginAnswer, Script, Tlbi, Trouble},
    wire::Wire,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    os::{
        fd::{FromRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

pub(crate) struct Machine {
    pub(crate) options: Options,
    pub(crate) series: bool,
    /// See [`Script::agent`].
    pub(crate) agent: Option<PathBuf>,
    pub(crate) ram: Option<Memory>,
    /// The BARs by the devices' names. A device for selftests has none of a scenario's.
    pub(crate) bars: BTreeMap<String, Memory>,
    pub(crate) plugin: Option<Plugin>,
    troubles: Mutex<Vec<Trouble>>,
    console: Mutex<Option<UnixStream>>,
    pub(crate) state: Mutex<State>,
    changed: Condvar,
}

/// The state that changes while the machine runs.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) running: bool,
    /// True after the first `cont`.
    pub(crate) booted: bool,
    /// Registers of the vCPU that runs the held guest, if one is held.
    pub(crate) held: Option<BTreeMap<String, u64>>,
    /// The number of vCPUs of the held guest.
    pub(crate) vcpus: u32,
    /// The script's values for registers of its second vCPU.
    pub(crate) second_vcpu: BTreeMap<String, u64>,
    /// The number of stops since the guest is held.
    pub(crate) stops: u32,
    /// The script's values for registers.
    pub(crate) registers: BTreeMap<String, u64>,
    pub(crate) bar_leaf: Option<u64>,
    pub(crate) ram_leaf: Option<u64>,
    pub(crate) pokes: Vec<(u64, u64)>,
    pub(crate) misplaced: i64,
    /// True if virtual functions have 32-bit BARs.
    pub(crate) narrow: bool,
    pub(crate) other_flags: bool,
    pub(crate) stay_mapped: bool,
    /// The number of stops in which a guest that is held gets no CPU.
    pub(crate) without_cpu: u32,
    /// The devices that are out of their slots, by name.
    pub(crate) unplugged: BTreeSet<String>,
    /// The devices that were plugged while the machine ran.
    pub(crate) plugged: BTreeSet<String>,
    /// The frames between the host and the guest that has a virtual function.
    pub(crate) wire: Wire,
    pub(crate) muted: bool,
    /// True if the agent sends no heartbeat.
    pub(crate) heartless: bool,
    /// `/proc/sys/kernel/tainted` of the host.
    pub(crate) taint: u64,
    /// The tables that the host keeps when its guests are gone, in KiB.
    pub(crate) leaked: u64,
    /// The reason why the devices are not as a fresh boot has them.
    pub(crate) unclean: Option<String>,
    pub(crate) slow: Duration,
    /// True if the VMMs map BARs by pages only.
    pub(crate) vmm_pages: bool,
    /// The registers of a vCPU that runs the host's kernel, if it has a stage 2 of its own.
    pub(crate) host: BTreeMap<&'static str, u64>,
    /// The instructions after a reset, if they are not KVM's.
    pub(crate) invalidate: Option<Vec<Tlbi>>,
    /// The agents, once the machine has run.
    pub(crate) agents: Option<Agents>,
    /// The agents of the machine that was saved, until this one runs.
    pub(crate) saved: Option<SavedAgents>,
    /// True if the machine cannot be saved.
    pub(crate) unsavable: bool,
}

impl Machine {
    pub(crate) fn new(options: Options, script: Script) -> Result<Self, Error> {
        let open = |id: &str, start| {
            let found = options.memories.get(id);
            found.map(|(path, size)| Memory::open(path, *size, start)).transpose()
        };
        let ram = open("ram", RAM)?;
        if let Some(ram) = &ram {
            ram.load_image()?;
        }
        let mut bars = BTreeMap::new();
        for name in options.devices.keys() {
            bars.extend(open(&format!("bar-{name}"), 0)?.map(|bar| (name.clone(), bar)));
        }
        let plugin = options.plugin.as_deref();
        if let Some(value) = plugin.filter(|_| !script.plugin.is_some_and(PluginAnswer::takes)) {
            return Err(Error::Plugin(value.to_owned()));
        }
        let plugin = plugin.filter(|_| !options.questions).map(Plugin::start).transpose()?;
        let machine = Self {
            plugin,
            series: script.series,
            agent: script.agent,
            ram,
            bars,
            troubles: Mutex::new(script.troubles),
            console: Mutex::new(None),
            state: Mutex::default(),
            changed: Condvar::new(),
            options,
        };
        if !machine.options.questions {
            *lock(&machine.console) = Some(machine.channel("console")?);
        }
        Ok(machine)
    }

    /// Returns the descriptor of the character device `id`. Each may be taken once.
    pub(crate) fn channel(&self, id: &str) -> Result<UnixStream, Error> {
        let number = self.options.channels.get(id);
        let number = *number.ok_or_else(|| Error::Arguments(format!("no -chardev {id}")))?;
        // SAFETY: s2lab hands the descriptor over for this use alone, and each is taken once.
        let fd = unsafe { OwnedFd::from_raw_fd(number) };
        // A child of ours must not keep a channel open.
        let tied = rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC);
        tied.map_err(|why| Error::Io { what: format!("-chardev {id}"), why: why.into() })?;
        Ok(UnixStream::from(fd))
    }

    /// Applies the script's acts for the whole machine at a moment, and returns the others.
    pub(crate) fn trouble(&self, moment: &Moment) -> Vec<Act> {
        let mut due = vec![];
        lock(&self.troubles).retain_mut(|trouble| {
            let now = match (&trouble.at, moment) {
                (Moment::Gdb(start), Moment::Gdb(request)) => request.starts_with(start.as_str()),
                (at, moment) => at == moment,
            };
            if now && trouble.skip > 0 {
                trouble.skip -= 1;
                return true;
            }
            if now {
                due.push(trouble.act.clone());
            }
            !now
        });
        due.into_iter().filter_map(|act| self.perform(act)).collect()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(crate) fn set_running(&self, running: bool) {
        let mut state = self.lock();
        state.running = running;
        state.booted |= running;
        state.stops += u32::from(!running);
        self.changed.notify_all();
    }

    /// Waits while the machine is stopped.
    pub(crate) fn wait_until_running(&self) {
        let state = self.lock();
        drop(self.changed.wait_while(state, |state| !state.running).unwrap_or_else(PoisonError::into_inner));
    }

    /// Prints on the console. The bytes are lost if nobody listens, like with a real UART.
    pub(crate) fn print(&self, bytes: &[u8]) {
        if self.lock().muted {
            return;
        }
        if let Some(console) = lock(&self.console).as_mut() {
            let _ = console.write_all(bytes);
        }
    }

    /// Prints a line of the kernel's log.
    pub(crate) fn log(&self, line: &str) {
        self.print(format!("[    5.000000] {line}\r\n").as_bytes());
    }

    pub(crate) fn close_console(&self) {
        lock(&self.console).take();
    }

    /// Returns a second handle of the console.
    pub(crate) fn console(&self) -> Option<UnixStream> {
        lock(&self.console).as_ref()?.try_clone().ok()
    }

    pub(crate) fn bar_leaf(&self) -> u64 {
        let plain = if self.series { guest_tables::NORMAL_NC } else { guest_tables::DEVICE };
        self.lock().bar_leaf.unwrap_or(plain)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
