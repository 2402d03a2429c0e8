//! Your own lab folder, a copy of the built-in one.

use super::KERNELS;
use s2lab_cache::carried;
use s2lab_os::{
    outside::{self, kinds},
    whole,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("{path} already exists; nothing was written")]
    Exists { path: PathBuf },
    #[error("cannot write a lab folder to {path}: {source}; nothing is left of it")]
    Io { path: PathBuf, source: io::Error },
}

/// The file in a complete stage. It contains the stage's own name, so that a copy of a stage does
/// not count.
const WHOLE: &str = "whole";

/// git's settings for the files of a folder.
const ATTRIBUTES: &str = ".gitattributes";
/// The line of [`ATTRIBUTES`] by which git compares reports as `s2lab textconv` prints them.
pub const DIFF_DRIVER: &str = "reports/**/*.txt diff=s2lab";
/// The setting that makes the line effective.
pub const DIFF_COMMAND: &str = "git config diff.s2lab.textconv 's2lab textconv'";

/// Writes the built-in lab folder to `folder`, which may exist and have other content. It
/// overwrites nothing. The lab folder appears in one step, or not at all. A failure removes its
/// traces. A call finishes the moves of an earlier call that was killed.
pub fn init(folder: &Path) -> Result<(), InitError> {
    let parts = parts();
    let failed = |source| InitError::Io { path: folder.to_owned(), source };
    if resume(folder, &parts).map_err(failed)? {
        return Ok(());
    }
    for path in parts.iter().map(|part| folder.join(part)) {
        // A link that leads nowhere belongs to somebody too.
        if path.symlink_metadata().is_ok() {
            return Err(InitError::Exists { path });
        }
    }
    let existed = folder.is_dir();
    if !existed && folder.exists() {
        return Err(failed(rustix::io::Errno::NOTDIR.into()));
    }
    // The folder is new, so s2lab has made it. Other content of the folder, links too, is not
    // changed.
    let stage = fs::create_dir_all(folder).and_then(|()| whole::new_folder(folder)).map_err(failed)?;
    let mut done = vec![];
    let mut make = || {
        if write_attributes(folder)? {
            done.push(folder.join(ATTRIBUTES));
        }
        carried::write(carried::LAB, &stage)?;
        let name = stage.file_name().unwrap_or_default();
        whole::write_below(&stage, Path::new(WHOLE), name.as_encoded_bytes())?;
        for part in &parts {
            // Nothing is overwritten even if it has appeared since: a rename replaces only an empty
            // folder.
            fs::rename(stage.join(part), folder.join(part))?;
            done.push(folder.join(part));
        }
        fs::remove_file(stage.join(WHOLE))?;
        fs::remove_dir(&stage)
    };
    make().map_err(|source| {
        // The first error is the one to report.
        for path in done.iter().rev().chain([&stage]) {
            let _ = fs::remove_dir_all(path).or_else(|_| fs::remove_file(path));
        }
        if !existed {
            let _ = fs::remove_dir(folder);
        }
        failed(source)
    })
}

/// Writes [`ATTRIBUTES`]. Returns false if the folder has such a file already, which stays as it is.
fn write_attributes(folder: &Path) -> io::Result<bool> {
    let text = format!(
        "# `git diff` shows only what compares of a report, after this command:\n#   {DIFF_COMMAND}\n{DIFF_DRIVER}\n"
    );
    match whole::write_new_below(folder, Path::new(ATTRIBUTES), text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        written => written.map(|()| true),
    }
}

/// Returns true if git's settings in `folder` have the line for reports.
pub fn has_diff_driver(folder: &Path) -> bool {
    let text = outside::read_text(&folder.join(ATTRIBUTES), kinds::NOTE).unwrap_or_default();
    text.lines().any(|line| line.trim() == DIFF_DRIVER)
}

/// Moves the rest of a complete stage of a call that was killed. Returns true if there was any.
fn resume(folder: &Path, parts: &[&str]) -> io::Result<bool> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // It is missing, or not a folder: making it shows the error.
        Err(_) => return Ok(false),
    };
    let is_folder = |path: &Path| path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
    let mut moved = false;
    for entry in entries {
        let (name, stage) = entry.map(|entry| (entry.file_name(), entry.path()))?;
        let mark = || outside::read(&stage.join(WHOLE), kinds::NOTE).ok();
        let is_stage = name.to_str().is_some_and(whole::is_temporary) && is_folder(&stage);
        if !is_stage || mark().is_none_or(|mark| mark != name.as_encoded_bytes()) {
            continue;
        }
        let left: Vec<_> = parts.iter().filter(|part| is_folder(&stage.join(part))).collect();
        let done = parts.iter().filter(|part| !left.contains(part));
        // A stage from which nothing was moved does not belong to this folder's state.
        if left.len() == parts.len() || !done.into_iter().all(|part| is_folder(&folder.join(part))) {
            continue;
        }
        for part in left {
            fs::rename(stage.join(part), folder.join(part))?;
            moved = true;
        }
        fs::remove_file(stage.join(WHOLE))?;
        fs::remove_dir(&stage)?;
    }
    Ok(moved)
}

