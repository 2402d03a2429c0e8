//! A session that begins with a saved host, and one whose host is saved.

use super::{
    Session,
    machine::{crash, parts},
};
use crate::{
    boot::kernel::ready::KernelFiles,
    host::{
        Beginning, Host, Streams,
        deadlines::Deadline,
        link::{AgentNotice, Link, ResumePatience, SavedLink},
    },
    run::{
        cell::Shared,
        saved::{Keeping, SavedFacts, SavedHost, SavedKey, SavedPlace, Unsaved},
    },
};
use rustix::io::ioctl_fionread;
use s2lab_model::{event::PlannedCell, plan::Key, scenario, steps::HOST};
use s2lab_os::waits::timeout;
use std::{collections::BTreeMap, path::Path, time::Duration};
use tokio::{net::UnixStream, sync::mpsc, time::sleep};

/// The notices of agents that wait to be read.
const NOTICES: usize = 64;
/// The number of stops until one is between two frames of the agents.
const STOPS: u32 = 5;
/// The time from a heartbeat to the stop: the next one is half a second away, and not under way.
const AFTER_A_BEAT: Duration = Duration::from_millis(500);
/// The time in which s2lab has read all that a machine has sent before it was stopped, and the interval of
/// the checks.
const SETTLES: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_millis(20);

/// A host and the channels to it.
pub(super) struct Begun {
    pub(super) host: Host,
    pub(super) link: Link,
    pub(super) console: UnixStream,
    pub(super) notices: mpsc::Sender<AgentNotice>,
    pub(super) noticed: mpsc::Receiver<AgentNotice>,
    /// The facts of a saved host, which goes on.
    pub(super) resumed: Option<SavedFacts>,
}

impl Begun {
    /// A host that stands before its first instruction.
    pub(super) fn boots(host: Host, Streams { console, agent }: Streams, nonce: u64) -> Self {
        let (notices, noticed) = mpsc::channel(NOTICES);
        let link = Link::start(agent, nonce, notices.clone(), host.ending().clone());
        Self { host, link, console, notices, noticed, resumed: None }
    }
}

/// A saved host that goes on.
pub(super) struct Resumed {
    pub(super) begun: Begun,
    /// Its consoles so far, by name.
    pub(super) consoles: BTreeMap<String, Vec<u8>>,
}

/// Returns the saved host of a cell, which goes on, and the key under which a new one is to be saved. `machine`
/// is that of all cells that the host is for.
pub(super) async fn resume(
    shared: &Shared<'_>,
    planned: &PlannedCell,
    kernel: &KernelFiles,
    machine: &scenario::Host,
    folder: &Path,
    nonce: u64,
) -> (Option<Resumed>, Option<SavedKey>) {
    let Some(saved) = shared.saved.filter(|_| *machine == planned.resolved.host) else { return (None, None) };
    let key = match saved.key(shared, planned, kernel, crash(shared)) {
        Ok(Some(key)) => key,
        Ok(None) => return (None, None),
        Err(why) => {
            tracing::warn!("{}: no saved host can be used: {why}", planned.key);
            return (None, None);
        }
    };
    match go_on(shared, &key, machine, folder, nonce).await {
        Ok(resumed) => (resumed, Some(key)),
        Err(why) => {
            tracing::warn!("{}: the saved host does not go on, and a new one boots: {why}", planned.key);
            key.discard().await;
            (None, Some(key))
        }
    }
}

/// Returns the saved host, if there is one, after its first heartbeat.
async fn go_on(
    shared: &Shared<'_>,
    key: &SavedKey,
    machine: &scenario::Host,
    folder: &Path,
    nonce: u64,
) -> Result<Option<Resumed>, Unsaved> {
    let Some(SavedHost { state, facts, consoles }) = key.find().await? else { return Ok(None) };
    let parts = parts(shared, machine, folder, Beginning::Saved(&state), facts.answers.clone());
    let (mut host, Streams { console, agent }) = Host::prepare(shared.launcher, parts).await?;
    let (notices, noticed) = mpsc::channel(NOTICES);
    let of = |deadline| shared.deadlines.of(deadline);
    let patience = ResumePatience { answer: of(Deadline::Request), heartbeat: of(Deadline::Silence) };
    let link = async {
        host.boot().await?;
        let ending = host.ending().clone();
        Ok(Link::resume(agent, &facts.link, nonce, notices.clone(), ending, patience).await?)
    };
    match link.await {
        Ok(link) => {
            let begun = Begun { host, link, console, notices, noticed, resumed: Some(facts) };
            Ok(Some(Resumed { begun, consoles }))
        }
        Err(why) => {
            if let Err(left) = host.kill().await {
                tracing::warn!("after a saved host: {left}");
            }
            Err(why)
        }
    }
}

