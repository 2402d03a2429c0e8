//! Commits of a repository, which is only read.

use crate::{
    CacheError, Quiet,
    git::{self, git_at, git_dir},
};
use s2lab_model::plan::Revisions;
use s2lab_os::child::run::run_briefly;
use std::path::{Path, PathBuf};

/// The most commits of a range: the build of each takes minutes.
const MOST_COMMITS: usize = 500;
/// A commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The whole id, in hexadecimal.
    pub id: String,
    pub title: String,
}

/// The reason why there are no commits.
#[derive(Debug, thiserror::Error)]
pub enum RevisionsError {
    #[error("{words} in `{repository}` is not a commit:\n{said}")]
    Unknown { repository: PathBuf, words: String, said: String },
    #[error("{words} in `{repository}` is a {kind}, not a commit")]
    NoCommit { repository: PathBuf, words: String, kind: String },
    #[error("{words} in `{repository}` has no commit")]
    Empty { repository: PathBuf, words: String },
    #[error("{words} in `{repository}` has more than {MOST_COMMITS} commits")]
    TooMany { repository: PathBuf, words: String },
    #[error("`{folder}` is a {kind} in {words}, not a folder")]
    NoFolder { folder: String, words: String, kind: String },
    #[error("`{folder}` in {words} has {found}; at most {most} are read")]
    TooMuch { folder: String, words: String, found: String, most: String },
    #[error(transparent)]
    Git(CacheError),
}

impl RevisionsError {
    /// Returns a hint for the user.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::TooMany { .. } => Some("`git bisect` needs far fewer: docs/bisect.md".into()),
            Self::Empty { .. } => Some("A..B is what B has and A has not: is it the other way round?".into()),
            Self::NoCommit { .. } => Some("name a commit, a branch or a tag of one".into()),
            Self::Unknown { .. } | Self::NoFolder { .. } | Self::TooMuch { .. } => None,
            Self::Git(error) => error.hint(),
        }
    }
}

/// Returns the commits of `repository` that `revisions` names, the oldest first; at least one.
///
/// # Errors
/// If git knows no such commit, or there are none or too many.
pub fn commits(repository: &Path, revisions: &Revisions) -> Result<Vec<Commit>, RevisionsError> {
    let (repository, words) = (repository.to_owned(), revisions.words().to_owned());
    let git_dir = git_dir(&repository, &Quiet).map_err(unknown(&repository, &words))?;
    let listed = match revisions {
        Revisions::One(_) => {
            let id = one(&git_dir, &repository, &words)?;
            log(&git_dir, &id, 1)
        }
        // One more, to find out if there are too many.
        Revisions::Range(_) => log(&git_dir, &words, MOST_COMMITS + 1),
    };
    let listed = listed.map_err(unknown(&repository, &words))?;
    let listed = String::from_utf8_lossy(&listed);
    let commits: Vec<Commit> = listed
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(id, title)| Commit { id: id.to_owned(), title: title.to_owned() })
        .collect();
    match commits.len() {
        0 => Err(RevisionsError::Empty { repository, words }),
        n if n > MOST_COMMITS => Err(RevisionsError::TooMany { repository, words }),
        _ => Ok(commits),
    }
}

/// Returns the id of the commit that the work tree at `place` has checked out, if there is one.
pub fn head(place: &Path) -> Option<String> {
    git::head(place, &Quiet).ok()
}

fn unknown<'a>(repository: &'a Path, words: &'a str) -> impl Fn(CacheError) -> RevisionsError + 'a {
    move |error| match error {
        CacheError::Program { output: said, .. } => {
            RevisionsError::Unknown { repository: repository.to_owned(), words: words.to_owned(), said }
        }
        error => RevisionsError::Git(error),
    }
}

