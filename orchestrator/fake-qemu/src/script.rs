//! Mistakes and their moments.

use crate::Error;
use s2lab_protocol::{Body, Failure, GuestEnd, Peer, ask::Ask};
use s2lab_trace::{INTERFACE, INTERFACES};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;

/// A script. The empty one is a good run on a kernel without the series.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// The kernel conveys and honours that a BAR may be Normal-NC.
    #[serde(default)]
    pub series: bool,
    /// The folder that is the `/` of a real agent, which serves the host. None: the script plays
    /// the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<PathBuf>,
    /// QEMU's answer to a plugin. None: s2lab has no plugin for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<PluginAnswer>,
    /// The troubles. Each happens once in a boot, at its first moment.
    #[serde(default)]
    pub troubles: Vec<Trouble>,
}

/// The answer of a QEMU to `-plugin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PluginAnswer {
    /// The plugin records what KVM does.
    Taken,
    /// The same, for a plugin that declares the last version of the interface that s2lab serves.
    TakenByTheNewest,
    /// QEMU ends with a message.
    Refused,
}

impl PluginAnswer {
    /// Returns true if QEMU takes a plugin that declares the version in the environment.
    pub(crate) fn takes(self) -> bool {
        let declared = || std::env::var(INTERFACE.to_str().ok()?).ok()?.parse().ok();
        match self {
            Self::Taken => declared() == INTERFACES.first().copied(),
            Self::TakenByTheNewest => declared() == INTERFACES.last().copied(),
            Self::Refused => false,
        }
    }
}

/// A TLBI instruction of the host's EL2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tlbi {
    pub word: u64,
    pub operand: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trouble {
    pub at: Moment,
    /// The number of such moments that pass before.
    #[serde(default)]
    pub skip: u32,
    pub act: Act,
}

/// The moment of an act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// QEMU without a machine is asked this QMP command; `greeting` is before the first.
    Question(String),
    /// QEMU with the machine has started; nothing is served yet.
    Start,
    /// The machine's QEMU is asked this QMP command; `greeting` is before the first.
    Qmp(String),
    /// The gdbstub is asked something that begins like this.
    Gdb(String),
    /// The host's kernel has printed its first lines; its agent is about to say hello.
    Hello,
    /// An agent gets this request, by the protocol's name: `bind`, `start-guest` ... `probe` is that
    /// of an unaligned store; others have their kind in the name, `probe-zva`.
    Request(String),
    /// A guest's agent is about to say hello.
    GuestHello,
    /// The host's agent has the whole text of a look that a person has asked for.
    LookShown,
}

/// An act. If an answer is due, it follows unless the act prevents it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// QEMU ends with this code.
    Exit(i32),
    /// QEMU sends this signal to itself.
    Signal(i32),
    /// QEMU ignores SIGTERM.
    IgnoreTerm,
    /// QEMU starts a process that stays.
    Child,
    /// QEMU starts a process that leaves its process group and its parent.
    Daemon,
    /// The server of this channel waits for ever.
    Hang,
    /// Waits for so many milliseconds.
    Wait(u64),
    /// From now on every answer of QMP and of the gdbstub takes so many milliseconds.
    Slow(u64),
    /// The console prints this and a line feed.
    Print(String),
    /// The console prints so many bytes as fast as they are read, beside everything else.
    Flood(u64),
    /// The console prints so many bytes as fast as they are read, before anything else goes on.
    FloodFirst(u64),
    /// The console is closed.
    CloseConsole,
    /// The console prints nothing any more.
    MuteConsole,
    /// The host's agent sends no heartbeat any more.
    StopBeating,
    /// This channel is closed.
    Close,
    /// These bytes come instead of the answer.
    Instead(String),
    /// These bytes come before the answer.
    Before(String),
    /// No answer comes, but the channel goes on.
    Ignore,
    /// The agent answers this.
    Answer(Result<Value, Failure>),
    /// The agent's next frame is invalid.
    Bend(Bend),
    /// The agent sends this first.
    Also(Peer, Body),
    /// The agent sends the same so many times first.
    Repeat(u32, Peer, Body),
    /// The guest of the request ends like this, and nothing is answered.
    GuestEnds(GuestEnd),
    /// A register of the vCPU that runs the guest has this value from now on.
    Register(String, u64),
    /// A register of the second vCPU of guests has this value from now on.
    SecondVcpu(String, u64),
    /// Leaves of BARs have these bits from now on, beside the address.
    BarLeaf(u64),
    /// Leaves of guests' RAM have these bits from now on, beside the address.
    RamLeaf(u64),
    /// This word of the host's memory is written over the page tables, whenever they are made.
    Poke { address: u64, word: u64 },
    /// After the final record, the machine is off in so many milliseconds.
    PowerOff(u64),
    /// This byte of every BAR and of every drive is inverted.
    Spoil(u64),
    /// QEMU reports the BARs so many bytes above the place in the host's kernel.
    Misplace(i64),
    /// QEMU takes the BARs of virtual functions for 32-bit ones.
    Narrow,
    /// The host's kernel is tainted like this from now on.
    Taint(u64),
    /// So many KiB of the guests' tables stay when the guests are gone.
    LeakTables(u64),
    /// The devices are not as a fresh boot has them when the present cell has ended, because of this.
    Unclean(String),
    /// The machine cannot be saved.
    Unsavable,
    /// Resets do nothing: BARs stay in the guests' stage 2.
    StayMapped,
    /// The flags of the VMM's VMAs contradict the kernel's traits.
    OtherFlags,
    /// A guest that is held gets no CPU in this number of stops.
    NoCpu(u32),
    /// The VMMs map BARs by 4 KiB pages, also those that the guests' stage 2 has in blocks.
    VmmPages,
    /// The host is in protected mode: its kernel runs under a stage 2 of its own.
    Protect,
    /// Resets are followed by these instructions in place of KVM's from now on.
    Invalidate(Vec<Tlbi>),
    /// The plugin's memory has this word.
    Trace { offset: u64, word: u64 },
}

/// The defect of a frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bend {
    Version(u16),
    Nonce,
    From(Peer),
    To(Peer),
    /// Sequence numbers continue from so much further.
    Skip(u64),
    /// It comes twice.
    Twice,
    /// Half of it comes, then the channel is closed.
    Torn,
    /// Half of it comes, and nothing else.
    Half,
    Checksum,
    /// Its payload is this.
    Payload(String),
    /// Its header claims so many bytes.
    Length(u32),
    /// A reply has an id that is so much higher.
    Id(u64),
}

impl Act {
    /// The agent answers a request `A` like this.
    pub fn answer<A: Ask>(answer: &A::Answer) -> Self {
        // An answer that cannot be written shows as one that is none.
        Act::Answer(Ok(serde_json::to_value(answer).unwrap_or_default()))
    }
}

impl Script {
    /// Returns a script with one act.
    pub fn with(at: Moment, act: Act) -> Self {
        Self::default().and(at, act)
    }

    /// Adds one more act.
    #[must_use]
    pub fn and(self, at: Moment, act: Act) -> Self {
        self.and_later(at, 0, act)
    }

    /// Adds one more act, after `skip` such moments.
    #[must_use]
    pub fn and_later(mut self, at: Moment, skip: u32, act: Act) -> Self {
        self.troubles.push(Trouble { at, skip, act });
        self
    }

    pub(crate) fn read(path: &str) -> Result<Self, Error> {
        let wrong = |why: String| Error::Script { path: path.to_owned(), why };
        let text = std::fs::read(path).map_err(|why| wrong(why.to_string()))?;
        serde_json::from_slice(&text).map_err(|why| wrong(why.to_string()))
    }
}
