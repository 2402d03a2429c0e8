//! The table of faults.

mod agents;
mod channels;
mod consoles;
mod dma;
mod guests;
mod hosts;
mod hotplug;
mod isolation;
mod looks;
mod memslots;
mod modules;
mod process;
mod programs;
mod selftests;
mod tlbi;
mod whiles;

use crate::{
    agent,
    row::{Deadline, Row, fault, good},
};
use fake_qemu::script::{Act, Bend, Moment, PluginAnswer, Script, Tlbi};
use s2lab_model::event::Stage;
use s2lab_protocol::{
    Body, By, DeviceOperation, Facility, Failure, FailureKind, FinalRecord, GuestEnd, Hello, Level, Manner,
    MapKind, Mapping, Notice, Order, Peer, ProbeEnd, ProbeKind, StoreResult,
    ask::{
        Ask, Bind, CellRecord, Device, DeviceDone, Dump, Dumped, DumpedRange, EndCell, Faulted, Faults,
        Finish, Held, Hold, Load, Loaded, Memory, Pages, Probe, ProbeDone, Release, Reset, ResetDone, Store,
        Stored, VmaFlags,
    },
};

/// Rows that have something in common.
pub(crate) struct Group {
    pub(crate) title: &'static str,
    pub(crate) rows: Vec<Row>,
}

pub(crate) fn groups() -> Vec<Group> {
    let group = |title, rows| Group { title, rows };
    vec![
        group("Nothing that matters", process::good_runs()),
        group("QEMU's process", process::processes()),
        group("Preflight", process::preflight()),
        group("QMP", channels::qmp_channel()),
        group("The gdbstub", channels::gdb_channel()),
        group("Frames", agents::frames()),
        group("What agents answer", agents::answers()),
        group("Programs of the user's", programs::programs()),
        group("Selftests of the kernel's tree", selftests::selftests()),
        group("Guests", guests::guests()),
        group("What a look sees", looks::looks()),
        group("A host in protected mode", hosts::hosts()),
        group("What is not the guest's own", isolation::foreign()),
        group("Whether tables mean what they say", isolation::walked()),
        group("The host's memory", isolation::memory()),
        group("Bytes, places and flags", looks::evidence()),
        group("Memslots", memslots::memslots()),
        group("VMAs of s2lab's module", modules::modules()),
        group("Hot-plug", hotplug::hotplug()),
        group("DMA", dma::dma()),
        group("Virtual functions", dma::frames()),
        group("Stores while the host acts", whiles::whiles()),
        group("The VMM's own leaves", looks::own_leaves()),
        group("The trace of faults", looks::faults()),
        group("KVM's own dump", looks::dumps()),
        group("TLB invalidations", tlbi::invalidations()),
        group("The host's console", consoles::consoles()),
        group("The real agent", agent::rows()),
        group("Clocks", agents::clocks()),
    ]
}

fn request(name: &str) -> Moment {
    Moment::Request(name.into())
}

fn qmp(command: &str) -> Moment {
    Moment::Qmp(command.into())
}

fn gdb(request: &str) -> Moment {
    Moment::Gdb(request.into())
}

fn question(command: &str) -> Moment {
    Moment::Question(command.into())
}

fn print(text: &str) -> Act {
    Act::Print(text.into())
}

fn refuse(kind: FailureKind, message: &str) -> Act {
    Act::Answer(Err(Failure { kind, message: message.into() }))
}

fn guest() -> Peer {
    Peer::Guest("g0".into())
}

fn hello(level: Level) -> Body {
    let (release, page_size, uptime_ms) = ("6.12".into(), 4096, 1);
    Body::Notice(Notice::Hello(Hello { level, release, page_size, uptime_ms, taint: Some(0) }))
}

/// The numbers of signals, which are the same on all of s2lab's machines.
const SIGKILL: i32 = 9;
const SIGABRT: i32 = 6;
const SIGSTOP: i32 = 19;

/// The greeting of a QEMU whose gdbstub cannot serve.
const OLD_QEMU: &str = "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 4, \"minor\": 2, \"major\": 9}, \"package\": \"\"}, \
    \"capabilities\": []}}\n";

const PANIC: &str = "[    2.1] Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b";
