//! Locks between processes: `flock` on a file, which the kernel frees when its holder dies, however
//! it dies.

use crate::{
    outside::{self, kinds},
    private,
};
use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

const POLL: Duration = Duration::from_millis(100);

/// Why a lock is not held.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("{what} `{path}`: {source}")]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("waited {} s for another s2lab that holds `{lock}`", limit.as_secs())]
    Timeout { lock: String, limit: Duration },
    #[error("cancelled")]
    Cancelled,
}

impl LockError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}

type Result<T> = std::result::Result<T, LockError>;

/// A held lock. Dropping it releases it. The file stays: removing it would let two processes lock
/// two files of one name.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child that is between fork and exec still has the file open.
        let _ = self.file.unlock();
    }
}

fn open(path: &Path) -> Result<File> {
    if let Some(parent) = path.parent() {
        private::make(parent).map_err(LockError::io("cannot create", parent))?;
    }
    // The file that a link in place of the lock leads to would lose its content.
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .map_err(LockError::io("cannot open the lock", path))
}

impl Lock {
    /// Returns the lock if nobody holds it.
    pub fn try_acquire(path: &Path) -> Result<Option<Self>> {
        let mut file = open(path)?;
        match file.try_lock() {
            Ok(()) => {
                // The number is only for the message of a waiting process, so a failed write
                // changes nothing.
                let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
                Ok(Some(Self { file }))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(LockError::io("cannot lock", path)(e)),
        }
    }

    /// Waits up to `limit`. `what` is the work of the lock's holder, for the error. `waits` gets the
    /// holder once, if somebody still holds it after a moment. `cancelled` is asked while waiting.
    pub fn acquire(
        path: &Path,
        what: &str,
        limit: Duration,
        waits: &dyn Fn(&str),
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Self> {
        let start = crate::waits::now();
        let mut polls = 0;
        loop {
            if let Some(lock) = Self::try_acquire(path)? {
                return Ok(lock);
            }
            if cancelled() {
                return Err(LockError::Cancelled);
            }
            if start.elapsed() >= limit {
                return Err(LockError::Timeout { lock: what.to_owned(), limit });
            }
            // A holder that has just begun has not written its number yet.
            if polls == 1 {
                waits(&holder(path));
            }
            polls += 1;
            thread::sleep(POLL);
        }
    }
}

fn holder(path: &Path) -> String {
    let text = outside::read_text(path, kinds::NOTE).unwrap_or_default();
    match text.trim().parse::<u32>() {
        Ok(pid) => format!("process {pid}"),
        Err(_) => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{BufRead, BufReader, Read},
        process::{Child, Command, Stdio},
        sync::Mutex,
    };

    #[test]
    fn a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (mine, lock) = (dir.path().join("mine"), dir.path().join("x.lock"));
        std::fs::write(&mine, "precious").unwrap();
        std::os::unix::fs::symlink(&mine, &lock).unwrap();
        assert!(Lock::try_acquire(&lock).is_err());
        assert_eq!(std::fs::read_to_string(&mine).unwrap(), "precious");
    }

    const CHILD: &str = "S2LAB_TEST_LOCK";

    /// Not a test of its own: the other process runs it.
    #[test]
    #[ignore = "run by the tests below in a process of its own"]
    fn hold_for_ever() {
        if let Some(path) = std::env::var_os(CHILD) {
            let _lock = Lock::try_acquire(Path::new(&path)).unwrap().unwrap();
            println!("\nheld");
            let _ = std::io::stdin().read(&mut [0]);
        }
    }

    fn holder_process(path: &Path) -> Child {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "lock::tests::hold_for_ever", "--ignored", "--nocapture"])
            .env(CHILD, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        assert!(lines.map_while(io::Result::ok).any(|l| l == "held"));
        child
    }

    #[test]
    fn another_process_keeps_us_out_until_it_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("locks/x.lock");
        let mut child = holder_process(&path);
        let said = Mutex::new(vec![]);
        let waits = |holder: &str| said.lock().unwrap().push(holder.to_owned());
        let error = Lock::acquire(&path, "x", Duration::from_millis(250), &waits, &|| false).unwrap_err();
        assert!(matches!(error, LockError::Timeout { .. }), "{error}");
        assert_eq!(*said.lock().unwrap(), [format!("process {}", child.id())]);

        child.kill().unwrap();
        child.wait().unwrap();
        assert!(Lock::acquire(&path, "x", Duration::from_secs(20), &|_| (), &|| false).is_ok());
    }

    /// Its number may still be missing in the file.
    #[test]
    fn a_holder_that_has_just_begun_is_not_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let _held = Lock::try_acquire(&path).unwrap();
        let waits = |holder: &str| panic!("waits for {holder}");
        let error = Lock::acquire(&path, "x", POLL / 2, &waits, &|| false).unwrap_err();
        assert!(matches!(error, LockError::Timeout { .. }), "{error}");
    }

    #[test]
    fn dropping_frees() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let held = Lock::try_acquire(&path).unwrap();
        assert!(held.is_some() && Lock::try_acquire(&path).unwrap().is_none());
        drop(held);
        assert!(Lock::try_acquire(&path).unwrap().is_some());
    }

    /// A child that another thread starts has a copy of the file until it is another program.
    #[test]
    fn dropping_frees_although_a_copy_of_the_file_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let held = Lock::try_acquire(&path).unwrap().unwrap();
        let _copy = held.file.try_clone().unwrap();
        drop(held);
        assert!(Lock::try_acquire(&path).unwrap().is_some());
    }

    #[test]
    fn waiting_can_be_cancelled() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let _held = Lock::try_acquire(&path).unwrap();
        let waited = Lock::acquire(&path, "x", Duration::from_secs(600), &|_| (), &|| true);
        assert!(matches!(waited, Err(LockError::Cancelled)));
    }
}
