//! The watchers of a session: its consoles, the notices of its agents, its signs of life, and the
//! end of its machine.

use super::{
    conclusion::{Completion, Facts},
    console::{AlarmSwitch, Console},
    consoles::{ConsoleSinks, GuestConsoles, keep_notices, read_console},
    session::Session,
    stages::Stop,
    stuck::stuck,
};
use crate::host::{
    deadlines::{Deadline, Deadlines},
    ending::Ending,
    link::{AgentNotice, Liveness},
};
use s2lab_model::event::StopCause;
use s2lab_os::waits::timeout;
use std::{collections::BTreeMap, io, pin::Pin, sync::Arc};
use tokio::{
    net::UnixStream,
    sync::{Mutex, mpsc},
    task::JoinHandle,
};

/// The consoles of a session.
#[derive(Clone)]
pub(super) struct Consoles {
    pub(super) host: Arc<Mutex<Console>>,
    pub(super) guests: GuestConsoles,
    /// The switch for all of them.
    pub(super) switch: AlarmSwitch,
}

impl Consoles {
    /// Puts the consoles of a saved host before all that comes. They have no alarm.
    pub(super) async fn put(&self, saved: &BTreeMap<String, Vec<u8>>) -> io::Result<()> {
        let mut guests = self.guests.lock().await;
        for (name, bytes) in saved {
            match guests.get_mut(name) {
                Some(guest) => guest.push(bytes)?,
                None => self.host.lock().await.push(bytes)?,
            };
        }
        Ok(())
    }
}

/// The tasks and channels that watch a session.
pub(super) struct Watch {
    notices: ScopedTask,
    console: ScopedTask,
    troubles: mpsc::Receiver<Stop>,
    stalls: mpsc::Receiver<String>,
    liveness: Liveness,
    switch: AlarmSwitch,
    ending: Ending,
    deadlines: Deadlines,
}

impl Watch {
    /// Starts to read the host's console and the agents' notices.
    pub(super) fn start(
        stream: UnixStream,
        noticed: mpsc::Receiver<AgentNotice>,
        session: &Session<'_>,
    ) -> Self {
        let consoles = session.consoles.clone();
        let (trouble, troubles) = mpsc::channel(4);
        let (stall, stalls) = mpsc::channel(4);
        let liveness = session.link.liveness();
        let notices = ScopedTask(tokio::spawn(keep_notices(noticed, consoles.guests, trouble.clone())));
        let sinks = ConsoleSinks { trouble, stall, liveness: liveness.clone() };
        let console = ScopedTask(tokio::spawn(read_console(stream, consoles.host, sinks)));
        let (ending, deadlines) = (session.host.ending().clone(), session.deadlines);
        let switch = consoles.switch;
        Self { notices, console, troubles, stalls, liveness, switch, ending, deadlines }
    }

    /// Carries `work` out until it is done, or until something else ends it. None: the machine has
    /// ended, and the work did not notice. `alone`: a person in a shell may stop what they like, so
    /// nothing is stuck.
    pub(super) async fn race(
        &mut self,
        work: Pin<&mut impl Future<Output = Result<Completion, Stop>>>,
        cancel: &mut Cancel<'_, impl Future<Output = ()>>,
        alone: bool,
    ) -> Option<Result<Completion, Stop>> {
        let mut work = work;
        tokio::select! {
            biased;
            () = cancel.requested() => Some(Err(Stop::interrupted())),
            Some(stop) = self.troubles.recv() => Some(Err(stop)),
            done = &mut work => Some(done),
            stop = stuck(&self.liveness, self.deadlines, &mut self.stalls), if !alone => Some(Err(stop)),
            // What was said before the end is still on its way: all of it, or how a guest ended.
            _ = self.ending.ended() => timeout(self.deadlines.of(Deadline::Rest), work).await.ok(),
        }
    }

    /// All that is known of a cell whose work is over, after it had time to become known.
    pub(super) async fn facts(
        &mut self,
        work: Option<Result<Completion, Stop>>,
        session: &mut Session<'_>,
    ) -> Facts {
        let cause = work.as_ref().and_then(|work| work.as_ref().err()).map(|stop| stop.cause);
        let mut unwell = None;
        match cause {
            // A host that crashes has more to say.
            Some(StopCause::Kernel) => {
                let _ = timeout(self.deadlines.of(Deadline::Drain), self.ending.ended()).await;
            }
            Some(StopCause::Timeout) => {
                unwell = session.host.unwell(self.deadlines.of(Deadline::Alive)).await;
            }
            _ => {}
        }
        Facts { work, ended: self.ending.now(), unwell, troubles: self.troubles(), left: None }
    }

    /// The reports of the consoles that nobody has taken yet.
    pub(super) fn troubles(&mut self) -> Vec<Stop> {
        std::iter::from_fn(|| self.troubles.try_recv().ok()).collect()
    }

    /// Keeps the consoles from now on without looking for alarms.
    pub(super) fn ignore_alarms(&self) {
        self.switch.turn_off();
    }

    /// Reads what is left of a session whose machine is gone. The cell's last event must come after
    /// this.
    pub(super) async fn finish(mut self) -> Vec<Stop> {
        let rest = self.deadlines.of(Deadline::Rest);
        // A guest's last lines may explain its end.
        self.notices.finish(rest).await;
        // The console is read to its end.
        self.console.finish(rest).await;
        self.troubles()
    }
}

/// A task that ends with its owner, also if that panics.
struct ScopedTask(JoinHandle<()>);

impl ScopedTask {
    /// Waits for the task's end, and brings it about after `rest`.
    async fn finish(&mut self, rest: std::time::Duration) {
        if timeout(rest, &mut self.0).await.is_err() {
            self.0.abort();
            let _ = (&mut self.0).await;
        }
    }
}

impl Drop for ScopedTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The request to end a cell, which may be waited for again and again.
pub(super) struct Cancel<'a, F> {
    request: Pin<&'a mut F>,
    requested: bool,
}

impl<'a, F: Future<Output = ()>> Cancel<'a, F> {
    pub(super) fn new(request: Pin<&'a mut F>) -> Self {
        Self { request, requested: false }
    }

    /// Resolves once the cell is to end.
    pub(super) async fn requested(&mut self) {
        if !self.requested {
            self.request.as_mut().await;
            self.requested = true;
        }
    }

    pub(super) fn is_requested(&self) -> bool {
        self.requested
    }
}
