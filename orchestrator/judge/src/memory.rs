//! The RAM of the machine in which the judge runs, as a file.

use s2lab_judge_records::{
    DONE, FAILED, Head, MOST_QUESTIONS, MOST_REGIMES, QUESTIONS, Question, RAM, RAM_SIZE, READY, REGIMES,
    Regime,
};
use s2lab_mmu::PhysMem;
use std::{cell::RefCell, collections::HashMap, fmt, fs::File, io, os::unix::fs::FileExt};

const PAGE: u64 = 4096;
const WORD: usize = size_of::<u64>();

/// The order to the judge: the seed, and the number of random regimes.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    pub seed: u64,
    pub rounds: u64,
    /// Leaves of stage 2 may refuse reads and writes.
    pub refusals: bool,
}

/// Writes the input of the judge into the RAM of its machine, which is zero otherwise.
pub fn prepare(ram: &File, order: &Order) -> io::Result<()> {
    ram.set_len(RAM_SIZE)?;
    let Order { seed, rounds, refusals } = *order;
    let words =
        [(Head::State, READY), (Head::Seed, seed), (Head::Rounds, rounds), (Head::Refusals, refusals.into())];
    for (head, word) in words {
        ram.write_all_at(&word.to_le_bytes(), head.at() - RAM)?;
    }
    Ok(())
}

/// The RAM, read by pages when they are needed. It does not change any more.
pub struct Ram {
    file: File,
    pages: RefCell<HashMap<u64, Box<[u8; PAGE as usize]>>>,
}

/// The reason why there are no answers.
#[derive(Debug)]
pub enum Unfinished {
    /// The judge gave up.
    GaveUp { failure: u64 },
    /// The judge has not written its end.
    Running { state: u64 },
    /// The head counts more than there is room for.
    Counts { regimes: u64, questions: u64 },
    /// The file cannot be read.
    Ram(UnreadableRam),
}

/// A word of RAM that cannot be read.
#[derive(Debug)]
pub struct UnreadableRam(pub u64);

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GaveUp { failure } => write!(f, "the judge gave up: line or ESR_EL2 {failure:#x}"),
            Self::Running { state } => write!(f, "the judge has not come to its end: state {state:#x}"),
            Self::Counts { regimes, questions } => write!(f, "{regimes} regimes, {questions} questions"),
            Self::Ram(UnreadableRam(at)) => write!(f, "cannot read the word of RAM at {at:#x}"),
        }
    }
}

impl Ram {
    /// Takes the file with the RAM.
    pub fn new(file: File) -> Self {
        Self { file, pages: RefCell::default() }
    }

    fn page(&self, page: u64) -> Option<Box<[u8; PAGE as usize]>> {
        let mut bytes = Box::new([0; PAGE as usize]);
        self.file.read_exact_at(&mut *bytes, page.checked_sub(RAM)?).ok()?;
        Some(bytes)
    }

    fn words<const N: usize>(&self, at: u64) -> Result<[u64; N], Unfinished> {
        let mut words = [0; N];
        for (n, word) in words.iter_mut().enumerate() {
            let at = at + (WORD * n) as u64;
            *word = self.read_u64(at).ok_or(Unfinished::Ram(UnreadableRam(at)))?;
        }
        Ok(words)
    }

    pub(crate) fn head(&self, head: Head) -> Result<u64, Unfinished> {
        self.words(head.at()).map(|[word]| word)
    }

    /// Returns the regimes and the questions.
    pub(crate) fn records(&self) -> Result<(Vec<Regime>, Vec<Question>), Unfinished> {
        match self.head(Head::State)? {
            DONE => {}
            FAILED => return Err(Unfinished::GaveUp { failure: self.head(Head::Failure)? }),
            state => return Err(Unfinished::Running { state }),
        }
        let (regimes, questions) = (self.head(Head::Regimes)?, self.head(Head::Questions)?);
        if regimes > MOST_REGIMES || questions > MOST_QUESTIONS {
            return Err(Unfinished::Counts { regimes, questions });
        }
        let at = |list: u64, n: u64, words: usize| list + n * (WORD * words) as u64;
        let regime = |n| self.words(at(REGIMES, n, Regime::WORDS)).map(Regime::of_words);
        let question = |n| self.words(at(QUESTIONS, n, Question::WORDS)).map(Question::of_words);
        Ok((
            (0..regimes).map(regime).collect::<Result<_, _>>()?,
            (0..questions).map(question).collect::<Result<_, _>>()?,
        ))
    }
}

impl PhysMem for Ram {
    fn read_u64(&self, pa: u64) -> Option<u64> {
        if !(RAM..RAM + RAM_SIZE).contains(&pa) {
            return None;
        }
        let (page, offset) = (pa - pa % PAGE, (pa % PAGE) as usize);
        if !self.pages.borrow().contains_key(&page) {
            let bytes = self.page(page)?;
            self.pages.borrow_mut().insert(page, bytes);
        }
        let pages = self.pages.borrow();
        Some(u64::from_le_bytes(*pages.get(&page)?.get(offset..)?.first_chunk()?))
    }
}
