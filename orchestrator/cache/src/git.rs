//! git. Every command of s2lab's to git is built here. Reading a repository starts no program that
//! it or the user's configuration names, and contacts no server.

use crate::{CacheError, Progress};
use s2lab_os::child::{
    PLAIN, command,
    run::{RunError, run_briefly},
};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

/// The settings that override a repository's own configuration (git-config(1), "Variables"). A
/// filter and a diff driver have names of the repository's choice: no work tree is read or written
/// with its configuration, see `builds/git_tree/private.rs`.
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

/// The environment. `GIT_ALLOW_PROTOCOL` takes precedence over `protocol.*` of a repository.
/// Versions before 2.44 need it, because they have no `GIT_NO_LAZY_FETCH` (git(1), "Environment
/// Variables").
const ENVIRONMENT: [(&str, &str); 7] = [
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_ATTR_NOSYSTEM", "1"),
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_ALLOW_PROTOCOL", "none"),
    ("GIT_TERMINAL_PROMPT", "0"),
    // Replacement objects would change the content of a commit.
    ("GIT_NO_REPLACE_OBJECTS", "1"),
];

/// The variable that makes git trust the user's repositories when root runs by sudo (git-config(1),
/// `safe.directory`).
const SUDO: &str = "SUDO_UID";

/// Returns git without a repository. The caller names one, or makes sure that git finds none.
pub(crate) fn git() -> Command {
    let mut git = command("git", PLAIN);
    git.envs(ENVIRONMENT).envs(std::env::var_os(SUDO).map(|uid| (SUDO, uid)));
    // The user's own configuration could be there too.
    git.env_remove("HOME");
    git.arg("--no-pager");
    for setting in SETTINGS {
        git.args(["-c", setting]);
    }
    git
}

/// Returns git with the repository at `git_dir`.
pub(crate) fn git_at(git_dir: &Path) -> Command {
    let mut git = git();
    git.arg("--git-dir").arg(git_dir);
    git
}

/// Returns the folder with the objects and references of the repository at `place`. Those of a
/// worktree are in its main repository.
///
/// # Errors
/// If there is none, or git does not trust it: it belongs to somebody else, and the user's own
/// configuration does not name it as a `safe.directory`.
pub(crate) fn git_dir(place: &Path, progress: &dyn Progress) -> Result<PathBuf, CacheError> {
    let mut git = git_in(place, progress)?;
    git.args(["rev-parse", "--path-format=absolute", "--git-dir"]);
    let purpose = format!("find the repository of {}", place.display());
    Ok(path(&run_briefly(git, &purpose, &|| progress.cancelled())?))
}

/// Returns the path of `place` in its work tree: nothing, or a path that ends with `/`.
///
/// # Errors
/// Like [`git_dir`].
pub(crate) fn prefix(place: &Path, progress: &dyn Progress) -> Result<OsString, CacheError> {
    let mut git = git_in(place, progress)?;
    git.args(["rev-parse", "--show-prefix"]);
    let purpose = format!("find the place of {} in its repository", place.display());
    Ok(path(&run_briefly(git, &purpose, &|| progress.cancelled())?).into_os_string())
}

/// Returns the id of the commit that the work tree at `place` has checked out.
///
/// # Errors
/// Like [`git_dir`], and if there is no commit.
pub(crate) fn head(place: &Path, progress: &dyn Progress) -> Result<String, CacheError> {
    let mut git = git_in(place, progress)?;
    git.args(["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]);
    let purpose = format!("find the commit of {}", place.display());
    Ok(path(&run_briefly(git, &purpose, &|| progress.cancelled())?).display().to_string())
}

/// Returns git in the folder `place`, with the repositories that the user trusts.
fn git_in(place: &Path, progress: &dyn Progress) -> Result<Command, CacheError> {
    let mut git = git();
    for safe in safe_directories(progress)? {
        let mut setting = OsString::from("safe.directory=");
        setting.push(safe);
        git.arg("-c").arg(setting);
    }
    git.arg("-C").arg(place);
    Ok(git)
}

/// Returns the repositories of others that the user, or the machine's administrator, trusts.
fn safe_directories(progress: &dyn Progress) -> Result<Vec<OsString>, CacheError> {
    let mut all = Vec::new();
    for scope in ["--system", "--global"] {
        let mut git = command("git", PLAIN);
        git.envs(std::env::var_os("XDG_CONFIG_HOME").map(|dir| ("XDG_CONFIG_HOME", dir)));
        git.args(["config", scope, "--includes", "--null", "--get-all", "safe.directory"]).current_dir("/");
        match run_briefly(git, "read which repositories are trusted", &|| progress.cancelled()) {
            Ok(text) => {
                all.extend(text.split(|byte| *byte == 0).filter(|one| !one.is_empty()).map(os_string))
            }
            // git also fails if there is none, or no such file.
            Err(RunError::Failed { .. }) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Ok(all)
}

/// Returns a path that git has printed as a line.
pub(crate) fn path(line: &[u8]) -> PathBuf {
    os_string(line.strip_suffix(b"\n").unwrap_or(line)).into()
}

fn os_string(bytes: &[u8]) -> OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes.to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    /// Runs git in a folder, as somebody who commits.
    pub(crate) fn git(folder: &Path, arguments: &[&str]) {
        let mut command = super::git();
        command.args(["-c", "user.name=x", "-c", "user.email=x@localhost"]).args(arguments);
        assert!(command.current_dir(folder).status().unwrap().success(), "{arguments:?}");
    }
}
