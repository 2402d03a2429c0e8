//! The end of a machine.
//!
//! The task that waits for the machine's process makes the end known first. A channel that closes
//! gives it time to become known before its user makes an error, so that an error never hides the
//! end that has caused it.

use s2lab_os::waits::timeout;
use std::{fmt, io, process::ExitStatus, time::Duration};
use tokio::sync::watch;

/// The way in which a machine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    Exited(ExitStatus),
    /// Its process cannot be waited for, and why.
    Unknown(String),
}

impl From<io::Result<ExitStatus>> for Ended {
    fn from(waited: io::Result<ExitStatus>) -> Self {
        waited.map_or_else(|error| Self::Unknown(error.to_string()), Self::Exited)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "QEMU ended ({status})"),
            Self::Unknown(why) => write!(f, "QEMU cannot be waited for: {why}"),
        }
    }
}

/// A handle on the end of one machine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ending {
    ended: watch::Receiver<Option<Ended>>,
    /// The longest time between the end of a channel and the end of the machine.
    rest: Duration,
}

impl Ending {
    /// The end of a machine, and its sender.
    pub(super) fn new(rest: Duration) -> (watch::Sender<Option<Ended>>, Self) {
        let (announce, ended) = watch::channel(None);
        (announce, Self { ended, rest })
    }

    /// The end of something that is no machine: it never becomes known.
    pub fn unknown() -> Self {
        Self::new(Duration::ZERO).1
    }

    /// The end, if it is known. A machine that was killed has no end of its own.
    pub fn now(&self) -> Option<Ended> {
        self.ended.borrow().clone()
    }

    /// Resolves when the end is known; never if it will not be.
    pub async fn ended(&self) -> Ended {
        let mut ended = self.ended.clone();
        let known = ended.wait_for(Option::is_some).await.ok().and_then(|ended| ended.clone());
        match known {
            Some(ended) => ended,
            None => std::future::pending().await,
        }
    }

    /// Gives the end time to become known. A channel closes a moment before the process of its
    /// machine ends.
    pub async fn settle(&self) {
        let mut ended = self.ended.clone();
        let _ = timeout(self.rest, ended.wait_for(Option::is_some)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    const SHORT: Duration = Duration::from_millis(200);
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_channel_that_closes_learns_of_the_end_that_follows() {
        let (announce, ending) = Ending::new(LONG);
        assert_eq!(ending.now(), None);
        let asked = ending.clone();
        let channel = tokio::spawn(async move {
            asked.settle().await;
            asked.now()
        });
        tokio::time::sleep(SHORT / 4).await;
        announce.send_replace(Some(Ended::Exited(ExitStatus::from_raw(3 << 8))));
        let known = timeout(LONG, channel).await.unwrap().unwrap();
        assert_eq!(known.unwrap().to_string(), "QEMU ended (exit status: 3)");
        assert_eq!(timeout(LONG, ending.ended()).await.ok(), ending.now());
    }

    #[tokio::test]
    async fn a_machine_that_lives_costs_the_rest_and_one_without_a_process_nothing() {
        let (_announce, ending) = Ending::new(SHORT);
        let begin = s2lab_os::waits::now();
        ending.settle().await;
        assert!(begin.elapsed() >= SHORT && ending.now().is_none());
        timeout(SHORT, Ending::unknown().settle()).await.unwrap();
        assert!(timeout(SHORT, Ending::unknown().ended()).await.is_err(), "it never ends");
    }
}
