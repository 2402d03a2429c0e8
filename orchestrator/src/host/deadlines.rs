//! The deadlines of all waits for a host, in one table.

use std::{fmt, time::Duration};

/// A time that nobody waits for. Instants can still be that far away.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// The bounds of the factor, in tenths. A faster machine gets no shorter deadlines; a slower one
/// could not boot a host.
const LEAST: u64 = 10;
const MOST: u64 = 200;

/// The name of a wait that has a deadline. The order is that of [`TABLE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// From the start until QEMU has greeted, and its gdbstub has described the registers.
    Attach,
    /// One QMP command. QEMU answers from its main loop, at once; the deadline is for a machine
    /// that swaps.
    Qmp,
    /// One request to the gdbstub.
    Gdb,
    /// QEMU writes the state of a machine into a file, or reads it: some 300 MB.
    Save,
    /// From the host's first instruction to its agent's hello.
    HostBoot,
    /// One device's change of its driver.
    Bind,
    /// From the start of the VMM to the guest's hello.
    GuestBoot,
    /// A request that takes the agent some system calls.
    Request,
    /// The host's kernel, or the guest's VMM, releases a device: the driver of the slot waits 5 s first.
    Plug,
    /// A guest's accesses to a whole BAR, such as those of a store step: one stage-2 fault takes
    /// 0.25 ms, a BAR of 1 GiB in 4 KiB pages about 70 s.
    Store,
    /// A guest that stores or loads reports its progress once a second. After so long without progress it is
    /// taken to be stuck.
    Idle,
    /// All stops of one look.
    Look,
    /// One request that ends a guest or the host.
    ShutDown,
    /// The host's agent sends a heartbeat once a second (at most 1.03 s apart on a busy machine), and
    /// every 3 s during a request. After so long without one its kernel is taken to be stuck.
    Silence,
    /// A kernel that boots prints something about as often (3.3 s were the longest pause of 70
    /// boots on a busy machine: it unpacks the initramfs). After so long without a byte it is taken
    /// to wait for ever.
    BootSilence,
    /// The time after a stall or a hung task in which a live host shows progress. See
    /// `run/stuck.rs`.
    Stuck,
    /// An operator's login: dropbear makes its key then, on an emulated CPU.
    Login,
    /// The copy of one file of an operator by ssh.
    Copy,
    /// The answer of QEMU that it is alive, after something else has not answered in time.
    Alive,
    /// The rest of a crash, once its first line is there.
    Drain,
    /// The whole diagnosis of a host after its cell has stopped early.
    Diagnosis,
    /// The known end of a machine whose channel has closed, and the unread messages of an ended
    /// machine.
    Rest,
}

/// The other side of a wait. Every base is stretched by the machine's [`Factor`], for all sides are
/// emulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// QEMU itself, which answers whatever the host does.
    Qemu,
    /// The host and its guests: the deadline is switched off when a person stops and steps the host
    /// with gdb.
    Host,
    /// The rest of a cell that has stopped.
    Aftermath,
}

struct Row {
    deadline: Deadline,
    name: &'static str,
    /// The time on the reference machine, an order of magnitude above the need.
    seconds: u64,
    side: Side,
}

const fn row(deadline: Deadline, name: &'static str, seconds: u64, side: Side) -> Row {
    Row { deadline, name, seconds, side }
}

const TABLE: [Row; 22] = [
    row(Deadline::Attach, "attach", 60, Side::Qemu),
    row(Deadline::Qmp, "QMP", 20, Side::Qemu),
    row(Deadline::Gdb, "gdb", 10, Side::Qemu),
    row(Deadline::Save, "save", 60, Side::Qemu),
    row(Deadline::HostBoot, "host boot", 120, Side::Host),
    row(Deadline::Bind, "bind", 30, Side::Host),
    row(Deadline::GuestBoot, "guest boot", 180, Side::Host),
    row(Deadline::Request, "request", 30, Side::Host),
    row(Deadline::Plug, "plug", 60, Side::Host),
    row(Deadline::Store, "store", 300, Side::Host),
    row(Deadline::Idle, "idle", 8, Side::Host),
    row(Deadline::Look, "look", 60, Side::Host),
    row(Deadline::ShutDown, "shut down", 30, Side::Host),
    row(Deadline::Silence, "silence", 8, Side::Host),
    row(Deadline::BootSilence, "boot silence", 8, Side::Host),
    row(Deadline::Stuck, "stuck", 6, Side::Host),
    row(Deadline::Login, "login", 60, Side::Host),
    row(Deadline::Copy, "copy", 300, Side::Host),
    row(Deadline::Alive, "alive", 5, Side::Aftermath),
    row(Deadline::Drain, "drain", 3, Side::Aftermath),
    row(Deadline::Diagnosis, "diagnosis", 5, Side::Aftermath),
    row(Deadline::Rest, "rest", 2, Side::Aftermath),
];

