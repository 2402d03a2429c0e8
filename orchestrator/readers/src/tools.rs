//! xmllint and jq of Debian.

use crate::{Failed, KIND, Missing, had};
use s2lab_cache::{DebianPrograms, Programs};
use s2lab_os::child::run::{self, Watch};
use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

/// The longest time for a document.
const SILENCE: Duration = Duration::from_secs(60);

/// The dependencies that no program here needs: glibc is the machine's.
const WITHOUT: [&str; 3] = ["libc6", "debconf", "libxml2-dev"];

/// xmllint, which holds a document against a schema.
pub struct XmlLint(Programs);

impl XmlLint {
    const NAME: &str = "xmllint";
    const PROGRAM: &str = "usr/bin/xmllint";
    /// Not well-formed, not valid (xmllint(1), "DIAGNOSTICS").
    const REFUSALS: [i32; 3] = [1, 3, 4];

    /// Returns the reader, which the first call fetches.
    pub fn get() -> Result<Self, Missing> {
        unpacked(Self::NAME, "libxml2-utils", Self::PROGRAM).map(Self)
    }

    /// Holds `document` against the XML schema `schema`. Nothing is read from the network.
    ///
    /// # Errors
    /// [`Failed::Refused`] if it is not valid, with xmllint's reasons.
    pub fn validate(&self, document: &Path, schema: &Path) -> Result<(), Failed> {
        let mut command = self.0.command(Self::PROGRAM);
        command.args(["--noout", "--nonet", "--schema"]).arg(schema).arg(document);
        read(Self::NAME, document, command, &Self::REFUSALS).map(drop)
    }
}

/// jq, which reads JSON documents as users' scripts do.
pub struct Jq(Programs);

impl Jq {
    const NAME: &str = "jq";
    const PROGRAM: &str = "usr/bin/jq";
    /// Not JSON, cut off before the first result, a failure of the filter (jq 1.6, `main.c`).
    const REFUSALS: [i32; 3] = [2, 4, 5];

    /// Returns the reader, which the first call fetches.
    pub fn get() -> Result<Self, Missing> {
        unpacked(Self::NAME, "jq", Self::PROGRAM).map(Self)
    }

    /// Returns the results of `filter` for `document`, as compact JSON, a value a line.
    ///
    /// # Errors
    /// [`Failed::Refused`] if it is not JSON, or the filter fails on it.
    pub fn ask(&self, document: &Path, filter: &str) -> Result<String, Failed> {
        let mut command = self.0.command(Self::PROGRAM);
        command.args(["--compact-output", filter]).arg(document);
        read(Self::NAME, document, command, &Self::REFUSALS)
    }
}

fn unpacked(name: &'static str, package: &str, program: &str) -> Result<Programs, Missing> {
    let wanted = DebianPrograms {
        kind: KIND,
        name,
        packages: &[package],
        without: &WITHOUT,
        programs: &[program],
        folders: &[],
        useless: &[],
    };
    had::cache(name)?.programs(&wanted).map_err(had::missing(name))
}

/// Runs a reader of `document` and returns its output. `refusals` are its exit codes for a wrong
/// document; after another one the reader itself is broken.
pub(crate) fn read(
    reader: &'static str,
    document: &Path,
    command: Command,
    refusals: &[i32],
) -> Result<String, Failed> {
    let watch = Watch {
        purpose: format!("read {}", document.display()),
        silence: SILENCE,
        activity: &mut || 0,
        cancelled: &|| false,
    };
    let ended = run::run_to_end(command, Stdio::null(), watch)?;
    let said = || String::from_utf8_lossy(&ended.stderr).trim_end().to_owned();
    match ended.status.code() {
        Some(0) => Ok(String::from_utf8_lossy(&ended.stdout).trim_end().to_owned()),
        Some(code) if refusals.contains(&code) => {
            Err(Failed::Refused { reader, what: document.display().to_string(), said: said() })
        }
        _ => Err(Failed::broken(reader, format_args!("{}\n{}", ended.status, said()))),
    }
}
