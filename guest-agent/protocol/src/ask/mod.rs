//! The requests to an agent: one file a request, with its answer and the level that answers it.

mod attach;
mod bind;
mod device;
mod dump;
mod end_cell;
mod faults;
mod finish;
mod hold;
mod level;
mod load;
mod memory;
mod memslot;
mod probe;
mod put_program;
mod reset;
mod resume;
mod run_program;
mod show_tables;
mod start_guest;
mod stop_guest;
mod store;
mod stores;
mod transfer;
mod vma_flags;

pub use attach::Attach;
pub use bind::{Bind, BoundDevice};
pub use device::{Command, Device, DeviceDone, Plug};
pub use dump::{Dump, Dumped, DumpedRange};
pub use end_cell::{CellRecord, EndCell};
pub use faults::{Faulted, Faults, Pages};
pub use finish::{FinalRecord, Finish, TableMemory};
pub use hold::{HOLD_REGISTER, Held, Hold, Mapping, Release, VCPU_REGISTER};
pub use level::{AnyLevel, InGuest, InHost};
pub use load::{Load, Loaded};
pub use memory::{Extent, HostMemory, Memory};
pub use memslot::{Memslot, MemslotDone};
pub use probe::{Probe, ProbeDone, ProbeEnd};
pub use put_program::{ProgramPut, PutProgram};
pub use reset::{Reset, ResetDone};
pub use resume::Resume;
pub use run_program::{ProgramEnd, ProgramRun, RunProgram};
pub use show_tables::{LookEnd, ShowTables};
pub use start_guest::{AssignedDevice, GuestStarted, Joined, StartGuest};
pub use stop_guest::StopGuest;
pub use store::{Store, StoreResult, Stored, pattern};
pub use stores::{BeginStores, EndStores, StoresEnded};
pub use transfer::{Direction, Frames, Transfer, Transferred};
pub use vma_flags::{Vma, VmaFlags};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A request with the level that answers it and the answer's type.
pub trait Ask: Clone {
    /// [`HostRequest`] or [`GuestRequest`]: the other level cannot be asked.
    type Level: Into<Request>;
    type Answer: Serialize + DeserializeOwned;
    /// The request in messages to people.
    const DOING: &str;

    fn request(self) -> Self::Level;

    /// Returns the reason why `answer` is an answer to another request.
    fn mismatch(&self, answer: &Self::Answer) -> Option<&'static str> {
        let _ = answer;
        None
    }
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
    Attach(Attach),
    Bind(Bind),
    Device(Device),
    Dump(Dump),
    EndCell(EndCell),
    Faults(Faults),
    Finish(Finish),
    Frames(Frames),
    Memory(Memory),
    PutProgram(PutProgram),
    Reset(Reset),
    Resume(Resume),
    RunProgram(RunProgram),
    ShowTables(ShowTables),
    StartGuest(StartGuest),
    StopGuest(StopGuest),
    VmaFlags(VmaFlags),
}

