//! The consoles of a running cell: they are read and kept, and their alarms go to the cell.

use super::{
    console::{Console, ConsoleAlarm},
    stages::{Stop, room},
};
use crate::host::link::{AgentNotice, Liveness};
use s2lab_model::event::AlarmClass;
use std::{collections::BTreeMap, io, sync::Arc};
use tokio::{
    io::AsyncReadExt,
    net::UnixStream,
    sync::{Mutex, mpsc},
};

/// The consoles of the present cell's guests, by name.
pub(super) type GuestConsoles = Arc<Mutex<BTreeMap<String, Console>>>;

/// The most remarks of the agents that are kept, and the longest in characters. They go to s2lab's
/// own log.
const MAX_REMARKS: usize = 1000;
const MAX_REMARK: usize = 1000;

/// The hint after a crash.
const CRASHED: &str =
    "the kernel under test crashed: crash.txt in the cell's folder has it, console.host.log what came before";
const GUEST_CRASHED: &str = "the guests' kernel is the same for all hosts: see crash.txt and the guest's console in the cell's \
                             folder, and whether the guest has enough `memory`";

/// Reads the host's console to its end.
pub(super) async fn read_console(mut stream: UnixStream, console: Arc<Mutex<Console>>, sinks: ConsoleSinks) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        // An error is QEMU's end, like the end of the stream.
        let n = stream.read(&mut buffer).await.unwrap_or(0);
        if n == 0 {
            console.lock().await.finish();
            sinks.liveness.console_closed();
            return;
        }
        sinks.liveness.console();
        sinks.report(console.lock().await.push(buffer.get(..n).unwrap_or_default()));
    }
}

/// The channels from the host's console to its cell. If one is full or closed, the cell has enough
/// trouble already.
pub(super) struct ConsoleSinks {
    pub(super) trouble: mpsc::Sender<Stop>,
    /// The lines after which the host may be stuck.
    pub(super) stall: mpsc::Sender<String>,
    pub(super) liveness: Liveness,
}

impl ConsoleSinks {
    fn report(&self, pushed: io::Result<Option<ConsoleAlarm>>) {
        match pushed {
            Ok(None) => {}
            Ok(Some(ConsoleAlarm::Fatal(_, line))) => {
                drop(self.trouble.try_send(Stop::kernel(format!("console of host: {line}")).hint(CRASHED)));
            }
            Ok(Some(ConsoleAlarm::Stuck(_, line))) => drop(self.stall.try_send(line)),
            Err(error) => drop(self.trouble.try_send(unkept("host", &error))),
        }
    }
}

fn unkept(who: &str, error: &io::Error) -> Stop {
    Stop { hint: room(error), ..Stop::lab(format!("cannot keep the console of {who}: {error}")) }
}

/// Returns the stop for a guest's alarm. All guests boot one fixed kernel that works on other
/// hosts, so a crash's cause is in the host.
fn guest_alarm(guest: &str, pushed: io::Result<Option<ConsoleAlarm>>) -> Option<Stop> {
    match pushed {
        Ok(Some(ConsoleAlarm::Fatal(class, line))) => {
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

/// Keeps the notices of the agents: the guests' consoles and remarks.
pub(super) async fn keep_notices(
    mut notices: mpsc::Receiver<AgentNotice>,
    consoles: GuestConsoles,
    trouble: mpsc::Sender<Stop>,
) {
    let mut remarks = 0;
    while let Some(notice) = notices.recv().await {
        match notice {
            AgentNotice::Console { guest, bytes } => {
                // The link passes on no other guests.
                if let Some(console) = consoles.lock().await.get_mut(&guest) {
                    // A failure is ignored: the cell already stops.
                    guest_alarm(&guest, console.push(&bytes)).map(|stop| trouble.try_send(stop));
                }
            }
            AgentNotice::Log { peer, text } if remarks < MAX_REMARKS => {
                remarks += 1;
                let text: String = text.chars().take(MAX_REMARK).collect();
                tracing::info!(%peer, text = text.escape_debug().to_string(), "agent")
            }
            AgentNotice::Log { .. } => {}
            // Who has left does not need it.
            AgentNotice::Mark(reached) => drop(reached.send(())),
            AgentNotice::Heartbeat { peer, uptime_ms, stored } => {
                tracing::trace!(%peer, uptime_ms, stored, "heartbeat");
            }
        }
    }
    consoles.lock().await.values_mut().for_each(Console::finish);
}
