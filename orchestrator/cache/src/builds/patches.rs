//! Application of patches to a source tree, by git.
//!
//! It uses `git apply` rather than `patch`: git checks a whole patch before it writes anything,
//! takes no fuzz, knows renames, modes and binary files, and refuses paths that lead out of the
//! tree. It gets one patch at a time: in one input, a file that is renamed is taken as it was
//! before all of it (git 2.47, apply.c, previous_patch).

use crate::{
    error::{CacheError, Result},
    git,
    progress::Progress,
    series::{Offsets, Patch, Refusal},
};
use s2lab_os::{
    child::run::{self, Ended, Watch},
    sealed::sealed,
};
use std::{
    fs::File,
    io::{Seek, Write},
    path::Path,
    process::Stdio,
    time::Duration,
};

/// The deadline of a patch. git needs some milliseconds; only a disk that does not answer takes
/// longer.
const LIMIT: Duration = Duration::from_secs(120);

/// Applies all patches to `tree`, in order. Hunks may have moved, which is a warning, but their
/// context must be complete. Files that no patch changes are not written.
///
/// # Errors
/// [`CacheError::Refused`] names the first patch that does not apply, and its files and hunks.
/// After any error some patches are applied and others not: give it a copy.
pub(crate) fn apply(tree: &Path, patches: &[Patch], progress: &dyn Progress) -> Result<()> {
    let mut offsets = Offsets::default();
    for (at, patch) in patches.iter().enumerate() {
        let ended = git(tree, patch, &[], progress)?;
        if ended.status.success() {
            offsets = offsets.and(Offsets::read(&said(&ended)));
            continue;
        }
        // With --reject a file's first refused hunk does not hide the next; with --check nothing is
        // written.
        let checked = git(tree, patch, &["--check", "--reject"], progress)?;
        let refusal = Refusal::read(at + 1, patches.len(), patch, &said(&checked));
        return Err(CacheError::Refused(Box::new(refusal)));
    }
    if offsets.hunks > 0 {
        tracing::warn!(
            "hunks that apply at other lines than they say: {}, the furthest {} lines away",
            offsets.hunks,
            offsets.furthest
        );
    }
    Ok(())
}

fn git(tree: &Path, patch: &Patch, options: &[&str], progress: &dyn Progress) -> Result<Ended> {
    let tree = tree.canonicalize().map_err(CacheError::io("cannot find", tree))?;
    let input = sealed("patch", |out| out.write_all(&patch.diff));
    let mut input = input.map(File::from).map_err(CacheError::io("cannot keep", &patch.title))?;
    input.rewind().map_err(CacheError::io("cannot read", &patch.title))?;
    let mut command = git::git();
    command.args(["apply", "--verbose", "--whitespace=nowarn", "-p1"]).args(options).current_dir(&tree);
    // Below a repository's top folder git would silently skip files outside of the working folder,
    // so it must not find a repository above.
    command.env("GIT_CEILING_DIRECTORIES", tree.parent().unwrap_or(Path::new("/")));
    let purpose = format!("apply `{}` to {}", patch.title, tree.display());
    let watch = Watch { purpose, silence: LIMIT, activity: &mut || 0, cancelled: &|| progress.cancelled() };
    Ok(run::run_to_end(command, Stdio::from(input), watch)?)
}

