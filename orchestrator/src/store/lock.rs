//! Locks between processes: `flock` on a file, which the kernel frees when its holder dies, however it dies.

use super::{
    error::{Result, StoreError},
    progress::Progress,
};
use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

const POLL: Duration = Duration::from_millis(100);

/// A held lock; dropping it frees it. The file stays: removing it would let two processes lock two files of one name.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

fn open(path: &Path) -> Result<File> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(StoreError::io("cannot create", parent))?;
    }
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(StoreError::io("cannot open the lock", path))
}

impl Lock {
    /// The lock if nobody holds it.
    pub(crate) fn try_acquire(path: &Path) -> Result<Option<Self>> {
        let mut file = open(path)?;
        match file.try_lock() {
            Ok(()) => {
                // Only for the sentence that a waiting process prints: a failure to write it changes nothing.
                let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
                Ok(Some(Self { _file: file }))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(StoreError::io("cannot lock", path)(e)),
        }
    }

    /// Waits up to `limit`; tells `progress` once what it waits for.
    pub(crate) fn acquire(path: &Path, what: &str, limit: Duration, progress: &dyn Progress) -> Result<Self> {
        let start = Instant::now();
        let mut told = false;
        loop {
            if let Some(lock) = Self::try_acquire(path)? {
                return Ok(lock);
            }
            if progress.cancelled() {
                return Err(StoreError::Cancelled);
            }
            if start.elapsed() >= limit {
                return Err(StoreError::LockTimeout { lock: what.to_owned(), limit });
            }
            if !told {
                progress.step(&format!("waiting for {}, which prepares {what}", holder(path)));
                told = true;
            }
            thread::sleep(POLL);
        }
    }
}

fn holder(path: &Path) -> String {
    let mut text = String::new();
    let read = File::open(path).and_then(|mut f| f.rewind().and_then(|()| f.read_to_string(&mut text)));
    match (read, text.trim().parse::<u32>()) {
        (Ok(_), Ok(pid)) => format!("process {pid}"),
        _ => "another process".to_owned(),
    }
}

/// Where the lock called `name` lies.
pub(crate) fn path(store: &Path, name: &str) -> PathBuf {
    store.join("locks").join(format!("{name}.lock"))
}