// Each deadline has its row, in the order of the variants.
const _: () = {
    let mut at = 0;
    while at < TABLE.len() {
        assert!(TABLE[at].deadline as usize == at);
        at += 1;
    }
};

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(TABLE[*self as usize].name)
    }
}

/// The time of each wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines([Duration; TABLE.len()]);

impl Default for Deadlines {
    /// Returns the reference machine's deadlines.
    fn default() -> Self {
        Self(TABLE.map(|row| Duration::from_secs(row.seconds)))
    }
}

impl Deadlines {
    pub fn of(&self, deadline: Deadline) -> Duration {
        self.0[deadline as usize]
    }

    #[must_use]
    pub fn with(mut self, deadline: Deadline, time: Duration) -> Self {
        self.0[deadline as usize] = time;
        self
    }

    /// Returns the deadlines of a machine that takes `factor` times as long.
    #[must_use]
    pub fn times(self, factor: Factor) -> Self {
        Self(self.0.map(|base| factor.times(base)))
    }

    /// Returns the deadlines of a machine that a person stops and steps: only QEMU itself has
    /// deadlines.
    #[must_use]
    pub fn off(self) -> Self {
        let on_host = TABLE.iter().filter(|row| row.side == Side::Host);
        on_host.fold(self, |all, row| all.with(row.deadline, NEVER))
    }

    /// Sets all deadlines to `time`, except those after a cell has stopped.
    #[must_use]
    pub fn all(self, time: Duration) -> Self {
        let before = TABLE.iter().filter(|row| row.side != Side::Aftermath);
        before.fold(self, |all, row| all.with(row.deadline, time))
    }
}

/// The ratio of this machine's times to those of the reference machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Factor {
    tenths: u64,
}

impl Factor {
    /// Returns the factor of so many tenths, within bounds.
    pub fn of_tenths(tenths: u64) -> Self {
        Self { tenths: tenths.clamp(LEAST, MOST) }
    }

    /// Returns `base` on this machine.
    pub fn times(self, base: Duration) -> Duration {
        // The value is at most 200.
        let tenths = u32::try_from(self.tenths).unwrap_or(u32::MAX);
        base.saturating_mul(tenths) / 10
    }
}

impl Default for Factor {
    /// Returns the reference machine's factor.
    fn default() -> Self {
        Self { tenths: LEAST }
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.tenths / 10, self.tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_stretched() {
        let factor = Factor::of_tenths(13);
        assert_eq!(factor.times(Duration::from_secs(120)), Duration::from_secs(156));
        assert_eq!(Factor::default().times(Duration::from_secs(7)), Duration::from_secs(7));
        assert_eq!(factor.times(Duration::MAX), Duration::MAX / 10, "no overflow");
        let slow = Deadlines::default().times(factor);
        assert_eq!(slow.of(Deadline::Qmp), Duration::from_secs(26));
        assert_eq!(slow.of(Deadline::Rest), Duration::from_millis(2600));
    }

    #[test]
    fn a_person_at_gdb_stops_the_host_and_not_qemu() {
        let off = Deadlines::default().off();
        for host in [Deadline::HostBoot, Deadline::Look, Deadline::Stuck, Deadline::Login] {
            assert_eq!(off.of(host), NEVER, "{host}");
        }
        for other in [Deadline::Attach, Deadline::Qmp, Deadline::Gdb, Deadline::Diagnosis, Deadline::Rest] {
            assert_eq!(off.of(other), Deadlines::default().of(other), "{other}");
        }
    }
}
