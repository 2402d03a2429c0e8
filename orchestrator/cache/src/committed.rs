//! The files of a folder as a commit of its repository has them. The repository is only read, and
//! anybody may have written the commit.

use crate::{
    CacheError, Quiet,
    git::{git_at, git_dir, prefix},
    revisions::{RevisionsError, commits},
};
use s2lab_model::plan::Revisions;
use s2lab_os::{
    child::run::{Watch, run_briefly, run_to_end},
    outside::Kind,
    sealed::sealed,
    size::Size,
};
use std::{
    ffi::OsString,
    fs::File,
    io::{self, Seek, Write},
    path::Path,
    process::Stdio,
    time::Duration,
};

/// The most files of a folder.
const MOST_FILES: usize = 65_536;
/// The most bytes of all files together, which git prints at once.
const MOST_BYTES: u64 = 48 << 20;
/// The longest time in which git prints all files.
const DEADLINE: Duration = Duration::from_secs(60);
/// The purpose of git's commands.
const PURPOSE: &str = "read the files of a commit";

/// A file of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedFile {
    /// The path below the folder.
    pub path: String,
    /// The content, or the reason why it is not read: a link, or too large.
    pub content: Result<Vec<u8>, String>,
}

/// An entry of a tree.
struct Entry {
    path: String,
    /// The name of its content, or the reason why it is not read.
    blob: Result<(String, u64), String>,
}

/// Returns the files below `FOLDER/BELOW` at the commit `revision` for whose path `is_wanted` is
/// true; none if the commit has no such folder. A file has at most the limit of its `kind`.
///
/// # Errors
/// If git knows no such commit, or there is no repository.
pub fn files(
    folder: &Path,
    below: &str,
    revision: &str,
    kind: Kind,
    is_wanted: &dyn Fn(&str) -> bool,
) -> Result<Vec<CommittedFile>, RevisionsError> {
    let commit = commits(folder, &Revisions::One(revision.to_owned()))?;
    let Some(commit) = commit.first() else { return Ok(vec![]) };
    let git = Repository {
        git_dir: &git_dir(folder, &Quiet).map_err(RevisionsError::Git)?,
        folder: below,
        words: revision,
    };
    let mut tree = OsString::from(format!("{}:", commit.id));
    tree.push(prefix(folder, &Quiet).map_err(RevisionsError::Git)?);
    tree.push(below);
    if !git.is_folder(&tree)? {
        return Ok(vec![]);
    }
    let mut entries = git.entries(&tree, kind)?;
    entries.retain(|entry| is_wanted(&entry.path));
    git.check(&entries)?;
    git.contents(entries)
}

/// A repository, and what is read of it, for errors.
struct Repository<'a> {
    git_dir: &'a Path,
    folder: &'a str,
    words: &'a str,
}

impl Repository<'_> {
    /// Returns true if the commit has the folder.
    fn is_folder(&self, tree: &OsString) -> Result<bool, RevisionsError> {
        let mut command = git_at(self.git_dir);
        command.args(["cat-file", "-t"]).arg(tree);
        match run_briefly(command, PURPOSE, &|| false).map_err(CacheError::from) {
            Ok(kind) if kind == b"tree\n" => Ok(true),
            Ok(kind) => Err(RevisionsError::NoFolder {
                folder: self.folder.to_owned(),
                words: self.words.to_owned(),
                kind: String::from_utf8_lossy(&kind).trim().to_owned(),
            }),
            Err(CacheError::Program { .. }) => Ok(false),
            Err(error) => Err(RevisionsError::Git(error)),
        }
    }

    /// Returns the files of the tree. A path that is not UTF-8 is left out: no report has one.
    fn entries(&self, tree: &OsString, kind: Kind) -> Result<Vec<Entry>, RevisionsError> {
        let mut command = git_at(self.git_dir);
        command.args(["ls-tree", "-r", "-z", "-l"]).arg(tree);
        let listed = run_briefly(command, PURPOSE, &|| false).map_err(CacheError::from);
        let listed = listed.map_err(RevisionsError::Git)?;
        let lines = listed.split(|byte| *byte == 0).filter_map(|line| str::from_utf8(line).ok());
        Ok(lines.filter_map(|line| entry(line, kind)).collect())
    }

    fn check(&self, entries: &[Entry]) -> Result<(), RevisionsError> {
        let too_much = |found: String, most: String| {
            let (folder, words) = (self.folder.to_owned(), self.words.to_owned());
            Err(RevisionsError::TooMuch { folder, words, found, most })
        };
        let sizes = entries.iter().filter_map(|entry| entry.blob.as_ref().ok());
        let bytes = sizes.fold(0_u64, |sum, (_, size)| sum.saturating_add(*size));
        match entries.len() {
            n if n > MOST_FILES => too_much(format!("{n} files"), MOST_FILES.to_string()),
            _ if bytes > MOST_BYTES => too_much(Size(bytes).to_string(), Size(MOST_BYTES).to_string()),
            _ => Ok(()),
        }
    }

    /// Reads the contents, all by one git.
    fn contents(&self, entries: Vec<Entry>) -> Result<Vec<CommittedFile>, RevisionsError> {
        let ids = entries.iter().filter_map(|entry| entry.blob.as_ref().ok());
        let ids: String = ids.map(|(id, _)| format!("{id}\n")).collect();
        let printed = self.printed(&ids)?;
        let mut rest = printed.as_slice();
        let files = entries.into_iter().map(|Entry { path, blob }| {
            let content = match blob {
                Ok((id, size)) => take(&mut rest, &id, size).ok_or_else(|| "git did not print it".to_owned()),
                Err(why) => Err(why),
            };
            CommittedFile { path, content }
        });
        Ok(files.collect())
    }

    /// Returns the output of `git cat-file --batch`.
    fn printed(&self, ids: &str) -> Result<Vec<u8>, RevisionsError> {
        let mut command = git_at(self.git_dir);
        command.args(["cat-file", "--batch"]);
        let watch = Watch {
            purpose: PURPOSE.to_owned(),
            silence: DEADLINE,
            activity: &mut || 0,
            cancelled: &|| false,
        };
        let input = input(ids).map_err(CacheError::io("cannot make the input of", "git"));
        let ended = run_to_end(command, input.map_err(RevisionsError::Git)?, watch);
        Ok(ended.map_err(CacheError::from).map_err(RevisionsError::Git)?.stdout)
    }
}