fn said(ended: &Ended) -> String {
    // git prints some of it on one stream and some on the other.
    [&ended.stdout, &ended.stderr].map(|text| String::from_utf8_lossy(text)).concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Quiet;
    use std::{
        fs,
        os::unix::fs::{MetadataExt, PermissionsExt},
    };

    fn lines(range: std::ops::RangeInclusive<u32>) -> String {
        range.map(|n| format!("{n}\n")).collect()
    }

    /// Returns a change of one line of a file of numbers.
    fn change(file: &str, line: u32, from: &str, to: &str) -> String {
        let (before, after) = (lines(line - 3..=line - 1), lines(line + 1..=line + 3));
        let [before, after] = [before, after].map(|text| text.replace('\n', "\n "));
        format!(
            "--- a/{file}\n+++ b/{file}\n@@ -{},7 +{},7 @@\n {before}\x08-{from}\n+{to}\n {after}\x08",
            line - 3,
            line - 3
        )
        .replace(" \x08", "")
    }

    fn patches(diffs: &[&str]) -> Vec<Patch> {
        let patch = |(at, diff): (usize, &&str)| Patch {
            title: format!("t{}", at + 1),
            diff: diff.as_bytes().into(),
        };
        diffs.iter().enumerate().map(patch).collect()
    }

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("mm")).unwrap();
        fs::write(dir.path().join("mm/a"), lines(1..=60)).unwrap();
        fs::write(dir.path().join("b"), lines(1..=30)).unwrap();
        dir
    }

    fn apply(tree: &Path, diffs: &[&str]) -> Result<()> {
        super::apply(tree, &patches(diffs), &Quiet)
    }

    #[test]
    fn patches_build_on_one_another_and_leave_the_rest_alone() {
        let dir = tree();
        let untouched = fs::metadata(dir.path().join("b")).unwrap().mtime_nsec();
        let first = change("mm/a", 20, "20", "twenty");
        let second = change("mm/a", 20, "twenty", "XX");
        let renamed = "diff --git a/mm/a b/mm/c\nold mode 100644\nnew mode 100755\nsimilarity index 100%\nrename from mm/a\nrename to mm/c\n";
        let new = "diff --git a/n b/n\nnew file mode 100644\n--- /dev/null\n+++ b/n\n@@ -0,0 +1 @@\n+new\n-- \n2.47\n";
        apply(dir.path(), &[&first, &second, renamed, new]).unwrap();
        let text = fs::read_to_string(dir.path().join("mm/c")).unwrap();
        assert_eq!(text, lines(1..=60).replace("\n20\n", "\nXX\n"));
        assert_eq!(fs::metadata(dir.path().join("mm/c")).unwrap().permissions().mode() & 0o111, 0o111);
        assert!(!dir.path().join("mm/a").exists());
        assert_eq!(fs::read_to_string(dir.path().join("n")).unwrap(), "new\n");
        assert_eq!(fs::metadata(dir.path().join("b")).unwrap().mtime_nsec(), untouched);
    }

    #[test]
    fn refused_hunks_are_told_by_name() {
        let dir = tree();
        let first = change("b", 10, "10", "ten");
        let two = change("mm/a", 20, "no", "x");
        let (_, rest) =
            change("mm/a", 40, "nor", "y").split_once("@@").map(|(_, r)| ((), r.to_owned())).unwrap();
        let second = format!("{two}@@{rest}{}", change("gone", 9, "9", "x"));
        let third = change("b", 10, "ten", "X");
        let error = apply(dir.path(), &[&first, &second, &third]).unwrap_err();
        insta::assert_snapshot!(error, @r"
        patch 2 of 3, `t2`, does not apply
          mm/a: hunk 1, for line 17
            @@ -17,7 +17,7 @@
             17
             18
             19
            -no
            +x
             21
             22
             23
          mm/a: hunk 2, for line 37
            @@ -37,7 +37,7 @@
             37
             38
             39
            -nor
            +y
             41
             42
             43
          gone: No such file or directory
        ");
        assert_eq!(fs::read_to_string(dir.path().join("mm/a")).unwrap(), lines(1..=60));
        assert_eq!(fs::read_dir(dir.path().join("mm")).unwrap().count(), 1, "no a.rej");
    }

    #[test]
    fn a_moved_hunk_applies_but_one_with_other_context_does_not() {
        let dir = tree();
        let moved = change("b", 10, "10", "ten");
        fs::write(dir.path().join("b"), format!("0\n0\n{}", lines(1..=30))).unwrap();
        apply(dir.path(), &[&moved]).unwrap();
        assert!(fs::read_to_string(dir.path().join("b")).unwrap().contains("9\nten\n11"));
        fs::write(dir.path().join("b"), lines(1..=30).replace("\n8\n", "\neight\n")).unwrap();
        assert!(matches!(apply(dir.path(), &[&moved]), Err(CacheError::Refused(_))));
    }

    /// The tree is in a folder of somebody's repository, where git would print "Skipped patch" and
    /// succeed.
    #[test]
    fn a_repository_above_the_tree_does_not_matter() {
        let dir = tree();
        let init = git::git().args(["init", "-q"]).current_dir(dir.path()).status().unwrap();
        assert!(init.success());
        // Names in a diff of git's own count from the repository's top folder.
        let diff = format!("diff --git a/a b/a\n{}", change("a", 20, "20", "twenty"));
        apply(&dir.path().join("mm"), &[&diff]).unwrap();
        assert!(fs::read_to_string(dir.path().join("mm/a")).unwrap().contains("twenty"));
    }

    #[test]
    fn nothing_outside_of_the_tree_is_written() {
        let dir = tree();
        let inside = dir.path().join("mm");
        let link = "diff --git a/l b/l\nnew file mode 120000\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+..\n\\ No newline at end of file\n\
                    diff --git a/l/new b/l/new\nnew file mode 100644\n--- /dev/null\n+++ b/l/new\n@@ -0,0 +1 @@\n+x\n";
        let absolute = dir.path().join("b").display().to_string();
        for hostile in [
            &change("../b", 10, "10", "ten"),
            &change(&absolute, 10, "10", "ten"),
            link,
            "--- /dev/null\n+++ b/../new\n@@ -0,0 +1 @@\n+x\n",
            "--- /dev/null\n+++ b/.git/hooks/x\n@@ -0,0 +1 @@\n+x\n",
            "no diff\n",
        ] {
            let error = apply(&inside, &[hostile]).unwrap_err();
            assert!(matches!(error, CacheError::Refused(_)), "{hostile}: {error}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        assert_eq!(fs::read_dir(&inside).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(dir.path().join("b")).unwrap(), lines(1..=30));
    }
}
