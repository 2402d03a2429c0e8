//! What the cache tells whoever waits for it.

/// Receives what the cache is doing. Called from the cache's own threads, some ten times a second at most while
/// something is downloaded.
pub trait Progress: Send + Sync {
    /// A step began, or the cache waits for another process; `what` is a sentence without a full stop.
    fn step(&self, what: &str);

    /// `done` of `total` bytes of a download are here. `done == total` ends it.
    fn download(&self, what: &str, done: u64, total: u64);

    /// `done` of about `total` objects of a kernel are built; `total` 0: the build has ended, well or not.
    fn build(&self, _what: &str, _done: u64, _total: u64) {}

    /// Asked between steps and while waiting: true makes the cache give up with
    /// [`CacheError::Cancelled`](crate::CacheError::Cancelled), leaving nothing half-made.
    fn cancelled(&self) -> bool {
        false
    }
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn step(&self, _: &str) {}
    fn download(&self, _: &str, _: u64, _: u64) {}
}