/// The parts of a lab folder. The one by which it is known as such comes last.
fn parts() -> Vec<&'static str> {
    let mut parts: Vec<_> = carried::LAB.iter().filter_map(|file| file.path.split('/').next()).collect();
    parts.dedup();
    parts.sort_by_key(|part| KERNELS.starts_with(part));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_it_a_lab_comes_last() {
        assert_eq!(parts(), ["reports", "scenarios", "images"]);
    }

    #[test]
    fn only_reports_of_default_cells_are_carried() {
        let kernels = include_str!("../../../images/kernels.yaml");
        let kernels = s2lab_model::kernel::load("kernels.yaml", kernels).unwrap();
        let text = |path: &str| carried::LAB.iter().any(|file| file.path == path);
        let reports: Vec<_> =
            carried::LAB.iter().filter_map(|file| file.path.strip_prefix("reports/")).collect();
        assert!(!reports.is_empty());
        for report in reports {
            let (scenario, file) = report.split_once('/').unwrap();
            let kernel = file.trim_end_matches(".txt").split('+').next().unwrap();
            assert!(kernels.default.iter().any(|default| default == kernel), "{report}");
            assert!(text(&format!("scenarios/{scenario}.yaml")), "{report}");
        }
    }

    #[test]
    fn nothing_is_left_of_one_that_could_not_be_made() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(init(&file), Err(InitError::Io { .. })));
        let folder = dir.path().join("lab");
        init(&folder).unwrap();
        assert!(matches!(init(&folder), Err(InitError::Exists { path }) if path == folder.join("reports")));
    }

    #[test]
    fn the_settings_for_git_are_those_of_this_repository_and_never_replace_others() {
        let dir = tempfile::tempdir().unwrap();
        let [new, old, linked] = ["new", "old", "linked"].map(|name| dir.path().join(name));
        init(&new).unwrap();
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let text = |folder: &Path| fs::read_to_string(folder.join(ATTRIBUTES)).unwrap();
        assert_eq!(text(&new), text(&checkout));
        assert!(has_diff_driver(&new));
        fs::create_dir(&old).unwrap();
        fs::write(old.join(ATTRIBUTES), "*.png binary\n").unwrap();
        init(&old).unwrap();
        assert_eq!(text(&old), "*.png binary\n");
        assert!(!has_diff_driver(&old));
        fs::create_dir(&linked).unwrap();
        std::os::unix::fs::symlink("nowhere", linked.join(ATTRIBUTES)).unwrap();
        init(&linked).unwrap();
        assert!(!linked.join("nowhere").exists());
    }

    /// The remains of `kill -9` after each of the renames are a lab folder after the next call, and
    /// nothing of the stage stays.
    #[test]
    fn a_killed_call_is_finished_by_the_next() {
        let all = parts();
        for moved in 0..=all.len() {
            let dir = tempfile::tempdir().unwrap();
            let stage = whole::new_folder(dir.path()).unwrap();
            carried::write(carried::LAB, &stage).unwrap();
            fs::write(stage.join(WHOLE), stage.file_name().unwrap().as_encoded_bytes()).unwrap();
            all[..moved].iter().for_each(|part| fs::rename(stage.join(part), dir.path().join(part)).unwrap());
            let again = init(dir.path());
            assert_eq!(again.is_ok(), moved < all.len(), "after {moved}: {again:?}");
            assert!(all.iter().all(|part| dir.path().join(part).is_dir()), "after {moved}");
            assert_eq!(stage.exists(), moved == 0, "after {moved}");
        }
    }

    #[test]
    fn a_copy_of_a_stage_or_a_link_to_one_is_left_alone() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let copy = dir.path().join(".s2lab-0123456789abcdef");
        fs::create_dir_all(copy.join("images")).unwrap();
        fs::write(copy.join(WHOLE), ".s2lab-fedcba9876543210").unwrap();
        let link = dir.path().join(".s2lab-00000000000000ff");
        fs::create_dir(other.path().join("scenarios")).unwrap();
        fs::write(other.path().join(WHOLE), ".s2lab-00000000000000ff").unwrap();
        std::os::unix::fs::symlink(other.path(), &link).unwrap();
        init(dir.path()).unwrap();
        assert!(copy.join("images").is_dir() && link.is_symlink() && other.path().join("scenarios").is_dir());
    }

    /// The links lead to a folder elsewhere, under every name that a process's number makes, or
    /// near them.
    #[test]
    fn nothing_is_written_or_removed_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, home) = (dir.path().join("lab"), dir.path().join("home"));
        fs::create_dir_all(home.join("reports")).unwrap();
        fs::create_dir(&folder).unwrap();
        fs::write(home.join("reports/thesis"), "mine").unwrap();
        let stage = folder.join(format!(".s2lab-init.{}", std::process::id()));
        std::os::unix::fs::symlink(&home, &stage).unwrap();
        init(&folder).unwrap();
        assert!(stage.is_symlink());
        assert_eq!(fs::read_dir(&home).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(home.join("reports/thesis")).unwrap(), "mine");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 5);
    }
}
