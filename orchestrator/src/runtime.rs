//! The asynchronous runtime: a fixed number of threads, all started before anything else.
//!
//! tokio panics if it cannot start a thread, takes the number of its workers from the environment,
//! and starts threads for blocking work when it needs them: a task for which there is none waits
//! for ever.

use s2lab_os::child::process::end_all;
use std::{
    future::Future,
    io,
    sync::{Arc, Barrier, mpsc},
    thread,
    time::Duration,
};
use tokio::runtime::{Builder, Runtime};

/// The least number of workers: a judgement takes one for seconds, and another receives signals.
const LEAST_WORKERS: usize = 2;
/// The largest number of workers: cells wait for QEMU more than they compute.
const MOST_WORKERS: usize = 8;
/// The threads for blocking work: the event log's writer, the cache's work, and one more of each.
const BLOCKING: usize = 4;
/// The life of an idle thread: until s2lab ends.
const FOR_EVER: Duration = Duration::from_secs(1 << 32);
/// The wait for blocking work that continues at the end: a file system may never answer.
const LEAVE: Duration = Duration::from_secs(1);

/// Address space for each thread, bytes: its stack of 2 MiB (Rust's default), its signal stack, and
/// as much again for the first buffers. Rust aborts where one of these fails after the thread has
/// begun.
const THREAD_SPACE: usize = 4 << 20;

/// The least number of pipes that must be available: tokio opens some of its own, and a cell has a
/// dozen for QEMU.
const PIPES: usize = 16;

/// The reason why there is no runtime.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}: {source}")]
pub struct NoRuntime {
    what: String,
    source: io::Error,
}

impl NoRuntime {
    /// Returns a hint for the user.
    pub fn hint(&self) -> Option<&'static str> {
        s2lab_os::limits::hint(&self.source)
    }
}

/// Runs `work` to its end, and waits until the processes that it has launched are gone. Blocking
/// work that it has left does not keep s2lab from ending.
///
/// # Errors
/// If the machine does not allow its threads and files.
pub fn block_on<T>(work: impl Future<Output = T>) -> Result<T, NoRuntime> {
    let runtime = start(thread::available_parallelism().map_or(LEAST_WORKERS, usize::from))?;
    let done = runtime.block_on(async {
        let done = work.await;
        if let Err(error) = end_all().await {
            tracing::error!("{error}");
        }
        done
    });
    runtime.shutdown_timeout(LEAVE);
    Ok(done)
}

fn start(cores: usize) -> Result<Runtime, NoRuntime> {
    let workers = cores.clamp(LEAST_WORKERS, MOST_WORKERS);
    let threads = workers + BLOCKING;
    let error = |what: String| move |source| NoRuntime { what, source };
    probe(threads).map_err(error(format!("start {threads} threads")))?;
    let pipes: io::Result<Vec<_>> = (0..PIPES).map(|_| io::pipe()).collect();
    drop(pipes.map_err(error(format!("open {} files", 2 * PIPES)))?);
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(workers).max_blocking_threads(BLOCKING).thread_keep_alive(FOR_EVER);
    let runtime = builder.enable_all().build().map_err(error("start".into()))?;
    // Each waits for the others, so each has a thread of its own.
    let all = Arc::new(Barrier::new(BLOCKING + 1));
    for _ in 0..BLOCKING {
        let all = Arc::clone(&all);
        runtime.spawn_blocking(move || all.wait());
    }
    all.wait();
    Ok(runtime)
}

/// Starts that many threads at once, and ends them.
fn probe(threads: usize) -> io::Result<()> {
    let mut space: Vec<u8> = vec![];
    space.try_reserve_exact(threads * THREAD_SPACE).map_err(|_| rustix::io::Errno::NOMEM)?;
    drop(space);
    let (end, ended) = mpsc::channel::<()>();
    let ended = Arc::new(std::sync::Mutex::new(ended));
    let mut started = vec![];
    let mut failed = Ok(());
    for _ in 0..threads {
        let ended = Arc::clone(&ended);
        // This holds nobody up: the channel's end wakes one after the other.
        let wait = move || drop(ended.lock().map(|ended| ended.recv()));
        match thread::Builder::new().name("probe".into()).spawn(wait) {
            Ok(thread) => started.push(thread),
            Err(error) => {
                failed = Err(error);
                break;
            }
        }
    }
    drop(end);
    for thread in started {
        // The threads do not panic.
        let _ = thread.join();
    }
    failed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocking_work_has_its_threads_and_holds_up_nobody() {
        let runtime = start(1).unwrap();
        assert_eq!(runtime.metrics().num_workers(), LEAST_WORKERS);
        drop(runtime);
        let (never, wait) = mpsc::channel::<()>();
        let one = block_on(async {
            drop(tokio::task::spawn_blocking(move || wait.recv()));
            tokio::task::spawn_blocking(|| 1).await.unwrap()
        });
        assert_eq!(one.unwrap(), 1);
        drop(never);
    }
}
