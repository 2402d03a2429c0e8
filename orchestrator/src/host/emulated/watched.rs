//! A process with a task that waits for it, makes its end known, and kills it.

use super::{orphans, process::Process};
use crate::host::ending::{Ended, Ending};
use std::{io, time::Duration};
use tokio::{sync::oneshot, task::JoinHandle};

/// A process that is waited for. Dropping it kills the process.
pub(super) struct Watched {
    pub(super) ending: Ending,
    /// Closing it is the request to kill.
    kill: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
    _remains: Remains,
}

/// The mark of a process and of all that it has started. Dropping it kills them at once, for the task takes its time.
struct Remains(String);

impl Drop for Remains {
    fn drop(&mut self) {
        orphans::kill_if(|mark| mark == self.0);
    }
}

impl Watched {
    /// `rest`: the longest time between the end of a channel and the end of the process.
    pub(super) fn new(mut process: Process, rest: Duration) -> Self {
        let remains = Remains(process.mark().into());
        let (announce, ending) = Ending::new(rest);
        let (kill, mut killed) = oneshot::channel();
        let task = tokio::spawn(async move {
            tokio::select! {
                biased;
                status = process.wait() => {
                    announce.send_replace(Some(Ended::from(status)));
                    let _ = killed.await;
                }
                _ = &mut killed => {}
            }
            process.kill().await
        });
        Self { ending, kill, task, _remains: remains }
    }

    /// Kills the process and all that it has started, and waits until they are gone. An error says what survived.
    pub(super) async fn kill(self) -> io::Result<()> {
        drop(self.kill);
        self.task.await.map_err(io::Error::other)?
    }
}
