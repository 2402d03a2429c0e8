//! The memory that the judge, a program at EL2, shares with its reader outside of the machine: its
//! input, the registers that it set, the questions that it asked, and the CPU's answers.
//!
//! All words are `u64`, little-endian. [`Head`] is at [`HEAD`]; its fields say how much follows.

#![no_std]

/// The first byte of RAM of QEMU's `virt` (QEMU 10.0, hw/arm/virt.c, `base_memmap`).
pub const RAM: u64 = 0x4000_0000;
/// The bytes of RAM that the judge needs.
pub const RAM_SIZE: u64 = 1 << 30;
/// The place of [`Head`]. QEMU puts its device tree into the first MiB.
pub const HEAD: u64 = RAM + (1 << 20);
/// The place of the list of [`Regime`]s.
pub const REGIMES: u64 = HEAD + 0x1000;
/// The place of the program, with its stack; `judge.ld` has it too.
pub const PROGRAM: u64 = RAM + (4 << 20);
/// The place of the list of [`Question`]s.
pub const QUESTIONS: u64 = RAM + (8 << 20);
/// The place of all tables, which fill the rest of RAM.
pub const TABLES: u64 = RAM + (64 << 20);
/// The most regimes.
pub const MOST_REGIMES: u64 = (PROGRAM - REGIMES) / (8 * Regime::WORDS as u64);
/// The most questions.
pub const MOST_QUESTIONS: u64 = (TABLES - QUESTIONS) / (8 * Question::WORDS as u64);

/// [`Head::state`]: "S2LAB" and the version of this layout. The reader writes it.
pub const READY: u64 = 0x5332_4c41_4200_0001;
/// [`Head::state`]: all questions are answered. The judge writes it last.
pub const DONE: u64 = READY | 1 << 15;
/// [`Head::state`]: the judge gave up, for the reason in [`Head::failure`].
pub const FAILED: u64 = READY | 1 << 14;

/// The head, by the names and places of its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Head {
    /// [`READY`], [`DONE`] or [`FAILED`].
    State,
    /// The seed of all that is random. The reader writes it.
    Seed,
    /// The number of random regimes. The reader writes it.
    Rounds,
    /// Not 0: leaves of stage 2 may refuse reads and writes. The reader writes it.
    Refusals,
    /// The number of [`Regime`]s.
    Regimes,
    /// The number of [`Question`]s.
    Questions,
    /// ID_AA64MMFR0_EL1.
    Features0,
    /// ID_AA64MMFR2_EL1.
    Features2,
    /// The line of the program's source at which it gave up, or the ESR_EL2 of an exception that it
    /// did not expect.
    Failure,
}

impl Head {
    /// The address of the word.
    pub const fn at(self) -> u64 {
        HEAD + 8 * self as u64
    }
}

/// The registers that decide a translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Regime {
    pub vttbr: u64,
    pub vtcr: u64,
    pub hcr: u64,
    pub ttbr0: u64,
    pub ttbr1: u64,
    pub tcr: u64,
    pub mair: u64,
    pub sctlr: u64,
}

impl Regime {
    /// The number of words.
    pub const WORDS: usize = 8;

    /// Returns the words in their order in memory.
    pub const fn words(&self) -> [u64; Self::WORDS] {
        let Self { vttbr, vtcr, hcr, ttbr0, ttbr1, tcr, mair, sctlr } = *self;
        [vttbr, vtcr, hcr, ttbr0, ttbr1, tcr, mair, sctlr]
    }

    /// Returns the regime with these words.
    pub const fn of_words(words: [u64; Self::WORDS]) -> Self {
        let [vttbr, vtcr, hcr, ttbr0, ttbr1, tcr, mair, sctlr] = words;
        Self { vttbr, vtcr, hcr, ttbr0, ttbr1, tcr, mair, sctlr }
    }
}

/// An access about which the CPU is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Access {
    /// AT S12E1R.
    Read,
    /// AT S12E1W.
    Write,
    /// AT S12E0R.
    UserRead,
    /// AT S12E0W.
    UserWrite,
    /// A load at EL1.
    Load,
    /// A store at EL1.
    Store,
    /// An instruction fetch at EL1.
    Fetch,
    /// A load at EL0.
    UserLoad,
    /// A store at EL0.
    UserStore,
    /// An instruction fetch at EL0.
    UserFetch,
}

impl Access {
    /// The address translation instructions.
    pub const ASKED: [Self; 4] = [Self::Read, Self::Write, Self::UserRead, Self::UserWrite];
    /// Real accesses.
    pub const TRIED: [Self; 6] =
        [Self::Load, Self::Store, Self::Fetch, Self::UserLoad, Self::UserStore, Self::UserFetch];

    /// Returns the access of this number.
    pub fn of(number: u64) -> Option<Self> {
        Self::ASKED.into_iter().chain(Self::TRIED).find(|access| *access as u64 == number)
    }

    /// Returns true for a real access.
    pub fn is_tried(self) -> bool {
        Self::TRIED.contains(&self)
    }
}

/// A question and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Question {
    /// The number of the regime, from bit 32 on the number of the [`Access`], and
    /// [`Question::ABORTED`].
    pub asked: u64,
    /// The virtual address.
    pub address: u64,
    /// PAR_EL1, or with [`Question::ABORTED`] ESR_EL2. Of a real access 0 if it was done, else the
    /// ESR of its exception, and [`Question::AT_EL1`].
    pub answer: u64,
}

impl Question {
    /// The number of words.
    pub const WORDS: usize = 3;
    /// Set in [`Question::asked`] if the instruction ended in an exception.
    pub const ABORTED: u64 = 1 << 40;
    /// Set in [`Question::answer`] if the exception was taken to EL1: stage 1 has refused the access.
    pub const AT_EL1: u64 = 1 << 63;

    /// Returns the question of these words.
    pub const fn of_words(words: [u64; Self::WORDS]) -> Self {
        let [asked, address, answer] = words;
        Self { asked, address, answer }
    }

    /// Returns the number of its regime.
    pub const fn regime(&self) -> u64 {
        self.asked & 0xffff_ffff
    }

    /// Returns the access, or None if its number is unknown.
    pub fn access(&self) -> Option<Access> {
        Access::of(self.asked >> 32 & 0xff)
    }

    /// Returns true if the answer is ESR_EL2.
    pub const fn is_aborted(&self) -> bool {
        self.asked & Self::ABORTED != 0
    }
}
