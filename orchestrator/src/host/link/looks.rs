//! The requests of a person in the host's shell for looks.

use super::state::{State, lock};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// A look that a person in the host's shell asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookRequest {
    pub id: u64,
    /// None: all guests.
    pub guest: Option<String>,
}

/// The requests as they come. The person has left every look but the newest.
pub struct LookRequests {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) changed: watch::Receiver<u64>,
}

impl LookRequests {
    /// Waits for the next request. The call may be dropped before its end.
    pub(crate) async fn next(&mut self) -> LookRequest {
        loop {
            self.changed.mark_unchanged();
            if let Some(request) = lock(&self.state).look.take() {
                return request;
            }
            if self.changed.changed().await.is_err() {
                // The link has ended, so nobody can ask any more.
                std::future::pending().await
            }
        }
    }
}
