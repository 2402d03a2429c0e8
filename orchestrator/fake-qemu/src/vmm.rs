//! QEMU in the host: it takes the real agent's command line and runs a silent guest.

use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Write},
    os::{
        fd::{FromRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    process::ExitCode,
};

/// The name under which a program is [`main`].
pub const NAME: &str = "qemu-system-aarch64";

/// Serves QMP until it gets `quit`. The guest's link stays open, and silent.
pub fn main() -> ExitCode {
    match serve() {
        Some(()) => ExitCode::SUCCESS,
        None => ExitCode::FAILURE,
    }
}

fn serve() -> Option<()> {
    // The end of the machine ends everything in it.
    let parent = rustix::process::getppid()?;
    rustix::process::setpgid(None, rustix::process::getpgid(Some(parent)).ok()).ok()?;
    let prefix = "socket,id=qmp,fd=";
    let number = std::env::args().find_map(|word| word.strip_prefix(prefix)?.parse().ok())?;
    // SAFETY: the agent hands the descriptor over for this use alone.
    let mut qmp = UnixStream::from(unsafe { OwnedFd::from_raw_fd(number) });
    let reading = qmp.try_clone().ok()?;
    let mut say = |value: Value| qmp.write_all(format!("{value}\r\n").as_bytes()).ok();
    say(
        json!({"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": "fake"}, "capabilities": []}}),
    )?;
    for line in BufReader::new(reading).lines().map_while(Result::ok) {
        let request: Value = serde_json::from_str(&line).ok()?;
        let answer = match request["execute"].as_str()? {
            "query-status" => json!({"running": true, "status": "running"}),
            _ => json!({}),
        };
        say(json!({"return": answer, "id": request["id"]}))?;
        if request["execute"] == "quit" {
            return Some(());
        }
    }
    None
}
