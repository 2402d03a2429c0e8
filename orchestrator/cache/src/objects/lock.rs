//! The locks of the cache, in a folder among the objects.

use crate::{error::Result, progress::Progress};
pub(crate) use s2lab_os::lock::Lock;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// The folder of locks, among the objects.
pub(crate) const FOLDER: &str = "locks";

/// Returns the path of the lock called `name`.
pub(crate) fn path(objects: &Path, name: &str) -> PathBuf {
    objects.join(FOLDER).join(format!("{name}.lock"))
}

/// Waits up to `limit` for a lock. Reports to `progress` once what it waits for, if that is another
/// process.
pub(crate) fn acquire(path: &Path, what: &str, limit: Duration, progress: &dyn Progress) -> Result<Lock> {
    let this = format!("process {}", std::process::id());
    let waits = |holder: &str| {
        if holder != this {
            progress.step(&format!("waiting for {holder}, which prepares {what}"));
        }
    };
    Ok(Lock::acquire(path, what, limit, &waits, &|| progress.cancelled())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CacheError;
    use std::{fs, sync::Mutex};

    #[derive(Default)]
    struct Said(Mutex<Vec<String>>);

    impl Progress for Said {
        fn step(&self, what: &str) {
            self.0.lock().unwrap().push(what.to_owned());
        }

        fn download(&self, _: &str, _: u64, _: u64) {}
    }

    #[test]
    fn a_wait_for_another_process_is_reported_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path(), "x");
        let _held = Lock::try_acquire(&path).unwrap().unwrap();
        let said = Said::default();
        let wait = || {
            let error = acquire(&path, "the tree", Duration::from_millis(250), &said).unwrap_err();
            assert!(matches!(error, CacheError::LockTimeout { lock, .. } if lock == "the tree"));
        };
        wait();
        assert_eq!(*said.0.lock().unwrap(), [""; 0], "another lane of this process is at work");
        // As if the holder were the first process of the machine.
        fs::write(&path, "1").unwrap();
        wait();
        assert_eq!(*said.0.lock().unwrap(), ["waiting for process 1, which prepares the tree"]);
    }
}
