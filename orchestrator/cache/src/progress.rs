//! Messages of the cache to its caller.

/// Receives the steps of the cache. The cache's own threads call it, at most some ten times a
/// second during a download.
pub trait Progress: Send + Sync {
    /// Reports that a step began, or that the cache waits for another process. `what` is a sentence
    /// without a full stop.
    fn step(&self, what: &str);

    /// Reports `done` of `total` bytes of a download. `done == total` ends it.
    fn download(&self, what: &str, done: u64, total: u64);

    /// Reports `done` of about `total` built objects. `total` 0 means that the build has ended,
    /// with or without success.
    fn build(&self, _what: &str, _done: u64, _total: u64) {}

    /// Reports that the cache has nothing to do any more: the last step has ended.
    fn idle(&self) {}

    /// Asked between steps and while waiting: true makes the cache give up with
    /// [`CacheError::Cancelled`](crate::CacheError::Cancelled), leaving nothing half-made.
    fn cancelled(&self) -> bool {
        false
    }
}

/// A progress that prints nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn step(&self, _: &str) {}
    fn download(&self, _: &str, _: u64, _: u64) {}
}
