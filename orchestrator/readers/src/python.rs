//! Readers in Python: junitparser, kcidb_io, jsonschema, actionlint, and the kernel's own parser of KTAP. The
//! interpreter is the machine's.

use crate::{Failed, KIND, Missing, had, tools};
use s2lab_cache::{CacheError, SourcePackage};
use s2lab_model::kernel::{self, Provider, Version};
use s2lab_os::{
    child::{
        self,
        run::{self, Watch},
    },
    outside::{self, kinds},
};
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

const NAME: &str = "python";
const INTERPRETER: &str = "python3";
const REQUIREMENTS: &str = include_str!("../python/requirements.txt");
/// The longest silence of pip, which tries again by itself.
const SILENCE: Duration = Duration::from_secs(150);
/// The exit code of the scripts for a document that their reader refuses; that of an exception of
/// Python is 1.
const REFUSAL: i32 = 65;

/// Python with the packages of `requirements.txt`.
pub struct Python {
    packages: PathBuf,
}

/// A test as junitparser sees it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct JunitTest {
    pub suite: String,
    pub classname: String,
    pub name: String,
    /// The names of its result elements: `failure`, `skipped`, `error`, `flakyFailure`, ...
    pub results: Vec<String>,
    /// Its properties, in the form `name=value`.
    pub properties: Vec<String>,
}

impl Python {
    /// Returns the reader, which the first call fetches.
    pub fn get() -> Result<Self, Missing> {
        let version = ask(&["-c", "import sys; print(sys.version)"])?;
        let inputs = (REQUIREMENTS, version);
        let packages = had::cache(NAME)?.filled(KIND, NAME, &inputs, install);
        Ok(Self { packages: packages.map_err(had::missing(NAME))? })
    }

    /// Returns all tests that junitparser finds in a document.
    pub fn junit(&self, document: &Path) -> Result<Vec<JunitTest>, Failed> {
        self.read("junitparser", include_str!("../python/junit.py"), &[document])
    }

    /// Holds a document against the newest schema of kcidb_io, and returns the number of its tests.
    pub fn kcidb(&self, document: &Path) -> Result<usize, Failed> {
        self.read("kcidb_io", include_str!("../python/kcidb.py"), &[document])
    }

    /// Holds each line of `document`, or the whole, against a JSON schema, and returns the number of
    /// values.
    pub fn json_schema(&self, document: &Path, schema: &Path) -> Result<usize, Failed> {
        self.read("jsonschema", include_str!("../python/json_schema.py"), &[document, schema])
    }

    /// Holds a workflow of GitHub Actions against actionlint.
    pub fn actionlint(&self, workflow: &Path) -> Result<(), Failed> {
        self.read("actionlint", include_str!("../python/actionlint.py"), &[workflow])
    }

    /// Runs a script. The first of `arguments` is the document.
    fn read<T: DeserializeOwned>(
        &self,
        reader: &'static str,
        script: &str,
        arguments: &[&Path],
    ) -> Result<T, Failed> {
        let mut command = interpreter();
        command.env("PYTHONPATH", &self.packages).arg("-c").arg(script).args(arguments);
        run_script(reader, arguments, command)
    }
}

/// The parser of the kernel's `kunit.py`.
pub struct Kunit {
    folder: PathBuf,
}

/// A test as the kernel's parser sees it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct KunitTest {
    pub name: String,
    /// `SUCCESS`, `FAILURE`, `SKIPPED`, `TEST_CRASHED`, ...
    pub status: String,
    pub tests: Vec<KunitTest>,
}

/// The answer of the kernel's parser for a document.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct KunitAnswer {
    pub tests: Vec<KunitTest>,
    /// The number of errors in the document's form.
    pub errors: usize,
    /// The text that a person sees.
    pub said: String,
}

impl Kunit {
    const NAME: &str = "kunit";
    const FOLDER: &str = "tools/testing/kunit";
    /// The kernel of `images/kernels.yaml` whose source has the parser, and which tests build.
    const KERNEL: &str = "linux-6.12";

    /// Returns the reader. The first call fetches the kernel's source, unless the cache has it.
    pub fn get() -> Result<Self, Missing> {
        let missing = |why: &dyn ToString| Missing { reader: Self::NAME, why: why.to_string() };
        ask(&["-c", ""]).map_err(|error| missing(&error.why))?;
        let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images/kernels.yaml");
        let text = outside::read_text(&list, kinds::YAML).map_err(|error| missing(&error))?;
        let kernels = kernel::load("images/kernels.yaml", &text).map_err(|error| missing(&error))?;
        let listed = kernels.entries.get(Self::KERNEL).map(|kernel| &kernel.provider);
        let Some(Provider::Source(source)) = listed else {
            return Err(missing(&format!("{} is not built from a package", Self::KERNEL)));
        };
        let package = SourcePackage {
            package: source.package.name.clone(),
            version: match &source.package.version {
                Version::Fixed(version) => Some(version.clone()),
                Version::Newest => None,
            },
            suites: source.package.suites.clone(),
        };
        let files = had::cache(Self::NAME)?.source_files(&package, KIND, Self::FOLDER);
        Ok(Self { folder: files.map_err(had::missing(Self::NAME))? })
    }

    /// Returns the answer for a document.
    pub fn parse(&self, document: &Path) -> Result<KunitAnswer, Failed> {
        let mut command = interpreter();
        command.env("PYTHONPATH", &self.folder).arg("-c").arg(include_str!("../python/kunit.py"));
        command.arg(document);
        run_script("kunit_parser", &[document], command)
    }
}

/// Returns Python without the user's own packages, which writes no compiled files.
fn interpreter() -> Command {
    let mut command = child::command(INTERPRETER, child::PLAIN);
    command.args(["-s", "-B"]).env("PYTHONIOENCODING", "utf-8");
    command
}

fn run_script<T: DeserializeOwned>(
    reader: &'static str,
    arguments: &[&Path],
    command: Command,
) -> Result<T, Failed> {
    let document = arguments.first().copied().unwrap_or(Path::new(""));
    let text = tools::read(reader, document, command, &[REFUSAL])?;
    serde_json::from_str(&text).map_err(|error| Failed::broken(reader, format_args!("{error}: {text}")))
}

fn ask(arguments: &[&str]) -> Result<String, Missing> {
    let mut command = interpreter();
    command.args(arguments);
    let text = run::ask(command, "run the readers in Python", &|| false);
    let text = text.map_err(|error| Missing { reader: NAME, why: error.to_string() })?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Fills an object with the packages. pip takes only files with the listed digests.
fn install(into: &Path) -> Result<(), CacheError> {
    let requirements = into.join("requirements.txt");
    std::fs::write(&requirements, REQUIREMENTS).map_err(CacheError::io("cannot write", &requirements))?;
    let mut command = child::command(INTERPRETER, child::PIP);
    command.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]);
    command.args(["--no-deps", "--only-binary", ":all:", "--require-hashes", "--root-user-action", "ignore"]);
    command.arg("--target").arg(into).arg("--requirement").arg(&requirements);
    let purpose = "fetch the readers in Python".to_owned();
    let watch = Watch { purpose, silence: SILENCE, activity: &mut || 0, cancelled: &|| false };
    run::run(command, watch)?;
    Ok(())
}
