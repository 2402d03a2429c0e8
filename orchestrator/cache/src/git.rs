//! git. Every command of s2lab's to git is built here: reading a repository starts no program that it or the user's
//! configuration names, and asks no server.

use crate::{CacheError, Progress, run_briefly};
use s2lab_os::child::{PLAIN, command};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

/// What has the last word over a repository's own configuration (git-config(1), "Variables"). A filter and a diff driver have
/// names of the repository's choice: no work tree is read or written with its configuration, see
/// `builds/git_tree/private.rs`.
const SETTINGS: [&str; 15] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.excludesFile=/dev/null",
    "core.attributesFile=/dev/null",
    "core.pager=cat",
    "core.editor=false",
    "core.askPass=false",
    "core.sshCommand=false",
    "core.gitProxy=false",
    "core.alternateRefsCommand=false",
    "credential.helper=",
    "gpg.program=false",
    "log.showSignature=false",
    "protocol.allow=never",
    "submodule.recurse=false",
];

/// The environment. `GIT_ALLOW_PROTOCOL` has the last word over `protocol.*` of a repository, and is what versions before 2.44
/// know, which have no `GIT_NO_LAZY_FETCH` (git(1), "Environment Variables").
const ENVIRONMENT: [(&str, &str); 7] = [
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_ATTR_NOSYSTEM", "1"),
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_ALLOW_PROTOCOL", "none"),
    ("GIT_TERMINAL_PROMPT", "0"),
    // A commit is what its id says.
    ("GIT_NO_REPLACE_OBJECTS", "1"),
];

/// Whoever is root by sudo is trusted with the user's own repositories (git-config(1), `safe.directory`).
const SUDO: &str = "SUDO_UID";

/// git without a repository; the caller names one, or sees to it that none is found.
pub(crate) fn git() -> Command {
    let mut git = command("git", PLAIN);
    git.envs(ENVIRONMENT).envs(std::env::var_os(SUDO).map(|uid| (SUDO, uid)));
    // Also where a configuration of one's own would be.
    git.env_remove("HOME");
    git.arg("--no-pager");
    for setting in SETTINGS {
        git.args(["-c", setting]);
    }
    git
}

/// git with the repository at `git_dir`.
pub(crate) fn git_at(git_dir: &Path) -> Command {
    let mut git = git();
    git.arg("--git-dir").arg(git_dir);
    git
}

/// Where the repository of `place` has its objects and references; a worktree's are those of its main one.
///
/// # Errors
/// If there is none, or git does not trust it: it belongs to somebody else, and the user's own configuration does not name it as
/// a `safe.directory`.
pub(crate) fn git_dir(place: &Path, progress: &dyn Progress) -> Result<PathBuf, CacheError> {
    let mut git = git();
    for safe in safe_directories(progress)? {
        let mut setting = OsString::from("safe.directory=");
        setting.push(safe);
        git.arg("-c").arg(setting);
    }
    git.arg("-C").arg(place).args(["rev-parse", "--path-format=absolute", "--git-dir"]);
    run_briefly(git, &format!("find the repository of {}", place.display()), progress).map(|text| path(&text))
}

/// The repositories of others that the user, or the machine's administrator, trusts.
fn safe_directories(progress: &dyn Progress) -> Result<Vec<OsString>, CacheError> {
    let mut all = Vec::new();
    for scope in ["--system", "--global"] {
        let mut git = command("git", PLAIN);
        git.envs(std::env::var_os("XDG_CONFIG_HOME").map(|dir| ("XDG_CONFIG_HOME", dir)));
        git.args(["config", scope, "--includes", "--null", "--get-all", "safe.directory"]).current_dir("/");
        match run_briefly(git, "read which repositories are trusted", progress) {
            Ok(text) => {
                all.extend(text.split(|byte| *byte == 0).filter(|one| !one.is_empty()).map(os_string))
            }
            // It says so too if there is none, or no such file.
            Err(CacheError::Program { .. }) => {}
            Err(other) => return Err(other),
        }
    }
    Ok(all)
}

/// A path that git has printed as a line.
pub(crate) fn path(line: &[u8]) -> PathBuf {
    os_string(line.strip_suffix(b"\n").unwrap_or(line)).into()
}

fn os_string(bytes: &[u8]) -> OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes.to_owned())
}
