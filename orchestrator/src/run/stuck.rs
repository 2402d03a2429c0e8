//! The check that a host is still alive, by its frames and its console.

use super::stages::Stop;
use crate::host::{
    deadlines::{Deadline, Deadlines},
    link::{LastHeard, Liveness},
};
use s2lab_os::waits::{self, Moment};
use std::time::Duration;
use tokio::{sync::mpsc, time::sleep};

/// The interval of the checks.
const INTERVAL: Duration = Duration::from_millis(200);
/// The hint for a kernel that is stuck.
const STUCK: &str =
    "the host's kernel is stuck: its console is console.host.log, what it said of it crash.txt";
/// The hint for a kernel that does not boot.
const NO_BOOT: &str =
    "the host's kernel waits for something while it boots: the end of console.host.log may say for what";

/// Resolves when waiting is useless: the host is silent for too long, or nothing has made progress
/// since its console reported that something is stuck (`lines`).
pub(super) async fn stuck(
    liveness: &Liveness,
    deadlines: Deadlines,
    lines: &mut mpsc::Receiver<String>,
) -> Stop {
    let mut stall: Option<Stall> = None;
    loop {
        sleep(INTERVAL).await;
        while let Ok(line) = lines.try_recv() {
            // Only the first one counts: a stall is reported again and again.
            stall.get_or_insert(Stall { since: waits::now(), line });
        }
        let signs = liveness.last_heard();
        // The judgement at the end counts that it was stuck.
        stall = stall.filter(|stall| !stall.is_over(signs, deadlines));
        let stalled = stall.as_ref().and_then(|stall| stall.stop(deadlines));
        let found = stalled.or_else(|| boot_silence(signs, deadlines)).or_else(|| silence(signs, deadlines));
        if let Some(stop) = found {
            return stop;
        }
    }
}

/// A stall that the host's console has reported.
struct Stall {
    since: Moment,
    line: String,
}

impl Stall {
    /// Returns true if the host has moved since.
    fn is_over(&self, signs: LastHeard, deadlines: Deadlines) -> bool {
        // Before there is an agent only the console can show that a boot continues, and lines
        // directly after the first one still belong to it.
        match signs.beat {
            Some(_) => signs.moved.is_some_and(|moved| moved > self.since),
            None => {
                let later = self.since + deadlines.of(Deadline::Stuck) / 2;
                signs.console.is_some_and(|said| said > later)
            }
        }
    }

    fn stop(&self, deadlines: Deadlines) -> Option<Stop> {
        let deadline = deadlines.of(Deadline::Stuck);
        let line = &self.line;
        let what = format!("console of host: {line}; nothing has moved for {deadline:?} since");
        (self.since.elapsed() > deadline).then(|| Stop::kernel(what).hint(STUCK))
    }
}

/// A kernel that boots and has stopped to print.
fn boot_silence(signs: LastHeard, deadlines: Deadlines) -> Option<Stop> {
    let deadline = deadlines.of(Deadline::BootSilence);
    let boots = signs.beat.is_none() && signs.moved.is_none();
    let silent = signs.console.is_some_and(|last| last.elapsed() > deadline);
    let what = format!("the host's console has printed nothing for {deadline:?}, and no agent runs yet");
    (boots && silent).then(|| Stop::timeout(what).hint(NO_BOOT))
}

/// An agent that sends no heartbeat any more, all of whose frames are noted.
fn silence(signs: LastHeard, deadlines: Deadlines) -> Option<Stop> {
    let deadline = deadlines.of(Deadline::Silence);
    let (last, uptime) = signs.beat?;
    let uptime = Duration::from_millis(uptime).as_secs();
    let what = format!(
        "the host's agent has been silent for {deadline:?}, since about {uptime} s after the host's start"
    );
    let is_due = !signs.reads && !signs.stands;
    (last.elapsed() > deadline && is_due).then(|| Stop::timeout(what).hint(STUCK))
}

#[cfg(test)]
mod tests {
    use super::*;
    use s2lab_model::event::StopCause;
    use s2lab_os::waits::timeout;
    use s2lab_protocol::Peer;

    const SHORT: Duration = Duration::from_millis(400);
    const LONG: Duration = Duration::from_secs(600);

    fn deadlines(silence: Duration, stuck: Duration) -> Deadlines {
        Deadlines::default().with(Deadline::Silence, silence).with(Deadline::Stuck, stuck)
    }

