//! Preparations beside each other: downloads and unpacking in one lane, the agent's build in another. The
//! kernels that no cell begins with are prepared after that, beside the first cells.
//!
//! Offline, each lane finds by itself and at once what the cache does not have. No lane is cancelled for
//! that, so that the error is the same each time.

use s2lab_cache::{CacheError, Progress};
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// The progress of lanes that end together: if one fails, the others are cancelled.
pub struct Lanes {
    progress: Arc<dyn Progress>,
    /// One has failed, or nobody needs their work any more.
    failed: AtomicBool,
    /// The steps so far. One that both lanes report is printed once.
    steps: Mutex<BTreeSet<String>>,
}

impl Lanes {
    pub fn new(progress: Arc<dyn Progress>) -> Self {
        Self { progress, failed: AtomicBool::new(false), steps: Mutex::default() }
    }

    /// Cancels what is still at work.
    pub fn cancel(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// Carries both out at once; `other` begins. Returns when both have ended.
    ///
    /// # Errors
    /// The failure that ended them. If both failed by themselves, that of `one`.
    pub async fn both<A, B>(
        &self,
        one: impl Future<Output = Result<A, CacheError>>,
        other: impl Future<Output = Result<B, CacheError>>,
    ) -> Result<(A, B), CacheError> {
        let (other, one) = tokio::join!(self.lane(other), self.lane(one));
        match (one, other) {
            (Ok(one), Ok(other)) => Ok((one, other)),
            (Err(CacheError::Cancelled), Err(error)) | (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    async fn lane<T>(&self, work: impl Future<Output = Result<T, CacheError>>) -> Result<T, CacheError> {
        let done = work.await;
        if done.as_ref().is_err_and(|error| !matches!(error, CacheError::Offline { .. })) {
            self.cancel();
        }
        done
    }
}

impl Progress for Lanes {
    fn step(&self, what: &str) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        if steps.insert(what.to_owned()) {
            self.progress.step(what);
        }
    }

    fn download(&self, what: &str, done: u64, total: u64) {
        self.progress.download(what, done, total);
    }

    fn build(&self, what: &str, done: u64, total: u64) {
        self.progress.build(what, done, total);
    }

    fn idle(&self) {
        self.progress.idle();
    }

    fn cancelled(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || self.progress.cancelled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use s2lab_cache::Quiet;
    use std::future::poll_fn;
    use std::task::Poll;

    fn offline(missing: &str) -> CacheError {
        CacheError::Offline { missing: missing.into() }
    }

    fn fails(what: &str) -> CacheError {
        CacheError::Task(what.into())
    }

    fn run<T>(of: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(of)
    }

    #[test]
    fn both_are_at_work_at_once() {
        let lanes = Lanes::new(Arc::new(Quiet));
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let one = async { receiver.await.map_err(|_| offline("nobody sent")) };
        let other = async { sender.send(3).map_err(|_| offline("nobody waits")) };
        assert_eq!(run(lanes.both(one, other)).unwrap(), (3, ()));
        assert!(!lanes.cancelled());
    }

    #[test]
    fn the_failure_of_one_cancels_the_other_and_is_the_reported_one() {
        let lanes = Lanes::new(Arc::new(Quiet));
        // Like the cache, which asks now and then.
        let heeds = || {
            poll_fn(|context| {
                context.waker().wake_by_ref();
                if lanes.cancelled() {
                    Poll::Ready(Err::<(), _>(CacheError::Cancelled))
                } else {
                    Poll::Pending
                }
            })
        };
        let error = |done: Result<((), ()), CacheError>| match done {
            Err(CacheError::Offline { missing }) => missing,
            Err(CacheError::Task(what)) => what,
            other => format!("{other:?}"),
        };
        assert_eq!(error(run(lanes.both(heeds(), async { Err(fails("the agent")) }))), "the agent");
        let lanes = Lanes::new(Arc::new(Quiet));
        let both = lanes.both(async { Err(fails("QEMU")) }, async { Err(CacheError::Cancelled) });
        assert_eq!(error(run(both)), "QEMU");
        let lanes = Lanes::new(Arc::new(Quiet));
        let late = async {
            tokio::task::yield_now().await;
            if lanes.cancelled() { Err(CacheError::Cancelled) } else { Err(offline("QEMU")) }
        };
        let both = lanes.both(late, async { Err(offline("the agent")) });
        assert_eq!(error(run(both)), "QEMU", "offline no lane is cancelled");
    }
}
