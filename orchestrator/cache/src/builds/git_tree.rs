//! A kernel's tree in git, or put into git. Its content has one id. Moving a folder from one tree
//! to another writes only the differences, so that `make` builds only the differences.
//!
//! The repository itself is only read. Only the time stamps of objects change, which git renews if
//! it would have written the same again. s2lab adds its objects to a git folder of its own, which
//! borrows the other's objects.

mod private;

use crate::{
    error::{CacheError, Result},
    git::{git_at, git_dir, path},
    objects::digest,
    progress::Progress,
};
use private::Theirs;
use s2lab_os::{
    child::run::{self, Watch},
    outside::{self, kinds},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// The longest silence. git reads a whole tree, possibly from a slow disk.
const LIMIT: Duration = Duration::from_secs(10 * 60);
/// The suffix of our git folders, after [`place_digits`].
pub(crate) const PRIVATE: &str = ".git";
/// A file in it that is written at each use.
pub(crate) const USED: &str = "s2lab-used";

/// The files that make leaves in a tree that it was built in. make then refuses to build out of
/// that tree (Linux 6.1, Makefile, `outputmakefile` and `clean`).
const LEFT_BY_BUILDS: [&str; 9] = [
    ".config",
    "include/config",
    "include/generated",
    "arch/*/include/generated",
    "vmlinux*",
    "*.o",
    "*.a",
    "*.ko",
    "*.cmd",
];

/// The prefix of an index entry that is a repository of its own (git-ls-files(1), gitdatamodel:
/// mode of a gitlink).
const REPOSITORY: &[u8] = b"160000 ";

/// The content of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GitTree {
    /// The id of the tree object, in hexadecimal.
    pub(crate) id: String,
    /// The name of the folder.
    pub(crate) name: String,
    /// The version for people.
    pub(crate) version: String,
    /// The repository or folder.
    place: PathBuf,
    /// The place of its objects.
    theirs: Theirs,
}

impl GitTree {
    /// Returns the same room for all trees of one place.
    pub(crate) fn room(&self) -> String {
        digest::bytes(self.place.as_os_str().as_encoded_bytes())
    }

    /// Makes `into` this tree. Beside it there is an index of ours with its content.
    pub(crate) fn check_out(&self, into: &Path, progress: &dyn Progress) -> Result<()> {
        s2lab_os::private::make(into).map_err(CacheError::io("cannot create", into))?;
        // A git that was killed left it; nobody else works here.
        let _ = fs::remove_file(into.with_extension("index.lock"));
        let own = into.with_extension("git");
        private::prepare(&own, Some(&self.theirs), "")?;
        let mut command = git_at(&own);
        command.arg("--work-tree").arg(into).env("GIT_INDEX_FILE", into.with_extension("index"));
        command.args([
            "-c",
            "core.bare=false",
            "-c",
            "core.sparseCheckout=false",
            "-c",
            "core.autocrlf=false",
            // One worker for each processor; a kernel has 80,000 files.
            "-c",
            "checkout.workers=0",
        ]);
        command.args(["read-tree", "--reset", "-u", &self.id]).current_dir(into);
        let taken = ask(command, &format!("take the files of {} {}", self.name, self.version), progress);
        match taken {
            // git names the files that it cannot write, without the reason.
            Err(CacheError::Program { .. }) if is_full(into) => {
                Err(CacheError::io("cannot write files to", into)(io::ErrorKind::StorageFull.into()))
            }
            Err(error @ CacheError::Program { .. }) => Err(self.incomplete(&own, progress)?.unwrap_or(error)),
            taken => taken.map(drop),
        }
    }

    /// The error of a tree that is not in its repository with all its files, as in a partial clone.
    /// `own` borrows its objects.
    fn incomplete(&self, own: &Path, progress: &dyn Progress) -> Result<Option<CacheError>> {
        let mut command = git_at(own);
        command.args(["rev-list", "--objects", "--missing=print", &self.id]);
        let listed = git(command, &format!("find what {} lacks", self.version), progress)?;
        let missing = listed.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"?")).count();
        let (version, place) = (self.version.clone(), self.place.clone());
        Ok((missing > 0).then_some(CacheError::Incomplete { version, place, missing }))
    }
}

