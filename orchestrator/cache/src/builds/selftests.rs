//! Selftests of a kernel's own tree, built as static programs for arm64.

mod libraries;

use crate::{
    Cache, KernelBuild,
    builds::{
        build::{BUILD_LOCK, LOCK_LIMIT, NAME_DIGITS, changes},
        kernel_tools::KernelTools,
        make::{Make, fits},
        source::Base,
    },
    debian::apt::Deb,
    error::{CacheError, Result},
    objects::{digest, lock, object::Building},
};
use libraries::Libraries;
use s2lab_model::program;
use s2lab_os::outside::{self, kinds};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

const KIND: &str = "selftests";
/// The version of the recipe, which is part of every object's digest.
const RECIPE: u32 = 1;
/// The folder of all suites in a tree.
const SUITES: &str = "tools/testing/selftests";
/// The file of an object with the names of all tests that the tree has, one a line.
const LIST: &str = "tests.txt";
/// A rule that prints the programs of a suite, which are made for the architecture of `ARCH`
/// (Linux 6.12 tools/testing/selftests/lib.mk).
const RULE: &str = "--eval=s2lab-tests:;@printf '%s\\n' $(TEST_GEN_PROGS)";
const RULE_NAME: &str = "s2lab-tests";
/// Static, because a host has no libraries, and without symbols for debuggers. In the environment, because
/// the Makefiles append to it.
const LINKING: (&str, &str) = ("LDFLAGS", "-static -s");

/// A request for selftests.
#[derive(Debug, Clone, Copy)]
pub struct SelftestRequest<'a> {
    /// The folder of the suite in the folder of all suites.
    pub folder: &'a str,
    /// The packages of Debian with the static libraries that it needs.
    pub libraries: &'a [&'a str],
    pub tests: &'a BTreeSet<String>,
}

/// Selftests that were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selftests {
    /// The programs of those that the tree has, by their names.
    pub programs: BTreeMap<String, PathBuf>,
    /// The names of all tests that the tree has. Empty: it does not have the suite.
    pub known: BTreeSet<String>,
}

/// All inputs that decide the bytes of the programs.
#[derive(Serialize)]
struct Inputs<'a> {
    recipe: u32,
    source: &'a str,
    /// The changes of the patches.
    changes: String,
    tools: &'a str,
    folder: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    libraries: &'a [Deb],
    tests: &'a BTreeSet<String>,
}

impl Cache {
    pub(crate) fn selftests_blocking(
        &self,
        build: &KernelBuild,
        request: SelftestRequest<'_>,
    ) -> Result<Selftests> {
        let SelftestRequest { folder, libraries, tests } = request;
        fits(&self.build_root())?;
        let base = self.source_base(&build.source)?;
        let plan = self.program_tools_plan()?;
        let libraries = self.libraries_plan(libraries)?;
        let inputs = Inputs {
            recipe: RECIPE,
            source: &base.digest,
            changes: changes(build),
            tools: &plan.digest,
            folder,
            libraries: &libraries.debs,
            tests,
        };
        let object = match self.objects.find(KIND, &base.name, &inputs)? {
            Some(object) => object,
            None => {
                // In the folder of the kernel's build.
                let lock = lock::path(self.objects.root(), BUILD_LOCK);
                let _lock = lock::acquire(&lock, "selftests", LOCK_LIMIT, &*self.progress)?;
                self.objects.get(KIND, &base.name, &inputs, |building| {
                    let tools = self.kernel_tools(&plan)?;
                    let libraries = self.libraries(&libraries)?;
                    let what = (request, libraries.as_ref());
                    self.make_selftests(building, (build, &base), &tools, &plan.digest, what)
                })?
            }
        };
        let list = outside::read_text(&object.path.join(LIST), kinds::NOTE)?;
        let known: BTreeSet<String> = list.lines().map(str::to_owned).collect();
        let there = tests.intersection(&known);
        let programs = there.map(|name| (name.clone(), object.path.join(name))).collect();
        Ok(Selftests { programs, known })
    }

