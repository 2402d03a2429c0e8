//! Readers that can be had, and those that cannot.

use s2lab_cache::{Cache, CacheError, Progress};
use s2lab_os::private;
use std::{
    env,
    io::{self, Write},
    sync::Arc,
};

/// The variable that makes a missing reader an error: `required`. `.ci/run` sets it.
pub const REQUIRED: &str = "S2LAB_READERS";

/// A reader that cannot be had on this machine.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the reader {reader} cannot be had: {why}")]
pub struct Missing {
    pub reader: &'static str,
    pub why: String,
}

/// Returns true if a missing reader is an error: [`REQUIRED`] has a value.
pub fn is_required() -> bool {
    env::var_os(REQUIRED).is_some_and(|value| !value.is_empty())
}

/// Opens the user's cache. What it does is printed past the test's captured output: the first use
/// takes minutes.
pub(crate) fn cache(reader: &'static str) -> Result<Cache, Missing> {
    let missing = |why: &dyn ToString| Missing { reader, why: why.to_string() };
    let folder = private::cache(|name| env::var_os(name));
    let folder = folder.ok_or_else(|| missing(&"neither XDG_CACHE_HOME nor HOME is set"))?;
    Cache::open(&folder, false, Arc::new(Steps(reader))).map_err(|error| missing(&error))
}

/// Returns the reason why the cache has no such reader.
pub(crate) fn missing(reader: &'static str) -> impl Fn(CacheError) -> Missing {
    move |error| {
        let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
        Missing { reader, why: format!("{error}{hint}") }
    }
}

/// Prints the steps of the cache.
struct Steps(&'static str);

impl Progress for Steps {
    fn step(&self, what: &str) {
        // A closed stderr loses only the message.
        let _ = writeln!(io::stderr(), "{}: {what}", self.0);
    }

    fn download(&self, what: &str, done: u64, total: u64) {
        if done == 0 {
            self.step(&format!("fetching {what}, {} MB", total / 1_000_000));
        }
    }
}
