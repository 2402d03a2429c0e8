//! A process with a task that waits for it, makes its end known, and kills it.

use super::{orphans, process::Process};
use crate::host::ending::{Ended, Ending};
use s2lab_os::waits::Followed;
use std::{io, time::Duration};
use tokio::{sync::oneshot, task::JoinHandle};

/// A process that is waited for. Dropping it kills the process.
pub(super) struct Watched {
    pub(super) ending: Ending,
    /// Closing it is the request to kill.
    kill: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
    _remains: Remains,
    _followed: Followed,
}

/// The mark of a process and of all that it has started. Dropping it kills them at once, for the
/// task takes its time.
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
        let followed = Followed::new(process.pid());
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
        Self { ending, kill, task, _remains: remains, _followed: followed }
    }

    /// Kills the process and all that it has started, and waits until they are gone. An error says
    /// what survived.
    pub(super) async fn kill(self) -> io::Result<()> {
        drop(self.kill);
        self.task.await.map_err(io::Error::other)?
    }
}

#[cfg(test)]
mod tests {
    use super::{super::process::Launcher, *};
    use rustix::process::{Pid, Signal, kill_process, test_kill_process};
    use std::process::Command;

    const REST: Duration = Duration::from_secs(10);

    async fn sleeper(launcher: &Launcher) -> (Watched, Pid) {
        let mut command = Command::new("sleep");
        command.arg("600");
        let process = launcher.launch(command, vec![]).await.unwrap();
        let pid = Pid::from_raw(process.pid()).unwrap();
        (Watched::new(process, REST), pid)
    }

    #[tokio::test]
    async fn an_end_that_comes_by_itself_is_known_and_a_kill_is_none() {
        let launcher = Launcher::start().unwrap();
        let (ended, pid) = sleeper(&launcher).await;
        kill_process(pid, Signal::ABORT).unwrap();
        ended.ending.settle().await;
        assert_eq!(ended.ending.now().unwrap().to_string(), "QEMU ended (signal: 6 (SIGABRT))");
        ended.kill().await.unwrap();
        let (killed, pid) = sleeper(&launcher).await;
        let ending = killed.ending.clone();
        killed.kill().await.unwrap();
        assert_eq!(ending.now(), None);
        assert!(test_kill_process(pid).is_err(), "it lives");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_dropped_is_dead_before_its_task_runs() {
        let launcher = Launcher::start().unwrap();
        let (dropped, pid) = sleeper(&launcher).await;
        drop(dropped);
        // No other task can run here, so nobody reaps it: it stays a zombie.
        let stat = || std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap();
        for _ in 0..200 {
            if stat().contains(") Z ") {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{}", stat());
    }
}
