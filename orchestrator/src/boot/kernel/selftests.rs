//! The selftests of a kernel's own tree that its cells ask for.

use super::{BUILT_HERE, cells_of, resolved::KernelRequest};
use s2lab_cache::{self as cache, Cache, CacheError, SelftestRequest};
use s2lab_model::{
    cell::ResolvedCell,
    diagnostic::suggest,
    event::PlannedCell,
    steps::{Selftest, Step, Suite, SuiteStep},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The names of tests, by their suites.
pub(in crate::boot) type Asked = BTreeMap<Suite, BTreeSet<String>>;

/// Selftests by their suites. A kernel whose tree is not known has none.
#[derive(Debug, Clone, Default)]
pub struct Selftests {
    suites: BTreeMap<Suite, Arc<Result<cache::Selftests, CacheError>>>,
}

/// The reason why a cell cannot run its selftests.
#[derive(Debug)]
pub enum SelftestLack {
    /// The tree of the kernel is not known.
    NoTree(Suite),
    /// The tree does not have the suite.
    NoSuite(Suite),
    /// The suite does not have the test; with a suggestion.
    NoTest { suite: Suite, test: String, help: String },
    /// They could not be built, for this reason.
    NotBuilt(String),
}

impl SelftestLack {
    /// Returns a hint.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            SelftestLack::NoTree(_) => Some(BUILT_HERE),
            SelftestLack::NoSuite(_) | SelftestLack::NoTest { .. } => {
                Some("take a kernel whose tree has it; see docs/programs.md")
            }
            SelftestLack::NotBuilt(_) => None,
        }
    }
}

impl fmt::Display for SelftestLack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SelftestLack::NoTree(suite) => {
                write!(f, "the kernel is not built here, so {suite} of its tree cannot be built either")
            }
            SelftestLack::NoSuite(suite) => write!(f, "the kernel's tree has no {suite}"),
            SelftestLack::NoTest { suite, test, help } => {
                write!(f, "{suite} of the kernel's tree have no test `{test}`; {help}")
            }
            SelftestLack::NotBuilt(why) => f.write_str(why),
        }
    }
}

/// Returns the tests that cells of a kernel ask for.
pub(in crate::boot) fn asked(cells: &[PlannedCell], kernel: &str) -> Asked {
    let mut asked = Asked::new();
    for cell in cells_of(cells, kernel) {
        for step in suites(&cell.resolved) {
            asked.entry(step.of).or_default().extend(step.tests().map(|test| test.name().to_owned()));
        }
    }
    asked
}

fn suites(cell: &ResolvedCell) -> impl Iterator<Item = &SuiteStep> {
    cell.steps.iter().filter_map(|step| match step {
        Step::Suite(step) => Some(step),
        _ => None,
    })
}

impl Selftests {
    /// Makes those of suites that were built, or could not be.
    pub fn of(suites: impl IntoIterator<Item = (Suite, Result<cache::Selftests, CacheError>)>) -> Self {
        Self { suites: suites.into_iter().map(|(suite, built)| (suite, Arc::new(built))).collect() }
    }

    /// Builds the tests that are asked for, if the kernel is built from a tree. What cannot be built is
    /// missing to its cells alone.
    ///
    /// # Errors
    /// [`CacheError::Cancelled`] alone.
    pub(in crate::boot) async fn built(
        cache: &Cache,
        kernel: &KernelRequest,
        asked: &Asked,
    ) -> Result<Selftests, CacheError> {
        let mut suites = vec![];
        let KernelRequest::Built(build) = kernel else { return Ok(Selftests::default()) };
        for (suite, tests) in asked {
            let request = SelftestRequest { folder: suite.folder(), libraries: suite.libraries(), tests };
            let built = match cache.selftests(build, request).await {
                Err(CacheError::Cancelled) => return Err(CacheError::Cancelled),
                built => built,
            };
            suites.push((*suite, built));
        }
        Ok(Selftests::of(suites))
    }

    /// Returns the program of a test.
    pub fn program(&self, suite: Suite, test: Selftest<'_>) -> Option<&Path> {
        let built = (**self.suites.get(&suite)?).as_ref().ok()?;
        built.programs.get(test.name()).map(PathBuf::as_path)
    }

    /// Returns the first thing that a cell lacks.
    pub(in crate::boot) fn lack(&self, cell: &ResolvedCell) -> Option<SelftestLack> {
        suites(cell).find_map(|step| self.lack_of(step))
    }

    fn lack_of(&self, step: &SuiteStep) -> Option<SelftestLack> {
        let suite = step.of;
        let known = match self.suites.get(&suite).map(|built| &**built) {
            None => return Some(SelftestLack::NoTree(suite)),
            Some(Err(error)) => return Some(SelftestLack::NotBuilt(error.to_string())),
            Some(Ok(built)) if built.known.is_empty() => return Some(SelftestLack::NoSuite(suite)),
            Some(Ok(built)) => &built.known,
        };
        let missing = step.tests().map(|test| test.name()).find(|name| !known.contains(*name))?;
        let help = suggest(missing, known.iter().map(String::as_str));
        Some(SelftestLack::NoTest { suite, test: missing.to_owned(), help })
    }
}