/// The requests that a guest answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum GuestRequest {
    BeginStores(BeginStores),
    Command(Command),
    EndStores(EndStores),
    Hold(Hold),
    Load(Load),
    Memslot(Memslot),
    Plug(Plug),
    Probe(Probe),
    PutProgram(PutProgram),
    Release(Release),
    RunProgram(RunProgram),
    Store(Store),
    Transfer(Transfer),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bar, By, DeviceOperation, Manner, MapKind, MemslotOperation, Order, ProbeKind};

    const BAR: Bar = Bar { index: 2, start: 0x1000, size: 0x1000, prefetchable: true };

    /// Returns whether each answer fits to the request.
    fn fits<A: Ask, const N: usize>(ask: &A, answers: [A::Answer; N]) -> [bool; N] {
        answers.map(|answer| ask.mismatch(&answer).is_none())
    }

    #[test]
    fn an_answer_names_the_store_that_was_asked_for() {
        let (device, address, map) = ("nic".to_owned(), "0000:00:01.0".to_owned(), MapKind::Wc);
        let (by, manner) = (By::Str, Manner::default());
        let ask = Store { device, address: address.clone(), map, width: 8, by, manner, bytes: 64, seed: 1 };
        let result = StoreResult { bar: BAR, stores: 8, nanos: 1, first_difference: None };
        let right = Stored { map, width: 8, by, manner, bytes: 64, result };
        let other = Stored { map: MapKind::Device, ..right.clone() };
        let (wide, long) = (Stored { width: 16, ..right.clone() }, Stored { bytes: 128, ..right.clone() });
        let by = Stored { by: By::Stp, ..right.clone() };
        let order = Stored { manner: Manner { order: Order::Strided, ..manner }, ..right.clone() };
        let vcpus = Stored { manner: Manner { vcpus: 2, ..manner }, ..right.clone() };
        let answers = [right, other, wide, long, by, order, vcpus];
        assert_eq!(fits(&ask, answers), [true, false, false, false, false, false, false]);

        let kind = ProbeKind::Zva;
        let probe = Probe { address, map, kind, offset: 64 };
        let right = ProbeDone { map, kind, outcome: ProbeEnd::Ok };
        let other = ProbeDone { map: MapKind::Device, ..right.clone() };
        let store = ProbeDone { kind: ProbeKind::Store, ..right.clone() };
        assert_eq!(fits(&probe, [right, other, store]), [true, false, false]);
    }

    #[test]
    fn an_operation_is_that_which_was_asked_for() {
        let answers =
            [DeviceOperation::MemoryOff, DeviceOperation::PowerOff].map(|operation| DeviceDone { operation });
        let (guest, device, operation) = ("g0".to_owned(), "nic".to_owned(), DeviceOperation::MemoryOff);
        assert_eq!(fits(&Device { guest, device, operation }, answers), [true, false]);
        let (memslot, with) = (MemslotOperation::Log, None);
        let answers =
            [memslot, MemslotOperation::Add].map(|operation| MemslotDone { operation, errno: None });
        assert_eq!(fits(&Memslot { address: None, operation: memslot, with }, answers), [true, false]);
        let answers =
            [DeviceOperation::MemoryOff, DeviceOperation::PowerOff].map(|operation| DeviceDone { operation });
        assert_eq!(fits(&Command { address: "0000:00:01.0".into(), operation }, answers), [true, false]);
    }

    #[test]
    fn a_transfer_is_that_which_was_asked_for() {
        let (direction, bytes) = (Direction::Write, 4096);
        let ask = Transfer { address: "0000:00:01.0".into(), direction, bytes, seed: 1 };
        let right = Transferred { direction, bytes, first_difference: None };
        let read = Transferred { direction: Direction::Read, ..right.clone() };
        let long = Transferred { bytes: 8192, ..right.clone() };
        assert_eq!(fits(&ask, [right.clone(), read.clone(), long.clone()]), [true, false, false]);
        let frames = Frames { device: "nic".into(), direction, bytes, seed: 1 };
        assert_eq!(fits(&frames, [right, read, long]), [true, false, false]);
    }

    #[test]
    fn a_record_is_that_of_its_cell() {
        let record = |nonce| CellRecord { nonce, answered: 9, taint: Some(0), tables: None, unclean: None };
        assert_eq!(fits(&EndCell { nonce: 7, follows: true }, [record(7), record(8)]), [true, false]);
    }

    #[test]
    fn an_answer_has_the_digest_of_each_part_of_the_load_that_was_asked_for() {
        let (device, address, map) = ("nic".to_owned(), "0000:00:01.0".to_owned(), MapKind::Wc);
        let manner = Manner::default();
        let ask = Load { device, address, map, width: 8, manner, bytes: 128 };
        let right = Loaded { bar: BAR, map, width: 8, manner, bytes: 128, loads: 16, digests: vec![1, 2] };
        let other = Loaded { map: MapKind::Device, ..right.clone() };
        let (wide, long) = (Loaded { width: 64, ..right.clone() }, Loaded { bytes: 64, ..right.clone() });
        let (short, more) = (
            Loaded { digests: vec![1], ..right.clone() },
            Loaded { digests: vec![1, 2, 3], ..right.clone() },
        );
        let strided = Loaded { manner: Manner { order: Order::Strided, ..manner }, ..right.clone() };
        let answers = [right, other, wide, long, short, more, strided];
        assert_eq!(fits(&ask, answers), [true, false, false, false, false, false, false]);
    }

    #[test]
    fn a_guest_that_is_held_has_each_mapping_once() {
        let mapping = |map| Mapping { device: "nic".into(), map, va: 0x1000, bar: BAR, hypervisor: None };
        let held = |maps: &[MapKind]| {
            let mappings = maps.iter().copied().map(mapping).collect();
            Held { pid: 1, mappings, vcpus: 1 }
        };
        let answers = [held(&[]), held(&[MapKind::Wc, MapKind::Device]), held(&[MapKind::Wc, MapKind::Wc])];
        assert_eq!(fits(&Hold { nonce: 1 }, answers), [true, true, false]);
    }
}
