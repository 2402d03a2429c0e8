//! The programs that read s2lab's outputs, for tests: each is an object of the cache, made on first
//! use without root rights, and nothing is installed on the machine.
//!
//! A reader that cannot be had is [`Missing`]. Where [`REQUIRED`] is set that fails the test.

mod browser;
mod had;
mod python;
mod tools;

pub use browser::{Browser, Page, View};
pub use had::{Missing, REQUIRED, is_required};
pub use python::{JunitTest, Kunit, KunitAnswer, KunitTest, Python};
pub use tools::{Jq, XmlLint};

use s2lab_os::child::run::RunError;

/// The kind of the readers' objects in the cache.
pub const KIND: &str = "reader";

/// The reason why a reader has no result: it does not run, or it refuses what it reads.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("{reader} refuses {what}:\n{said}")]
    Refused { reader: &'static str, what: String, said: String },
    #[error("{reader}: {why}")]
    Broken { reader: &'static str, why: String },
}

impl Failed {
    pub(crate) fn broken(reader: &'static str, why: impl ToString) -> Self {
        Self::Broken { reader, why: why.to_string() }
    }

    /// Returns true if the reader has read its input and found it wrong.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}