/// Returns true if the file system of `folder` has no room for a file of a usual size.
fn is_full(folder: &Path) -> bool {
    const USUAL: u64 = 1 << 20;
    rustix::fs::statvfs(folder)
        .is_ok_and(|fs| fs.f_bavail.saturating_mul(fs.f_frsize) < USUAL || fs.f_favail == 0)
}

/// Returns the tree of a commit of `repository`.
pub(crate) fn of_revision(repository: &Path, revision: &str, progress: &dyn Progress) -> Result<GitTree> {
    let place = repository.canonicalize().map_err(CacheError::io("cannot find", repository))?;
    let git_dir = git_dir(&place, progress)?;
    let parse = |what: String| {
        let mut command = git_at(&git_dir);
        command.args(["rev-parse", "--verify", "--end-of-options", &what]);
        ask(command, &format!("find {revision} in {}", place.display()), progress)
    };
    let id = parse(format!("{revision}^{{tree}}"))?;
    let version = parse(format!("{revision}^{{commit}}"))?;
    let theirs = theirs(&git_dir, progress)?;
    Ok(GitTree { id, name: name(&place), version, place, theirs })
}

/// Returns the tree of `folder` in its present state. `private` is the folder of our git folders.
/// One process at a time reads one folder.
pub(crate) fn of_folder(folder: &Path, private: &Path, progress: &dyn Progress) -> Result<GitTree> {
    let place = folder.canonicalize().map_err(CacheError::io("cannot find", folder))?;
    let own = private.join(format!("{}{PRIVATE}", place_digits(&place)));
    let index = own.join("folder.index");
    let git_dir = match place.join(".git").exists() {
        true => Some(git_dir(&place, progress)?),
        false => None,
    };
    let theirs = git_dir.as_deref().map(|git_dir| theirs(git_dir, progress)).transpose()?;
    let exclude = git_dir.as_deref().map(|git_dir| exclude(git_dir, progress)).transpose()?;
    // The file stays when the checkout is whole again.
    let is_sparse = git_dir.as_deref().is_some_and(|git_dir| git_dir.join("info/sparse-checkout").exists());
    // A git that was killed left it; nobody else works here.
    let _ = fs::remove_file(own.join("folder.index.lock"));
    private::prepare(&own, theirs.as_ref(), &exclude.unwrap_or_default())?;
    let used = own.join(USED);
    fs::write(&used, "").map_err(CacheError::io("cannot write", used))?;
    if let Some(git_dir) = &git_dir {
        // Their index spares git the reading of files that have not changed since; ours has seen
        // them all already.
        let (seen, copy) = (git_dir.join("index"), own.join("folder.index.copy"));
        // Of a sparse checkout, it knows which files are not here and are not deleted either.
        if (!index.exists() || is_sparse) && seen.exists() {
            outside::copy(&seen, &copy, kinds::SOURCE_FILE)?;
            fs::rename(&copy, &index).map_err(CacheError::io("cannot move", &copy))?;
        }
    }
    progress.step(&format!("reading the tree {}", place.display()));
    let in_folder = || {
        let mut command = git_at(&own);
        command.arg("--work-tree").arg(&place).env("GIT_INDEX_FILE", &index).current_dir(&place);
        // The kernel's sources are half a gigabyte; compressing them takes more time than it saves.
        command.args(["-c", "core.compression=0", "-c", "core.bare=false", "-c", "core.autocrlf=false"]);
        command.arg("-c").arg(format!("core.sparseCheckout={is_sparse}"));
        command
    };
    let purpose = format!("read the tree {}", place.display());
    if index.exists() {
        forget_repositories(&in_folder, &purpose, progress)?;
    }
    let mut add = in_folder();
    add.args(["add", "--all"]);
    if is_sparse {
        // Also what lies outside of the sparse part.
        add.arg("--sparse");
    }
    // Debian's packages of the source make git ignore all of it.
    if git_dir.is_none() && is_ignored("Makefile", in_folder(), progress)? {
        add.args(["--force", "--", "."]).args(LEFT_BY_BUILDS.map(|left| format!(":(exclude){left}")));
    }
    ask(add, &purpose, progress)?;
    let mut write = in_folder();
    // What a partial clone lacks is found where it is needed.
    write.args(["write-tree", "--missing-ok"]);
    let id = ask(write, &purpose, progress)?;
    let version = format!("tree {}", &id.get(..12).unwrap_or(&id));
    let format = theirs.map_or_else(|| private::SHA1.to_owned(), |theirs| theirs.format);
    let theirs = Theirs { format, objects: own.join("objects") };
    Ok(GitTree { id, name: name(&place), version, place, theirs })
}