    /// Returns the stop, while the host sends heartbeats and something else makes progress as often
    /// as given.
    async fn stop(deadlines: Deadlines, beats: bool, moves: bool, line: Option<&str>) -> Option<Stop> {
        let liveness = Liveness::default();
        let (sender, mut lines) = mpsc::channel(4);
        liveness.frame(&Peer::Host, Some(1000));
        if let Some(line) = line {
            sender.send(line.into()).await.unwrap();
        }
        let heart = async {
            loop {
                sleep(Duration::from_millis(50)).await;
                if beats {
                    liveness.frame(&Peer::Host, Some(2000));
                }
                if moves {
                    liveness.frame(&Peer::Guest("g0".into()), Some(1));
                }
            }
        };
        tokio::select! {
            stop = timeout(Duration::from_secs(3), stuck(&liveness, deadlines, &mut lines)) => stop.ok(),
            () = heart => None,
        }
    }

    #[tokio::test]
    async fn a_silent_host_is_no_crash() {
        let found = stop(deadlines(SHORT, LONG), false, false, None).await.unwrap();
        assert_eq!(found.cause, StopCause::Timeout);
        assert!(found.what.contains("silent for 400ms, since about 1 s"), "{}", found.what);
        assert_eq!(stop(deadlines(SHORT, SHORT), true, false, None).await, None);
        assert_eq!(
            stop(deadlines(SHORT, SHORT), false, true, None).await,
            None,
            "all that is heard is a sign of life"
        );
    }

    #[tokio::test]
    async fn what_has_come_and_is_not_read_yet_is_no_silence() {
        let liveness = Liveness::default();
        let (_tell, mut lines) = mpsc::channel(1);
        liveness.frame(&Peer::Host, Some(1000));
        liveness.reading(true);
        let deadlines = deadlines(SHORT, LONG);
        assert!(timeout(SHORT * 3, stuck(&liveness, deadlines, &mut lines)).await.is_err());
        liveness.reading(false);
        assert!(timeout(SHORT, stuck(&liveness, deadlines, &mut lines)).await.is_ok());
    }

    #[tokio::test]
    async fn a_machine_that_s2lab_has_stopped_is_not_silent() {
        let liveness = Liveness::default();
        let (_tell, mut lines) = mpsc::channel(1);
        liveness.frame(&Peer::Host, Some(1000));
        liveness.stands(true);
        let deadlines = deadlines(SHORT, LONG);
        assert!(timeout(SHORT * 3, stuck(&liveness, deadlines, &mut lines)).await.is_err());
        liveness.stands(false);
        assert!(
            timeout(SHORT / 2, stuck(&liveness, deadlines, &mut lines)).await.is_err(),
            "it has just run on"
        );
        assert!(timeout(SHORT * 2, stuck(&liveness, deadlines, &mut lines)).await.is_ok());
    }

    #[tokio::test]
    async fn a_stall_ends_what_does_not_go_on() {
        let line = Some("rcu: INFO: rcu_preempt self-detected stall on CPU");
        let found = stop(deadlines(LONG, SHORT), true, false, line).await.unwrap();
        assert_eq!(found.cause, StopCause::Kernel);
        assert!(
            found.what.contains("self-detected stall on CPU; nothing has moved for 400ms"),
            "{}",
            found.what
        );
        assert_eq!(stop(deadlines(LONG, SHORT), true, true, line).await, None);
    }

    #[tokio::test]
    async fn a_boot_that_says_nothing_any_more_has_stopped() {
        let deadlines = deadlines(LONG, LONG).with(Deadline::BootSilence, SHORT);
        let (_tell, mut lines) = mpsc::channel(1);
        let liveness = Liveness::default();
        liveness.console();
        let found = timeout(SHORT * 5, stuck(&liveness, deadlines, &mut lines)).await.unwrap();
        assert_eq!(found.cause, StopCause::Timeout);
        assert!(found.what.contains("has printed nothing for 400ms"), "{}", found.what);
        // An agent that says hello has booted, whatever the console does.
        liveness.frame(&Peer::Host, None);
        assert!(timeout(SHORT * 3, stuck(&liveness, deadlines, &mut lines)).await.is_err());
    }

    #[tokio::test]
    async fn a_host_that_never_spoke_is_not_silent() {
        let (_tell, mut lines) = mpsc::channel(1);
        let watch =
            timeout(SHORT * 3, stuck(&Liveness::default(), deadlines(SHORT, SHORT), &mut lines)).await;
        assert!(watch.is_err(), "its boot has a deadline of its own");
    }
}
