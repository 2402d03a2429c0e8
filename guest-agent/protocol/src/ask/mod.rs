//! The requests to an agent: one file a request, with its answer and the level that answers it.

mod bind;
mod finish;
mod hold;
mod load;
mod memory;
mod reset;
mod start_guest;
mod stop_guest;
mod store;
mod unaligned;
mod vma_flags;

pub use bind::{Bind, BoundDevice};
pub use finish::{FinalRecord, Finish};
pub use hold::{HOLD_REGISTER, Held, Hold, Mapping, Release};
pub use load::{Load, Loaded};
pub use memory::{Extent, HostMemory, Memory};
pub use reset::{Reset, ResetDone};
pub use start_guest::{AssignedDevice, GuestStarted, StartGuest};
pub use stop_guest::StopGuest;
pub use store::{Store, StoreResult, Stored, pattern};
pub use unaligned::{Unaligned, UnalignedOutcome, UnalignedStore};
pub use vma_flags::{Vma, VmaFlags};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A request with the level that answers it and the answer's type.
pub trait Ask: Sized {
    /// [`HostRequest`] or [`GuestRequest`]: the other level cannot be asked.
    type Level: Into<Request>;
    type Answer: Serialize + DeserializeOwned;
    /// The request in messages to people.
    const DOING: &str;

    fn request(self) -> Self::Level;
}

/// A request as it travels, with its level.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    Host(HostRequest),
    Guest(GuestRequest),
}

/// The requests that a host answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum HostRequest {
    Bind(Bind),
    Finish(Finish),
    Memory(Memory),
    Reset(Reset),
    StartGuest(StartGuest),
    StopGuest(StopGuest),
    VmaFlags(VmaFlags),
}

/// The requests that a guest answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum GuestRequest {
    Hold(Hold),
    Load(Load),
    Release(Release),
    Store(Store),
    Unaligned(Unaligned),
}

impl From<HostRequest> for Request {
    fn from(request: HostRequest) -> Self {
        Request::Host(request)
    }
}

impl From<GuestRequest> for Request {
    fn from(request: GuestRequest) -> Self {
        Request::Guest(request)
    }
}
