//! The messages between s2lab and its agents, on any byte stream.
//!
//! An agent runs as PID 1 in the host (L1) and in every guest (L2). s2lab talks to the host's agent
//! only; a frame whose [`Frame::to`] names a guest is passed on unread, and so is a guest's answer.
//! See `docs/formats.md`.

pub mod ask;
mod bar;
mod console;
mod dump;
pub mod ethernet;
mod frame;
mod kinds;
mod manner;
mod message;
mod names;
mod operations;
mod qemu;
mod quick;
pub mod trace;
mod vma;
mod windows;

pub use ask::{
    BoundDevice, CellRecord, Extent, FinalRecord, HOLD_REGISTER, HostMemory, Mapping, ProbeEnd, StoreResult,
    TableMemory, Vma, pattern,
};
pub use bar::Bar;
pub use console::{cell_line, test_line};
pub use frame::{Decoder, Frame, FrameError, MARK, MAX_PAYLOAD, Peer, VERSION, encode, version_in};
pub use kinds::{
    AssignKind, Barrier, By, CONTIGUOUS_PAGES, HUGE_PAGE, HypervisorType, MapKind, Order, ProbeKind, RamKind,
    UnknownMapKind, UnknownProbeKind, VmmKind,
};
pub use manner::{GRAIN, MOST_VCPUS, Manner, Misfit, Row, USUAL_SEED, WIDTHS, WORD};
pub use message::*;
pub use names::{AGENT_PORT, LONGEST_NAME, NAME_PATTERN, is_name, is_word};
pub use operations::{DeviceOperation, MemslotOperation};
pub use qemu::{AtStart, QEMU, SLOTS, qemu_arguments, qemu_device_add};
pub use quick::QUICK_BOOT;
pub use vma::{MODULE_DEVICE, MODULE_FILE, ModuleVma, Pgprot, VmaKind};
pub use windows::{BAR_WINDOWS, is_bar_place};
