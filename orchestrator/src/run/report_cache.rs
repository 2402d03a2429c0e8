//! The reports of runs that have ended, in the cache: `diff` does not judge thousands of cells again.
//!
//! The name of a file is the digest of everything that the reports depend on: the program, the event
//! log and the table pages. So no file is ever stale, and a run's folder, which may come from
//! elsewhere, does not decide what is shown of its log.

use super::{
    folder::{RunFolder, entries},
    retention,
};
use s2lab_cache::objects::digest;
use s2lab_model::{
    hash::{Hasher, is_digest},
    plan::Key,
    record::look::Pages,
    report::Report,
};
use s2lab_os::{
    outside::{self, kinds},
    whole::{self, Sync},
};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::LazyLock,
};

/// The folder in the cache.
const FOLDER: &str = "reports";
/// The number of runs whose reports are kept.
const KEPT: usize = retention::KEPT;
/// The length of a digest, in front of the content of a file.
const DIGEST: usize = 64;

/// The digest of this program's file: a build of other code is another program. None: it cannot be
/// read.
static PROGRAM: LazyLock<Option<String>> = LazyLock::new(|| {
    // It leads to the file that was started, even if another one has its name now.
    digest::file(Path::new("/proc/self/exe")).ok()
});

/// Reads this program's file in the background, which takes tens of milliseconds: a run that begins needs the digest
/// at its end.
pub fn prepare() {
    tokio::task::spawn_blocking(|| LazyLock::force(&PROGRAM));
}

/// The folder of reports.
#[derive(Debug, Clone)]
pub struct ReportCache {
    folder: PathBuf,
}

/// The place of the reports of one run, which may be empty.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    path: PathBuf,
}

impl ReportCache {
    /// Returns that of the cache folder `cache`.
    pub fn new(cache: &Path) -> Self {
        Self { folder: cache.join(FOLDER) }
    }

    /// Returns the place of the reports of a run; `log` is the digest of its event log. Returns None
    /// for a bundle, and if anything that a judgement reads cannot be read.
    pub fn entry(&self, run: &RunFolder, log: &str) -> Option<Entry> {
        let program = PROGRAM.as_deref().filter(|_| !run.is_bundle())?;
        let mut inputs = Hasher::default();
        // Each part has 64 digits, so no two lists of parts are one text.
        [program, log].iter().for_each(|part| inputs.update(part.as_bytes()));
        let mut pages: Vec<_> = entries(&run.raw()).ok()?.into_iter().map(|(name, _)| name).collect();
        pages.sort();
        for name in pages.iter().filter(|name| is_digest(name)) {
            let page = run.pages().page(name).ok()??;
            [name, &digest::bytes(&page)].iter().for_each(|part| inputs.update(part.as_bytes()));
        }
        Some(Entry { path: self.folder.join(inputs.finish()) })
    }
}

impl Entry {
    /// Returns the reports, if they are kept and the file is whole.
    pub fn read(&self) -> Option<BTreeMap<Key, Report>> {
        let bytes = outside::read(&self.path, kinds::MANIFEST).ok()?;
        let (expected, content) = bytes.split_at_checked(DIGEST)?;
        if digest::bytes(content).as_bytes() != expected {
            return None;
        }
        let texts: Vec<String> = serde_json::from_slice(content).ok()?;
        let report = |text: &String| Report::parse(text).ok().map(|report| (report.key.clone(), report));
        texts.iter().map(report).collect()
    }

    /// Keeps the reports. If that fails, the run is judged again.
    pub fn write(&self, reports: &BTreeMap<Key, Report>) {
        let texts: Vec<_> = reports.values().map(Report::text).collect();
        let written = serde_json::to_vec(&texts).map_err(io::Error::from).and_then(|content| {
            let bytes = [digest::bytes(&content).as_bytes(), &content].concat();
            whole::write(&self.path, &bytes, Sync::Later)?;
            self.path.parent().map_or(Ok(()), forget)
        });
        if let Err(error) = written {
            tracing::debug!("the reports are not kept in the cache: {error}");
        }
    }
}

