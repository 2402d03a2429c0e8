//! The parts of a session's machine: QEMU, consoles, the socket of gdb, and the facts about them.

use super::super::{
    cell::Shared,
    console::{AlarmSwitch, Console},
    log::EventLog,
    operator::{CRASH_ENDS, GdbSocket, Operator},
    stages::Stop,
    watch::Consoles,
};
use crate::{
    boot::kernel::ready::KernelFiles,
    host::{Answers, Beginning, Host, Parts, Questions, Streams},
};
use s2lab_model::{
    event::{Event, PlannedCell},
    plan::SharedHost,
    record::environment,
    scenario,
};
use s2lab_protocol::QUICK_BOOT;
use std::{collections::BTreeMap, path::Path, sync::Arc};
use tokio::{net::UnixListener, sync::Mutex, task::block_in_place};

/// The hint if no socket for gdb can be made.
const NO_SOCKET: &str = "a socket's path has at most 107 bytes: give a shorter --out, or set XDG_RUNTIME_DIR";

/// Makes a host that stands before its first instruction.
pub(super) async fn host(
    shared: &Shared<'_>,
    host: &SharedHost,
    (name, kernel): (&str, &KernelFiles),
    folder: &Path,
    nonce: u64,
    gdb: Option<UnixListener>,
) -> Result<(Host, Streams), Stop> {
    let (runs_qemu, host) = (host.runs_qemu(), host.host());
    let kept = shared.boot.beside("answers");
    let questions = Questions {
        qemu: shared.qemu,
        cpu: &host.cpu,
        plugin: shared.boot.plugin(),
        deadlines: shared.deadlines,
        kept: kept.as_deref(),
    };
    // QEMU answers while the initramfs is made.
    let initramfs = async { block_in_place(|| shared.boot.initramfs(kernel, runs_qemu)) };
    let (answers, initramfs) = tokio::join!(biased; Host::ask(shared.launcher, &questions), initramfs);
    let own = [&host.arguments, shared.boot.arguments(name)].concat();
    let beginning = Beginning::Boot {
        kernel: &kernel.boot.image,
        initramfs: initramfs.map_err(|e| Stop::lab(format!("cannot make the host's initramfs: {e}")))?,
        kernel_arguments: &kernel_arguments(&format!("{nonce:016x}"), crash(shared), &own),
    };
    let parts = Parts { gdb, ..parts(shared, host, folder, beginning, answers?) };
    Ok(Host::prepare(shared.launcher, parts).await?)
}

/// Returns the parts of a host that no gdb attaches to.
pub(super) fn parts<'a>(
    shared: &Shared<'a>,
    host: &'a scenario::Host,
    folder: &'a Path,
    beginning: Beginning<'a>,
    answers: Answers,
) -> Parts<'a> {
    Parts {
        qemu: shared.qemu,
        host,
        beginning,
        folder,
        deadlines: shared.deadlines,
        gdb: None,
        plugin: shared.boot.plugin(),
        answers,
    }
}

/// Returns the arguments of the host's kernel about crashes.
pub(super) fn crash(shared: &Shared<'_>) -> &'static str {
    shared.operator.map_or(CRASH_ENDS, Operator::crash)
}

pub(super) fn gdb_socket(
    operator: Option<&Operator>,
    folder: &Path,
) -> Result<(Option<GdbSocket>, Option<UnixListener>), Stop> {
    match operator.map(|operator| operator.gdb_socket(folder)).transpose() {
        Ok(socket) => Ok(socket.flatten().unzip()),
        Err(error) => Err(Stop::lab(format!("no socket for gdb: {error}")).hint(NO_SOCKET)),
    }
}

pub(super) fn consoles(
    planned: &PlannedCell,
    kernel: &KernelFiles,
    folder: &Path,
    log: &EventLog,
    nonce: u64,
) -> Result<Consoles, Stop> {
    let switch = AlarmSwitch::default();
    let host = Console::create(folder, "host", log.clone(), switch.clone());
    let host = host.map_err(|error| Stop::disk(folder, error))?;
    let host = host.with_symbols(kernel.symbols.map.clone()).tested_by(s2lab_protocol::test_line(nonce));
    let guests = guest_consoles(planned, folder, log, &switch)?;
    Ok(Consoles { host: Arc::new(Mutex::new(host)), guests: Arc::new(Mutex::new(guests)), switch })
}

pub(super) fn guest_consoles(
    planned: &PlannedCell,
    folder: &Path,
    log: &EventLog,
    switch: &AlarmSwitch,
) -> Result<BTreeMap<String, Console>, Stop> {
    let guests = planned.resolved.guests.keys().map(|guest| {
        let console = Console::create(folder, guest, log.clone(), switch.clone());
        Ok((guest.clone(), console.map_err(|error| Stop::disk(folder, error))?))
    });
    guests.collect()
}

/// The kernel's command line. `crash`: what to do when the kernel crashes. `ignore_loglevel`:
/// neither configuration nor user space can keep a warning from the console
/// (kernel/printk/printk.c, suppress_message_printing). The rest shortens the boot and is for the agent. The
/// words of the scenario and of the kernel come last, so that they prevail.
pub fn kernel_arguments(nonce: &str, crash: &str, own: &[String]) -> String {
    let line =
        format!("console=ttyAMA0 ignore_loglevel {crash} {QUICK_BOOT} s2lab.level=host s2lab.nonce={nonce}");
    std::iter::once(line.as_str()).chain(own.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
}

pub(super) fn environment(
    shared: &Shared<'_>,
    machine: &scenario::Host,
    kernel: &KernelFiles,
    (host, is_resumed): (&Host, bool),
) -> Event {
    let blocking =
        [(environment::CPU, machine.cpu.clone()), (environment::ACCELERATOR, environment::TCG.to_owned())];
    let mut variable = shared.boot.facts(shared.qemu);
    variable.insert(environment::FACTOR.into(), shared.factor.to_string());
    if let Some(seed) = shared.seed {
        variable.insert(environment::ORDER.into(), format!("--shuffle={seed}"));
    }
    if is_resumed {
        variable.insert(environment::BOOT.into(), environment::RESUMED.into());
    }
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