/// Removes repositories inside of the tree from the index. git would run `git status` in those that
/// it knows, with their configuration, which may name filters.
fn forget_repositories(
    in_folder: &dyn Fn() -> Command,
    purpose: &str,
    progress: &dyn Progress,
) -> Result<()> {
    let mut list = in_folder();
    list.args(["ls-files", "--stage", "-z"]);
    let listed = git(list, purpose, progress)?;
    let entries = listed.split(|byte| *byte == 0).filter(|entry| entry.starts_with(REPOSITORY));
    let names: Vec<PathBuf> =
        entries.filter_map(|entry| Some(path(entry.splitn(2, |b| *b == b'\t').nth(1)?))).collect();
    if names.is_empty() {
        return Ok(());
    }
    let mut forget = in_folder();
    forget.args(["update-index", "--force-remove", "--"]).args(names);
    git(forget, purpose, progress).map(drop)
}

/// Returns true if git would not add `file`.
fn is_ignored(file: &str, mut git: Command, progress: &dyn Progress) -> Result<bool> {
    git.args(["check-ignore", "--no-index", "--quiet", "--", file]);
    let purpose = format!("find whether it ignores {file}");
    let watch = Watch { purpose, silence: LIMIT, activity: &mut || 0, cancelled: &|| progress.cancelled() };
    // git-check-ignore(1), "Exit status".
    Ok(run::run_to_end(git, Stdio::null(), watch)?.status.code() == Some(0))
}

/// Returns digits that distinguish folders, whose paths are canonical.
pub(crate) fn place_digits(place: &Path) -> String {
    digest::bytes(place.as_os_str().as_encoded_bytes())[..20].to_owned()
}

/// Returns the name of the lock that a reader of a folder holds.
pub(crate) fn lock_name(place_digits: &str) -> String {
    format!("tree-{place_digits}")
}

/// Returns the parts of their repository that a git folder of ours borrows
/// (gitrepository-layout(5), objects/info/alternates).
fn theirs(git_dir: &Path, progress: &dyn Progress) -> Result<Theirs> {
    let of = |arguments: &[&str], purpose: &str| {
        let mut command = git_at(git_dir);
        command.arg("rev-parse").args(arguments);
        Ok::<_, CacheError>(run::run_briefly(command, purpose, &|| progress.cancelled())?)
    };
    let format = of(&["--show-object-format"], "find the repository's object format")?;
    let objects = of(&["--path-format=absolute", "--git-path", "objects"], "find the repository's objects")?;
    Ok(Theirs { format: String::from_utf8_lossy(&format).trim().to_owned(), objects: path(&objects) })
}

/// Returns the patterns that the repository ignores besides its files .gitignore (gitignore(5)).
fn exclude(git_dir: &Path, progress: &dyn Progress) -> Result<String> {
    let mut command = git_at(git_dir);
    command.args(["rev-parse", "--path-format=absolute", "--git-path", "info/exclude"]);
    let file = run::run_briefly(command, "find what the repository ignores", &|| progress.cancelled())?;
    Ok(outside::read_text_if_there(&path(&file), kinds::NOTE)?.unwrap_or_default())
}

/// Returns git's output, as one line.
fn ask(command: Command, purpose: &str, progress: &dyn Progress) -> Result<String> {
    Ok(String::from_utf8_lossy(&git(command, purpose, progress)?).trim().to_owned())
}

fn git(command: Command, purpose: &str, progress: &dyn Progress) -> Result<Vec<u8>> {
    let watch = Watch {
        purpose: purpose.to_owned(),
        silence: LIMIT,
        activity: &mut || 0,
        cancelled: &|| progress.cancelled(),
    };
    Ok(run::run(command, watch)?)
}

/// Returns the name in the alphabet of objects' names.
fn name(place: &Path) -> String {
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests;