    fn make_selftests(
        &self,
        building: &mut Building,
        (build, base): (&KernelBuild, &Base),
        tools: &KernelTools,
        tools_digest: &str,
        (SelftestRequest { folder, tests, .. }, libraries): (SelftestRequest<'_>, Option<&Libraries>),
    ) -> Result<()> {
        let room = self.prepared_folder(build, base)?;
        // make's notes of dependencies name the libraries' headers.
        let key = digest::inputs(&(KIND, tools_digest, RECIPE, libraries.map(Libraries::headers)))?;
        let what = format!("selftests of {}", build.name);
        let (source, out) = (room.source(), room.out(&key[..NAME_DIGITS]));
        let make = Make { what: &what, tools, source: &source, out: &out, progress: &*self.progress };
        make.begin()?;
        let programs = match source.join(SUITES).join(folder).join("Makefile").is_file() {
            true => Suite { make: &make, folder, libraries }.build(tests)?,
            false => BTreeMap::new(),
        };
        make.end()?;
        for (name, built) in programs.iter().filter(|(name, _)| tests.contains(*name)) {
            let bytes = outside::read(built, kinds::TEST_PROGRAM)?;
            program::check(&bytes).map_err(|unfit| CacheError::malformed(built.display(), unfit))?;
            write(&building.dir.join(name), &bytes)?;
        }
        let names: String = programs.keys().map(|name| format!("{name}\n")).collect();
        write(&building.dir.join(LIST), names.as_bytes())
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(CacheError::io("cannot write", path))
}

/// A suite that is built in a tree.
struct Suite<'a> {
    make: &'a Make<'a>,
    folder: &'a str,
    libraries: Option<&'a Libraries>,
}

impl Suite<'_> {
    /// Builds these tests, as far as the tree has them. Returns the files of all tests by their names,
    /// also of those that are not built.
    fn build(&self, tests: &BTreeSet<String>) -> Result<BTreeMap<String, PathBuf>> {
        let Make { what, progress, .. } = self.make;
        progress.step(&format!("building {what}, log in {}", self.make.log().display()));
        self.make.run(&["-s", "headers"], &[], &mut |_| {})?;
        // Generated headers go there, and not into the source (Linux 6.12 tools/arch/arm64/tools).
        let headers = self.make.out.join("tools");
        s2lab_os::private::make(&headers).map_err(CacheError::io("cannot create", &headers))?;
        let mut programs = BTreeMap::new();
        self.run(&["-s", RULE, RULE_NAME], &mut |line| {
            let path = Path::new(line);
            if let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|_| path.is_absolute())
            {
                programs.insert(name.to_owned(), path.to_owned());
            }
        })?;
        let due = programs.iter().filter(|(name, _)| tests.contains(*name));
        let targets: Vec<String> = due.map(|(_, path)| path.display().to_string()).collect();
        if !targets.is_empty() {
            self.run(&targets.iter().map(String::as_str).collect::<Vec<_>>(), &mut |_| {})?;
        }
        Ok(programs)
    }

    /// Runs make in the folder of the suite.
    fn run(&self, arguments: &[&str], line: &mut (dyn FnMut(&str) + Send)) -> Result<()> {
        let (out, folder) = (self.make.out.display(), self.folder);
        let places = [
            format!("{SUITES}/{folder}"),
            format!("OUTPUT={out}/{folder}"),
            format!("abs_objdir={out}"),
            format!("KHDR_INCLUDES=-isystem {out}/usr/include"),
        ];
        let all: Vec<&str> = ["-C"]
            .into_iter()
            .chain(places.iter().map(String::as_str))
            .chain(arguments.iter().copied())
            .collect();
        let (variable, linking) = LINKING;
        let linking = self
            .libraries
            .map_or(linking.to_owned(), |libraries| format!("{linking} {}", libraries.linking()));
        let headers = self.libraries.map(|libraries| (libraries::HEADERS, libraries.headers()));
        let variables: Vec<_> = headers.into_iter().chain([(variable, PathBuf::from(linking))]).collect();
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_path())).collect();
        self.make.run(&all, &variables, line)
    }
}

#[cfg(test)]
mod tests;
