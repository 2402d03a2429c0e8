//! Requests that both levels answer.

use super::{Ask, GuestRequest, HostRequest};
use serde::{Serialize, de::DeserializeOwned};

/// A request that a host and a guest answer in the same way.
pub trait AnyLevel: Clone {
    type Answer: Serialize + DeserializeOwned;
    /// Like [`Ask::DOING`].
    const DOING: &str;

    fn of_host(self) -> HostRequest;

    fn of_guest(self) -> GuestRequest;

    /// Like [`Ask::mismatch`].
    fn mismatch(&self, answer: &Self::Answer) -> Option<&'static str>;
}

/// The request to a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InHost<T>(pub T);

/// The request to a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InGuest<T>(pub T);

impl<T: AnyLevel> Ask for InHost<T> {
    type Level = HostRequest;
    type Answer = T::Answer;
    const DOING: &str = T::DOING;

    fn request(self) -> HostRequest {
        self.0.of_host()
    }

    fn mismatch(&self, answer: &T::Answer) -> Option<&'static str> {
        self.0.mismatch(answer)
    }
}

impl<T: AnyLevel> Ask for InGuest<T> {
    type Level = GuestRequest;
    type Answer = T::Answer;
    const DOING: &str = T::DOING;

    fn request(self) -> GuestRequest {
        self.0.of_guest()
    }

    fn mismatch(&self, answer: &T::Answer) -> Option<&'static str> {
        self.0.mismatch(answer)
    }
}