/// Waits until a host that was saved is an object of the cache.
pub(super) async fn keep(keeping: Option<Keeping>) {
    let Some(keeping) = keeping else { return };
    if let Err(why) = keeping.done().await {
        tracing::warn!("a host is not saved: {why}");
    }
}

impl Session<'_> {
    /// Saves the host, whose guests are up, if it is to be saved. The cell goes on in any case.
    pub(in crate::run) async fn save(&mut self, cell: &Key) {
        let Some(key) = self.saves.take() else { return };
        match self.saved(&key).await {
            Ok(keeping) => self.keeping = keeping,
            Err(why) => tracing::warn!("{cell}: its host is not saved: {why}"),
        }
    }

    async fn saved(&mut self, key: &SavedKey) -> Result<Option<Keeping>, Unsaved> {
        self.console_is_tested().await?;
        let Some(place) = key.place().await? else {
            tracing::info!("another process saves the same host, or has done so");
            return Ok(None);
        };
        self.link.heartbeat(self.deadlines.of(Deadline::Silence)).await?;
        sleep(AFTER_A_BEAT).await;
        let liveness = self.link.liveness();
        liveness.stands(true);
        let written = self.write(&place).await;
        let goes_on = self.host.go_on().await;
        liveness.stands(false);
        let facts = written?;
        goes_on?;
        place.complete(&facts).map(Some)
    }

    /// Waits until the host's console has shown the agent's line, so that every line before it is there.
    async fn console_is_tested(&self) -> Result<(), Unsaved> {
        let tested = async {
            while !self.consoles.host.lock().await.is_tested() {
                sleep(AGAIN).await;
            }
        };
        let tested = timeout(self.deadlines.of(Deadline::Alive), tested).await;
        tested.map_err(|_| Unsaved::Other("its console has not shown the agent's line".into()))
    }

    /// Stops the machine, and writes it and all that is known of it.
    async fn write(&mut self, place: &SavedPlace) -> Result<SavedFacts, Unsaved> {
        let link = self.stop_between_frames().await?;
        self.notices_read().await;
        if self.has_alarms().await {
            return Err(Unsaved::Other("a console has an alarm".into()));
        }
        link.guests().chain([HOST]).try_for_each(|name| place.add_console(&self.folder, name))?;
        self.host.save(&place.state(), self.deadlines.of(Deadline::Save)).await?;
        let memory = self.around.memory.clone();
        let memory = memory.ok_or_else(|| Unsaved::Other("it has not described its memory".into()))?;
        let (loaded, devices) = (self.around.loaded.clone(), self.around.devices.clone());
        Ok(SavedFacts { link, answers: self.host.answers().clone(), loaded, memory, devices })
    }

    /// Stops the machine at a moment at which no frame is under way.
    async fn stop_between_frames(&mut self) -> Result<SavedLink, Unsaved> {
        for _ in 0..STOPS {
            self.host.stop().await?;
            if let Ok(link) = timeout(SETTLES, self.settled()).await {
                return Ok(link);
            }
            self.host.go_on().await?;
            sleep(AGAIN).await;
        }
        Err(Unsaved::Other(format!("in {STOPS} stops a frame of its agent was always under way")))
    }

    /// Waits until nothing that the stopped machine has sent is unread.
    async fn settled(&self) -> SavedLink {
        let mut before = None;
        loop {
            let console_is_read = ioctl_fionread(&self.console).is_ok_and(|bytes| bytes == 0);
            let link = self.link.saved().filter(|_| console_is_read);
            match (link, before) {
                (Some(link), Some(before)) if link == before => return link,
                (link, _) => before = link,
            }
            sleep(AGAIN).await;
        }
    }

    async fn has_alarms(&self) -> bool {
        let guests = self.consoles.guests.lock().await;
        self.consoles.host.lock().await.has_alarms() || guests.values().any(|guest| guest.has_alarms())
    }
}
