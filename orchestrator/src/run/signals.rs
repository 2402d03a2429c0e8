//! INT, TERM and HUP: the first asks the run to end, a later one ends s2lab at once (and QEMU dies with it).

use std::{
    io,
    sync::{Arc, OnceLock},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// Tells whether, and by what, the run was interrupted. Cheap to clone.
#[derive(Clone)]
pub struct Interruption {
    signal: Arc<OnceLock<&'static str>>,
    told: watch::Receiver<bool>,
}

impl Interruption {
    /// Begins to listen. Must be called inside of a tokio runtime.
    pub fn listen() -> io::Result<Self> {
        let name = Arc::new(OnceLock::new());
        let (tell, told) = watch::channel(false);
        let kinds = [
            ("SIGINT", SignalKind::interrupt()),
            ("SIGTERM", SignalKind::terminate()),
            ("SIGHUP", SignalKind::hangup()),
        ];
        for (kind, number) in kinds {
            tokio::spawn(on(kind, signal(number)?, number, Arc::clone(&name), tell.clone()));
        }
        Ok(Self { signal: name, told })
    }

    /// The first signal's name, once there was one.
    pub fn signal(&self) -> Option<&'static str> {
        self.signal.get().copied()
    }

    /// Resolves at the first signal.
    pub async fn interrupted(&self) {
        let mut told = self.told.clone();
        if told.wait_for(|told| *told).await.is_err() {
            // The listeners are gone with the runtime; then nothing is interrupted any more.
            std::future::pending::<()>().await;
        }
    }
}

async fn on(
    name: &'static str,
    mut stream: Signal,
    number: SignalKind,
    first: Arc<OnceLock<&'static str>>,
    tell: watch::Sender<bool>,
) {
    while stream.recv().await.is_some() {
        if first.set(name).is_err() {
            crate::ssh::restore();
            // Children carry a death signal, so nothing outlives this.
            std::process::exit(128 + number.as_raw_value());
        }
        tell.send_replace(true);
    }
}
