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
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

/// The interval between two tries for a taken slot. A boot takes seconds, so this is not
/// noticeable.
const AGAIN: Duration = Duration::from_millis(100);

/// The slots of this machine.
#[derive(Debug)]
pub struct Slots {
    folder: PathBuf,
    count: usize,
    /// All slots, if the run holds them until it ends.
    held: Vec<Slot>,
}

/// A held slot. Dropping it releases it. It has no lock of its own if the run holds all slots.
#[derive(Debug)]
pub struct Slot(#[expect(dead_code, reason = "held for its lock, which closing frees")] Option<File>);

/// The result of a try to take a slot.
enum Free {
    Taken(Slot),
    /// Somebody else has it.
    Later,
    /// The cache is read-only and does not have it.
    Nowhere,
}

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
        Ok(Self { folder, count, held: vec![] })
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// Makes them at least `count`, because the user wants so many cells at a time.
    pub fn raise(&mut self, count: usize) {
        self.count = self.count.max(count);
    }

    /// Waits until all slots of the machine are free, without a deadline, and holds them until `self` is
    /// dropped. They are taken in ascending order, so two runs that want all do not wait for each other.
    /// `key` and `waiting` are those of [`Slots::take`].
    pub async fn hold_all(&mut self, key: &Key, waiting: impl FnOnce(&[Holder])) -> io::Result<()> {
        let (mut waiting, mut held) = (Some(waiting), vec![]);
        // Another run may have more slots, or make more of them meanwhile.
        while held.len() < self.count.max(self.made()?) {
            match self.free(held.len(), key)? {
                Free::Taken(slot) => held.push(slot),
                Free::Nowhere => break,
                Free::Later => {
                    if let Some(call) = waiting.take() {
                        call(&self.holders(held.len()..held.len() + 1));
                    }
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
        self.held = held;
        Ok(())
    }

    /// Returns the number of slots that runs of this machine have made.
    fn made(&self) -> io::Result<usize> {
        let mut made = 0;
        for entry in std::fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.parse::<usize>().ok());
            made = made.max(number.map_or(0, |number| number.saturating_add(1)));
        }
        Ok(made)
    }

    /// Takes the slot of this number, if it is free.
    fn free(&self, number: usize, key: &Key) -> io::Result<Free> {
        let file = match open(&self.path(number)) {
            // A read-only cache has the slots that were used while it was writable.
            Err(error) if number > 0 && unwritable(&error) => return Ok(Free::Nowhere),
            file => file?,
        };
        match file.try_lock() {
            Ok(()) => {
                sign(&file, key);
                Ok(Free::Taken(Slot(Some(file))))
            }
            Err(TryLockError::WouldBlock) => Ok(Free::Later),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Waits for a free slot for the cell `key`, without a deadline. `waiting` is called with the known
    /// holders, once, if there is none at first.
    pub async fn take(&self, key: &Key, waiting: impl FnOnce(&[Holder])) -> io::Result<Slot> {
        if !self.held.is_empty() {
            return Ok(Slot(None));
        }
        let mut waiting = Some(waiting);
        loop {
            for number in 0..self.count {
                match self.free(number, key)? {
                    Free::Taken(slot) => return Ok(slot),
                    Free::Nowhere => break,
                    Free::Later => {}
                }
            }
            if let Some(call) = waiting.take() {
                call(&self.holders(0..self.count));
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn path(&self, number: usize) -> PathBuf {
        self.folder.join(number.to_string())
    }

    /// Returns the holders that these slots' files name. A holder that could not write is missing.
    fn holders(&self, slots: Range<usize>) -> Vec<Holder> {
        let read = |number| outside::read(&self.path(number), kinds::NOTE).ok();
        slots.filter_map(read).filter_map(|note| serde_json::from_slice(&note).ok()).collect()
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
        let mut slots = Slots::new(dir.path(), 1).unwrap();
        slots.raise(2);
        let _one = slots.take(&KEY, |_| panic!("free")).await.unwrap();
        let _two = slots.take(&KEY, |_| panic!("free")).await.unwrap();
        slots.raise(1);
        assert_eq!(slots.count(), 2);
    }

    /// Those of other runs too, which may have more of them.
    #[tokio::test]
    async fn who_holds_all_slots_is_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (mut all, other) = (Slots::new(dir.path(), 1).unwrap(), Slots::new(dir.path(), 3).unwrap());
        let moment = Duration::from_millis(150);
        let mut others = vec![];
        for _ in 0..3 {
            others.push(other.take(&KEY, |_| panic!("free")).await.unwrap());
        }
        while let Some(last) = others.pop() {
            let holding = all.hold_all(&KEY, |holders| assert_eq!(holders.len(), 1));
            assert!(
                s2lab_os::waits::timeout(moment, holding).await.is_err(),
                "{} are held",
                others.len() + 1
            );
            drop(last);
        }
        all.hold_all(&KEY, |_| panic!("free")).await.unwrap();
        assert!(s2lab_os::waits::timeout(moment, other.take(&KEY, |_| ())).await.is_err());
        let (_one, _two) =
            (all.take(&KEY, |_| panic!()).await.unwrap(), all.take(&KEY, |_| panic!()).await.unwrap());
        drop(all);
        other.take(&KEY, |_| panic!("free")).await.unwrap();
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
