//! Slots: the right to run one emulated host. A slot is a lock on a file in the cache, so that runs
//! and tests of one machine share them; the kernel frees it when its holder dies.

use super::folder::now;
use jiff::Timestamp;
use s2lab_model::plan::Key;
use s2lab_os::{
    outside::{self, kinds},
    private,
    whole::unwritable,
};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    fs::{File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

/// The interval between two tries for a taken slot. A boot takes seconds, so this is not
/// noticeable.
const AGAIN: Duration = Duration::from_millis(100);

/// The slots of this machine.
#[derive(Debug, Clone)]
pub struct Slots {
    folder: PathBuf,
    count: usize,
}

/// A held slot. Dropping it releases it.
#[derive(Debug)]
pub struct Slot(#[expect(dead_code, reason = "held for its lock, which closing frees")] File);

/// The holder of a slot, as the slot's file names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    key: Key,
    process: u32,
    since: Timestamp,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, process, since } = self;
        write!(f, "{key} of process {process} since {since:.0}")
    }
}

impl Slots {
    pub fn new(cache: &Path, count: usize) -> io::Result<Self> {
        let folder = cache.join("slots");
        private::make(&folder)?;
        Ok(Self { folder, count })
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// Returns the same slots, but at least `count`, because the user wants so many cells at a time.
    #[must_use]
    pub fn at_least(self, count: usize) -> Self {
        Self { count: self.count.max(count), ..self }
    }

    /// Waits for a free slot for the cell `key`, without a deadline. `waiting` is called with the known
    /// holders, once, if there is none at first.
    pub async fn take(&self, key: &Key, waiting: impl FnOnce(&[Holder])) -> io::Result<Slot> {
        let mut waiting = Some(waiting);
        loop {
            for number in 0..self.count {
                let file = match open(&self.path(number)) {
                    // A read-only cache has the slots that were used while it was writable.
                    Err(error) if number > 0 && unwritable(&error) => break,
                    file => file?,
                };
                match file.try_lock() {
                    Ok(()) => {
                        sign(&file, key);
                        return Ok(Slot(file));
                    }
                    Err(TryLockError::WouldBlock) => {}
                    Err(TryLockError::Error(error)) => return Err(error),
                }
            }
            if let Some(call) = waiting.take() {
                call(&self.holders());
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn path(&self, number: usize) -> PathBuf {
        self.folder.join(number.to_string())
    }

    /// Returns the holders that the slots' files name. A holder that could not write is missing.
    fn holders(&self) -> Vec<Holder> {
        let read = |number| outside::read(&self.path(number), kinds::NOTE).ok();
        (0..self.count).filter_map(read).filter_map(|note| serde_json::from_slice(&note).ok()).collect()
    }
}

/// Returns the holders as the end of a sentence.
pub fn held_by(holders: &[Holder]) -> String {
    let names: Vec<_> = holders.iter().map(ToString::to_string).collect();
    match names.is_empty() {
        true => "; no holder has written its name".to_owned(),
        false => format!("; held by {}", names.join(", ")),
    }
}

/// Returns the number of hosts at a time: one for each core, or fewer if `memory` has no room for so many
/// hosts of `largest` (both in bytes); at least one. A host has two vCPUs and keeps about one core busy.
pub fn count(cores: usize, memory: u64, largest: u64) -> usize {
    let room = memory.checked_div(largest).map_or(cores, |room| usize::try_from(room).unwrap_or(cores));
    cores.min(room).max(1)
}

/// Writes the holder into its slot's file, for those who wait. Without that they wait all the same.
fn sign(mut file: &File, key: &Key) {
    let holder = Holder { key: key.clone(), process: std::process::id(), since: now() };
    let note = serde_json::to_vec(&holder).unwrap_or_default();
    if let Err(error) = file.set_len(0).and_then(|()| file.write_all(&note)) {
        tracing::debug!("the slot's holder is not written: {error}");
    }
}

/// Opens a slot's file, and makes it if it is missing. A lock needs no right to write.
fn open(path: &Path) -> io::Result<File> {
    let made = OpenOptions::new().create(true).truncate(false).write(true).open(path);
    match made {
        Err(error) if unwritable(&error) => match File::open(path) {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Err(error),
            file => file,
        },
        made => made,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::LazyLock;

    static KEY: LazyLock<Key> = LazyLock::new(|| "vfio-pci-bar@debian-6.12".parse().unwrap());

    #[tokio::test]
    async fn a_slot_is_held_by_one_whose_name_those_who_wait_get() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("slots")).unwrap();
        std::fs::write(
            dir.path().join("slots/0"),
            "an earlier holder whose name was longer than the present one's, ".repeat(9),
        )
        .unwrap();
        let slots = Slots::new(dir.path(), 1).unwrap();
        let first = slots.take(&KEY, |_| panic!("the slot is free")).await.unwrap();
        let mut holders = None;
        let waiting = slots.take(&KEY, |found| holders = Some(found.to_vec()));
        let second = s2lab_os::waits::timeout(Duration::from_millis(150), waiting).await;
        assert!(second.is_err());
        let [holder] = &holders.unwrap()[..] else { panic!("one holder") };
        let text = holder.to_string();
        let begin = format!("vfio-pci-bar@debian-6.12 of process {} since 20", std::process::id());
        assert!(text.starts_with(&begin) && text.ends_with('Z'), "{text}");
        assert_eq!(held_by(&[holder.clone(), holder.clone()]), format!("; held by {text}, {text}"));
        drop(first);
        slots.take(&KEY, |_| ()).await.unwrap();
    }

    #[tokio::test]
    async fn a_holder_without_a_name_is_waited_for_too() {
        let dir = tempfile::tempdir().unwrap();
        let slots = Slots::new(dir.path(), 1).unwrap();
        let _first = slots.take(&KEY, |_| ()).await.unwrap();
        for text in ["", "{", "{\"key\":7}"] {
            std::fs::write(dir.path().join("slots/0"), text).unwrap();
            let waiting =
                slots.take(&KEY, |found| assert_eq!(held_by(found), "; no holder has written its name"));
            assert!(s2lab_os::waits::timeout(Duration::from_millis(150), waiting).await.is_err());
        }
    }

    #[tokio::test]
    async fn who_wants_more_gets_more() {
        let dir = tempfile::tempdir().unwrap();
        let slots = Slots::new(dir.path(), 1).unwrap().at_least(2);
        let _one = slots.take(&KEY, |_| panic!("free")).await.unwrap();
        let _two = slots.take(&KEY, |_| panic!("free")).await.unwrap();
        assert_eq!(slots.at_least(1).count(), 2);
    }

    #[test]
    fn cores_and_memory_bound_the_hosts() {
        const GIB: u64 = 1 << 30;
        assert_eq!(count(2, 20 * GIB, 2 * GIB), 2);
        assert_eq!(count(2, 4 * GIB, 2 * GIB), 2);
        assert_eq!(count(2, 4 * GIB - 1, 2 * GIB), 1);
        assert_eq!(count(2, GIB, 2 * GIB), 1, "the preflight names what is missing");
        assert_eq!(count(16, 9 * GIB, 2 * GIB), 4);
        assert_eq!(count(16, 9 * GIB, 0), 16, "no cell");
    }
}
