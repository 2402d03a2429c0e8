//! The consoles of a cell, while it runs: read, kept, and what the cell must know told to it.

use super::{
    console::{Console, Heed},
    link::Heard,
    pulse::Pulse,
    stages::{Stop, room},
};
use s2lab_model::event::AlarmClass;
use std::{collections::BTreeMap, io};
use tokio::{io::AsyncReadExt, net::UnixStream, sync::mpsc};

/// Most remarks of the agents that are kept, and the longest, characters: they go to s2lab's own log.
const MAX_REMARKS: usize = 1000;
const MAX_REMARK: usize = 1000;

/// What a person does about a crash.
const CRASHED: &str =
    "the kernel under test crashed: crash.txt in the cell's folder has it, console.host.log what came before";
const GUEST_CRASHED: &str = "the guests' kernel is the same for all hosts: see crash.txt and the guest's console in the cell's \
                             folder, and whether the guest has enough `memory`";

/// Reads the host's console to its end.
pub(super) async fn read_console(mut stream: UnixStream, mut console: Console, told: Told) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        // An error is QEMU's end, like the end of the stream.
        let n = stream.read(&mut buffer).await.unwrap_or(0);
        if n == 0 {
            console.finish();
            return;
        }
        told.pulse.console();
        told.report(console.push(buffer.get(..n).unwrap_or_default()));
    }
}

/// Where the host's console is told of to the cell. Full or closed: the cell has heard of enough trouble already.
pub(super) struct Told {
    pub(super) trouble: mpsc::Sender<Stop>,
    /// Lines after which it is to be seen whether the host goes on.
    pub(super) stall: mpsc::Sender<String>,
    pub(super) pulse: Pulse,
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
pub(super) async fn hear(
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
