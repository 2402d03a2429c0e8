//! Slots: the right to run one emulated host. A slot is a lock on a file in the cache, so that runs
//! and tests of one machine share them; the kernel frees it when its holder dies.

use s2lab_os::{private, whole::unwritable};
use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// The cores that one emulated host of two vCPUs keeps busy.
const CORES: usize = 2;
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

impl Slots {
    /// Returns one slot for each two cores, at least one.
    pub fn of_machine(cache: &Path) -> io::Result<Self> {
        let cores = std::thread::available_parallelism()?.get();
        Self::new(cache, (cores / CORES).max(1))
    }

    pub fn new(cache: &Path, count: usize) -> io::Result<Self> {
        let folder = cache.join("slots");
        private::make(&folder)?;
        Ok(Self { folder, count })
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// Waits for a free slot, without a deadline. `waiting` is called once if there is none at
    /// first.
    pub async fn take(&self, waiting: impl FnOnce()) -> io::Result<Slot> {
        let mut waiting = Some(waiting);
        loop {
            for number in 0..self.count {
                let file = match open(&self.folder.join(number.to_string())) {
                    // A read-only cache has the slots that were used while it was writable.
                    Err(error) if number > 0 && unwritable(&error) => break,
                    file => file?,
                };
                match file.try_lock() {
                    Ok(()) => return Ok(Slot(file)),
                    Err(TryLockError::WouldBlock) => {}
                    Err(TryLockError::Error(error)) => return Err(error),
                }
            }
            if let Some(call) = waiting.take() {
                call();
            }
            tokio::time::sleep(AGAIN).await;
        }
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

    #[tokio::test]
    async fn a_slot_is_held_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let slots = Slots::new(dir.path(), 1).unwrap();
        let first = slots.take(|| panic!("the slot is free")).await.unwrap();
        let mut waited = false;
        let second = s2lab_os::waits::timeout(Duration::from_millis(150), slots.take(|| waited = true)).await;
        assert!(second.is_err() && waited);
        drop(first);
        slots.take(|| ()).await.unwrap();
    }
}