fn input(text: &str) -> io::Result<Stdio> {
    let mut file = File::from(sealed("ids", |out| out.write_all(text.as_bytes()))?);
    file.rewind()?;
    Ok(file.into())
}

/// Parses `MODE TYPE ID SIZE<tab>PATH`.
fn entry(line: &str, kind: Kind) -> Option<Entry> {
    let (facts, path) = line.split_once('\t')?;
    let facts: Vec<_> = facts.split_whitespace().collect();
    let [mode, _, id, size] = facts[..] else { return None };
    let blob = match (mode, size.parse::<u64>()) {
        ("100644" | "100755", Ok(size)) if size <= kind.limit => Ok((id.to_owned(), size)),
        ("100644" | "100755", Ok(size)) => {
            Err(format!("it has {size} bytes, and {} has at most {}", kind.name, Size(kind.limit)))
        }
        ("120000", _) => Err("it is a symbolic link".to_owned()),
        _ => Err("it is not a file".to_owned()),
    };
    Some(Entry { path: path.to_owned(), blob })
}

/// Takes the next content: `ID blob SIZE`, a line feed, the content, a line feed.
fn take(rest: &mut &[u8], id: &str, size: u64) -> Option<Vec<u8>> {
    let size = usize::try_from(size).ok()?;
    let after = rest.strip_prefix(format!("{id} blob {size}\n").as_bytes())?;
    let (content, after) = after.split_at_checked(size)?;
    *rest = after.strip_prefix(b"\n")?;
    Some(content.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::tests::git;
    use s2lab_os::outside::kinds;
    use std::{fs, os::unix::fs::symlink};

    /// A repository with two commits, in whose folder `la*b` the files are.
    fn repository() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let lab = dir.path().join("la*b");
        fs::create_dir_all(lab.join("reports/a")).unwrap();
        git(dir.path(), &["init", "-q", "-b", "main"]);
        git(dir.path(), &["commit", "-q", "--allow-empty", "-m", "empty"]);
        fs::write(lab.join("reports/a/k.txt"), "one\n").unwrap();
        fs::write(lab.join("reports/a/notes"), "x").unwrap();
        symlink("/etc/passwd", lab.join("reports/a/link.txt")).unwrap();
        fs::write(lab.join("reports/a/large.txt"), vec![b'x'; (4 << 20) + 1]).unwrap();
        git(dir.path(), &["add", "."]);
        git(dir.path(), &["commit", "-q", "-m", "reports"]);
        fs::write(lab.join("reports/a/k.txt"), "two\n").unwrap();
        dir
    }

    /// Paths with their content, or the reason why there is none.
    type Texts = Vec<(String, Result<String, String>)>;

    fn read(dir: &Path, revision: &str) -> Result<Texts, String> {
        let is_text = |path: &str| path.ends_with(".txt");
        let files = files(&dir.join("la*b"), "reports", revision, kinds::REPORT, &is_text);
        let files = files.map_err(|error| error.to_string())?.into_iter();
        let text = |content: Vec<u8>| String::from_utf8(content).unwrap();
        Ok(files.map(|file| (file.path, file.content.map(text))).collect())
    }

    #[test]
    fn the_files_of_a_commit() {
        let dir = repository();
        let found = read(dir.path(), "main").unwrap();
        let due = [
            ("a/k.txt", Ok("one\n")),
            ("a/large.txt", Err("it has 4194305 bytes, and a report has at most 4 MiB")),
            ("a/link.txt", Err("it is a symbolic link")),
        ];
        let due =
            due.map(|(path, content)| (path.to_owned(), content.map(str::to_owned).map_err(str::to_owned)));
        assert_eq!(found, due);
        assert_eq!(read(dir.path(), "HEAD~1").unwrap(), []);
    }

    #[test]
    fn no_revision_is_an_option() {
        let dir = repository();
        for revision in ["--output=x", "-c", "--all", "none", "main..HEAD", "HEAD^{tree}", "", "-"] {
            let error = read(dir.path(), revision).unwrap_err();
            assert!(error.contains("commit"), "{revision}: {error}");
        }
        assert!(!dir.path().join("x").exists() && !dir.path().join("la*b/x").exists());
    }

    /// The folder may be anything in a commit of somebody else.
    #[test]
    fn a_folder_that_is_none() {
        let dir = repository();
        git(dir.path(), &["rm", "-rqf", "la*b/reports"]);
        fs::create_dir_all(dir.path().join("la*b")).unwrap();
        symlink("/etc", dir.path().join("la*b/reports")).unwrap();
        git(dir.path(), &["add", "."]);
        git(dir.path(), &["commit", "-q", "-m", "link"]);
        assert_eq!(read(dir.path(), "HEAD").unwrap_err(), "`reports` is a blob in HEAD, not a folder");
    }
}
