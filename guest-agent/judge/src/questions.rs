//! Questions to the CPU, and the notes of its answers in memory.

use crate::{features::Features, machine, ram, ram::Free, random::Random};
use s2lab_judge_records::{Access, Head, MOST_QUESTIONS, MOST_REGIMES, QUESTIONS, Question, REGIMES, Regime};

/// The state of the program.
pub(crate) struct Judge {
    pub(crate) features: Features,
    pub(crate) random: Random,
    pub(crate) free: Free,
    /// Leaves of stage 2 may refuse reads and writes.
    pub(crate) refusals: bool,
    regimes: u64,
    questions: u64,
}

impl Judge {
    pub(crate) fn new() -> Self {
        let (mmfr0, mmfr2) = machine::features();
        ram::set(Head::Features0.at(), mmfr0);
        ram::set(Head::Features2.at(), mmfr2);
        let seed = ram::word(Head::Seed.at());
        Self {
            features: Features::new(mmfr0, mmfr2),
            random: Random(seed),
            free: Free::all(),
            refusals: ram::word(Head::Refusals.at()) != 0,
            regimes: 0,
            questions: 0,
        }
    }

    /// Enters a regime, of which the next questions are. Returns false if there is no room for it.
    pub(crate) fn enter(&mut self, regime: &Regime) -> bool {
        if self.regimes == MOST_REGIMES {
            return false;
        }
        let kept = machine::enter(regime);
        for (n, word) in kept.words().into_iter().enumerate() {
            ram::set(REGIMES + 8 * (self.regimes * Regime::WORDS as u64 + n as u64), word);
        }
        self.regimes += 1;
        ram::set(Head::Regimes.at(), self.regimes);
        true
    }

    /// Asks how an access is translated.
    pub(crate) fn ask(&mut self, access: Access, address: u64) {
        match machine::ask(access, address) {
            Ok(par) => self.note(access, address, par, 0),
            Err(esr) => self.note(access, address, esr, Question::ABORTED),
        }
    }

    /// Notes an answer. Without room it is lost.
    pub(crate) fn note(&mut self, access: Access, address: u64, answer: u64, aborted: u64) {
        if self.questions == MOST_QUESTIONS {
            return;
        }
        let asked = (self.regimes - 1) | (access as u64) << 32 | aborted;
        for (n, word) in [asked, address, answer].into_iter().enumerate() {
            ram::set(QUESTIONS + 8 * (self.questions * Question::WORDS as u64 + n as u64), word);
        }
        self.questions += 1;
        ram::set(Head::Questions.at(), self.questions);
    }
}