/// The id of the one commit that is meant.
fn one(git_dir: &Path, repository: &Path, words: &str) -> Result<String, RevisionsError> {
    let ask = |arguments: &[&str]| {
        let mut command = git_at(git_dir);
        command.args(arguments);
        let said = run_briefly(command, "find a commit", &|| false);
        let said = said.map_err(CacheError::from).map_err(unknown(repository, words))?;
        Ok::<_, RevisionsError>(String::from_utf8_lossy(&said).trim().to_owned())
    };
    let object = ask(&["rev-parse", "--verify", "--end-of-options", words]).or_else(|error| {
        // It knows more of what is wrong, but takes the first of several commits.
        log(git_dir, words, 1).map_err(unknown(repository, words)).and(Err(error))
    })?;
    let commit =
        ask(&["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{object}^{{commit}}")]);
    commit.map_err(|error| match ask(&["cat-file", "-t", &object]) {
        Ok(kind) => {
            let (repository, words) = (repository.to_owned(), words.to_owned());
            RevisionsError::NoCommit { repository, words, kind }
        }
        Err(_) => error,
    })
}

/// Returns ids and titles, a line each.
fn log(git_dir: &Path, words: &str, most: usize) -> Result<Vec<u8>, CacheError> {
    let mut command = git_at(git_dir);
    command.args(["log", "--no-patch", "--topo-order", "--reverse", "--format=%H %s"]);
    command.arg(format!("--max-count={most}")).args(["--end-of-options", words, "--"]);
    Ok(run_briefly(command, "list commits", &|| false)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::tests::git;

    #[test]
    fn a_range_is_told_from_its_oldest_commit_on() {
        let dir = tempfile::tempdir().unwrap();
        git(dir.path(), &["init", "-q", "-b", "main"]);
        for title in ["base", "one", "two", "three"] {
            git(dir.path(), &["commit", "-q", "--allow-empty", "-m", title]);
        }
        git(dir.path(), &["tag", "-a", "-m", "x", "v1", "HEAD~2"]);
        let titles = |revisions| {
            let commits = commits(dir.path(), &revisions).map_err(|e| e.to_string())?;
            assert!(commits.iter().all(|commit| commit.id.len() == 40));
            Ok::<_, String>(commits.into_iter().map(|commit| commit.title).collect::<Vec<_>>())
        };
        let range = |words: &str| titles(Revisions::Range(words.into()));
        let one = |words: &str| titles(Revisions::One(words.into()));
        assert_eq!(range("HEAD~3..main").unwrap(), ["one", "two", "three"]);
        assert_eq!(range("v1..").unwrap(), ["two", "three"]);
        assert_eq!(one("v1").unwrap(), ["one"]);
        assert_eq!(one("HEAD@{0}").unwrap(), ["three"]);
        let newest = commits(dir.path(), &Revisions::One("HEAD".into())).unwrap().remove(0).id;
        assert_eq!(head(dir.path()), Some(newest));
        assert_eq!(head(tempfile::tempdir().unwrap().path()), None);
        assert!(range("main..HEAD~3").unwrap_err().ends_with("has no commit"));
        assert!(one("v2").unwrap_err().contains("is not a commit:\nfatal: "));
        // Two parents, and a tree.
        assert!(one("HEAD^@").unwrap_err().contains("is not a commit"));
        let tree = commits(dir.path(), &Revisions::One("HEAD^{tree}".into())).unwrap_err();
        assert!(tree.to_string().ends_with("is a tree, not a commit"), "{tree}");
        assert_eq!(tree.hint().as_deref(), Some("name a commit, a branch or a tag of one"));
        assert_eq!(one(":/two").unwrap(), ["two"]);
        assert!(one("--all").unwrap_err().contains("is not a commit"));
        assert!(range("x..main").unwrap_err().contains("is not a commit"));
    }

    #[test]
    fn what_is_no_repository_is_named() {
        let error = commits(Path::new("/proc"), &Revisions::One("HEAD".into())).unwrap_err();
        assert!(
            error.to_string().contains("in `/proc` is not a commit:\nfatal: not a git repository"),
            "{error}"
        );
    }
}