/// Removes all but the newest files.
fn forget(folder: &Path) -> io::Result<()> {
    let mut files = vec![];
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        files.push((entry.metadata()?.modified()?, entry.path()));
    }
    files.sort();
    let old = files.len().saturating_sub(KEPT);
    files.iter().take(old).try_for_each(|(_, path)| fs::remove_file(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use s2lab_model::lines::Text;
    use s2lab_os::clock;
    use std::time::Duration;

    const LOG: &str = "log";

    fn reports(keys: &[&str]) -> BTreeMap<Key, Report> {
        let report = |key: &&str| {
            let key: Key = key.parse().unwrap();
            (key.clone(), Report::empty(key, Text::new("PASS")))
        };
        keys.iter().map(report).collect()
    }

    /// Returns a cache, and a run with two pages.
    fn run() -> (tempfile::TempDir, ReportCache, RunFolder) {
        let dir = tempfile::tempdir().unwrap();
        let run = RunFolder::found(&dir.path().join("run"));
        fs::create_dir_all(run.raw()).unwrap();
        for page in ["one", "two"] {
            fs::write(run.raw().join(digest::bytes(page.as_bytes())), page).unwrap();
        }
        let cache = ReportCache::new(dir.path());
        (dir, cache, run)
    }

    #[test]
    fn each_part_of_a_judgement_is_in_the_name() {
        let (_dir, cache, run) = run();
        let entry = || cache.entry(&run, LOG).unwrap();
        let (before, page) = (entry(), run.raw().join(digest::bytes(b"one")));
        assert_ne!(cache.entry(&run, "another log").unwrap(), before);
        fs::write(run.raw().join("a note"), "no page").unwrap();
        assert_eq!(entry(), before);
        let more = run.raw().join(digest::bytes(b"three"));
        fs::write(&more, "three").unwrap();
        assert_ne!(entry(), before);
        fs::remove_file(more).unwrap();
        fs::write(&page, "other").unwrap();
        assert_ne!(entry(), before);
        fs::remove_file(&page).unwrap();
        assert_ne!(entry(), before);
        fs::create_dir(&page).unwrap();
        assert_eq!(cache.entry(&run, LOG), None, "a folder in the place of a page");
        fs::remove_dir(&page).unwrap();
        fs::write(&page, "one").unwrap();
        assert_eq!(entry(), before);
        // A run without a look has no pages.
        fs::remove_dir_all(run.raw()).unwrap();
        assert_ne!(entry(), before);
    }

    #[test]
    fn a_damaged_file_is_as_none() {
        let (_dir, cache, run) = run();
        let entry = cache.entry(&run, LOG).unwrap();
        assert_eq!(entry.read(), None);
        let kept = reports(&["a@k", "b@k"]);
        entry.write(&kept);
        assert_eq!(entry.read(), Some(kept.clone()));
        let whole = fs::read(&entry.path).unwrap();
        let damaged = |bytes: &[u8]| {
            fs::write(&entry.path, bytes).unwrap();
            assert_eq!(entry.read(), None);
        };
        (0..whole.len()).for_each(|end| damaged(&whole[..end]));
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            damaged(&bytes);
        }
        let right = |content: &str| damaged((digest::bytes(content.as_bytes()) + content).as_bytes());
        ["", "{}", "[1]", r#"["no report"]"#].iter().for_each(|content| right(content));
        entry.write(&kept);
        assert_eq!(entry.read(), Some(kept));
        entry.write(&reports(&[]));
        assert_eq!(entry.read(), Some(reports(&[])));
    }

    #[test]
    fn the_newest_stay() {
        let (_dir, cache, run) = run();
        let entries: Vec<_> = (0..KEPT + 3).map(|n| cache.entry(&run, &n.to_string()).unwrap()).collect();
        for (n, entry) in entries.iter().enumerate() {
            entry.write(&reports(&["a@k"]));
            let age = Duration::from_secs(1000 - n as u64);
            let file = fs::File::open(&entry.path).unwrap();
            file.set_modified(clock::now() - age).unwrap();
        }
        let kept: Vec<_> = entries.iter().map(|entry| entry.read().is_some()).collect();
        assert_eq!(kept, [vec![false; 3], vec![true; KEPT]].concat());
    }

    /// A cache that cannot be written is no error.
    #[test]
    fn nothing_is_kept_where_nothing_can_be_written() {
        let (dir, cache, run) = run();
        fs::write(dir.path().join(FOLDER), "a file").unwrap();
        let entry = cache.entry(&run, LOG).unwrap();
        entry.write(&reports(&["a@k"]));
        assert_eq!(entry.read(), None);
        assert_eq!(fs::read_to_string(dir.path().join(FOLDER)).unwrap(), "a file");
    }
}
