//! INT, TERM and HUP: the first asks the run to end, a later one ends s2lab at once (and QEMU with
//! it).

use s2lab_os::outside::{self, kinds};
use std::{
    io,
    path::Path,
    sync::{Arc, OnceLock},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// A flag that the run was interrupted, with the signal. Clones are cheap.
#[derive(Clone)]
pub struct Interruption {
    signal: Arc<OnceLock<&'static str>>,
    flag: watch::Receiver<bool>,
}

impl Interruption {
    /// Begins to listen. It must be called inside of a tokio runtime.
    pub fn listen() -> io::Result<Self> {
        let name = Arc::new(OnceLock::new());
        let (sender, flag) = watch::channel(false);
        let signals = [
            ("SIGINT", SignalKind::interrupt()),
            ("SIGTERM", SignalKind::terminate()),
            ("SIGHUP", SignalKind::hangup()),
        ];
        let status = outside::read_text(Path::new("/proc/self/status"), kinds::SYSTEM).unwrap_or_default();
        // Under nohup, and in the background of some shells, the starter of s2lab wants it to stay.
        let heard = signals.into_iter().filter(|(_, number)| !is_ignored(&status, number.as_raw_value()));
        for (kind, number) in heard {
            tokio::spawn(on(kind, signal(number)?, number, Arc::clone(&name), sender.clone()));
        }
        Ok(Self { signal: name, flag })
    }

    /// Returns one that is never interrupted.
    #[cfg(test)]
    pub(crate) fn never() -> Self {
        Self { signal: Arc::default(), flag: watch::channel(false).1 }
    }

    /// Returns the first signal's name, once there was one.
    pub fn signal(&self) -> Option<&'static str> {
        self.signal.get().copied()
    }

    /// Resolves at the first signal.
    pub async fn interrupted(&self) {
        let mut flag = self.flag.clone();
        if flag.wait_for(|flag| *flag).await.is_err() {
            // The listeners end with the runtime; then nothing is interrupted any more.
            std::future::pending::<()>().await;
        }
    }
}

/// Returns true if a signal is ignored by `/proc/PID/status`: `SigIgn` is a mask, bit 0 for signal
/// 1 (proc_pid_status(5)).
pub fn is_ignored(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal - 1) & 1 == 1
}

async fn on(
    name: &'static str,
    mut stream: Signal,
    number: SignalKind,
    first: Arc<OnceLock<&'static str>>,
    sender: watch::Sender<bool>,
) {
    while stream.recv().await.is_some() {
        if first.set(name).is_err() {
            crate::host::ssh::restore();
            // Children carry a death signal, so nothing outlives this.
            std::process::exit(128 + number.as_raw_value());
        }
        sender.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_ignored_is_seen() {
        let status = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000002\n";
        assert!(is_ignored(status, 1) && !is_ignored(status, 2) && is_ignored(status, 13));
        assert!(!is_ignored("", 1) && !is_ignored("SigIgn:\tx\n", 1));
    }
}
