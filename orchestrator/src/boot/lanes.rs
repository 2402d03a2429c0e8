//! Preparations beside each other: downloads and unpacking in one lane, the agent's build in another.

use s2lab_cache::{CacheError, Progress};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// The progress of lanes that end together: if one fails, the others are cancelled.
pub struct Lanes {
    progress: Arc<dyn Progress>,
    failed: AtomicBool,
}

impl Lanes {
    pub fn new(progress: Arc<dyn Progress>) -> Self {
        Self { progress, failed: AtomicBool::new(false) }
    }

    /// Carries both out at once. Returns when both have ended.
    ///
    /// # Errors
    /// The failure that ended them. If both failed by themselves, that of `one`.
    pub async fn both<A, B>(
        &self,
        one: impl Future<Output = Result<A, CacheError>>,
        other: impl Future<Output = Result<B, CacheError>>,
    ) -> Result<(A, B), CacheError> {
        match tokio::join!(self.lane(one), self.lane(other)) {
            (Ok(one), Ok(other)) => Ok((one, other)),
            (Err(CacheError::Cancelled), Err(error)) | (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    async fn lane<T>(&self, work: impl Future<Output = Result<T, CacheError>>) -> Result<T, CacheError> {
        let done = work.await;
        if done.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        done
    }
}

impl Progress for Lanes {
    fn step(&self, what: &str) {
        self.progress.step(what);
    }

    fn download(&self, what: &str, done: u64, total: u64) {
        self.progress.download(what, done, total);
    }

    fn build(&self, what: &str, done: u64, total: u64) {
        self.progress.build(what, done, total);
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
        let fails = || async { Err::<(), _>(offline("the agent")) };
        let missing = |done: Result<((), ()), CacheError>| match done {
            Err(CacheError::Offline { missing }) => missing,
            other => format!("{other:?}"),
        };
        assert_eq!(missing(run(lanes.both(heeds(), fails()))), "the agent");
        let lanes = Lanes::new(Arc::new(Quiet));
        assert_eq!(missing(run(lanes.both(fails(), async { Err(CacheError::Cancelled) }))), "the agent");
    }
}
