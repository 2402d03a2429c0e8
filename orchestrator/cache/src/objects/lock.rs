//! Locks between processes: `flock` on a file, which the kernel frees when its holder dies, however
//! it dies.

use crate::{
    error::{CacheError, Result},
    progress::Progress,
};
use s2lab_os::{
    outside::{self, kinds},
    waits,
};
use std::{
    fs::{File, OpenOptions, TryLockError},
    io::Write,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

const POLL: Duration = Duration::from_millis(100);

/// A held lock. Dropping it releases it. The file stays: removing it would let two processes lock
/// two files of one name.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

fn open(path: &Path) -> Result<File> {
    if let Some(parent) = path.parent() {
        s2lab_os::private::make(parent).map_err(CacheError::io("cannot create", parent))?;
    }
    // The file that a link in place of the lock leads to would lose its content.
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .map_err(CacheError::io("cannot open the lock", path))
}

impl Lock {
    /// Returns the lock if nobody holds it.
    pub(crate) fn try_acquire(path: &Path) -> Result<Option<Self>> {
        let mut file = open(path)?;
        match file.try_lock() {
            Ok(()) => {
                // The number is only for the message of a waiting process, so a failed write
                // changes nothing.
                let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
                Ok(Some(Self { _file: file }))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(CacheError::io("cannot lock", path)(e)),
        }
    }

    /// Waits up to `limit`. Reports to `progress` once what it waits for.
    pub(crate) fn acquire(path: &Path, what: &str, limit: Duration, progress: &dyn Progress) -> Result<Self> {
        let start = waits::now();
        let mut reported = false;
        loop {
            if let Some(lock) = Self::try_acquire(path)? {
                return Ok(lock);
            }
            if progress.cancelled() {
                return Err(CacheError::Cancelled);
            }
            if start.elapsed() >= limit {
                return Err(CacheError::LockTimeout { lock: what.to_owned(), limit });
            }
            if !reported {
                progress.step(&format!("waiting for {}, which prepares {what}", holder(path)));
                reported = true;
            }
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

/// The folder of locks, among the objects.
pub(crate) const FOLDER: &str = "locks";

/// Returns the path of the lock called `name`.
pub(crate) fn path(objects: &Path, name: &str) -> PathBuf {
    objects.join(FOLDER).join(format!("{name}.lock"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Quiet;
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
            .args(["--exact", "objects::lock::tests::hold_for_ever", "--ignored", "--nocapture"])
            .env(CHILD, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|l| l == "held"));
        child
    }

    #[derive(Default)]
    struct Said(Mutex<Vec<String>>);
    impl Progress for Said {
        fn step(&self, what: &str) {
            self.0.lock().unwrap().push(what.to_owned());
        }
        fn download(&self, _: &str, _: u64, _: u64) {}
    }

    #[test]
    fn another_process_keeps_us_out_until_it_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("locks/x.lock");
        let mut child = holder_process(&path);
        let said = Said::default();
        let error = Lock::acquire(&path, "x", Duration::from_millis(250), &said).unwrap_err();
        assert!(matches!(error, CacheError::LockTimeout { .. }), "{error}");
        assert_eq!(
            *said.0.lock().unwrap(),
            [format!("waiting for process {}, which prepares x", child.id())]
        );

        child.kill().unwrap();
        child.wait().unwrap();
        assert!(Lock::acquire(&path, "x", Duration::from_secs(20), &Quiet).is_ok());
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

    #[test]
    fn waiting_can_be_cancelled() {
        struct Stop;
        impl Progress for Stop {
            fn step(&self, _: &str) {}
            fn download(&self, _: &str, _: u64, _: u64) {}
            fn cancelled(&self) -> bool {
                true
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let _held = Lock::try_acquire(&path).unwrap();
        let waited = Lock::acquire(&path, "x", Duration::from_secs(600), &Stop);
        assert!(matches!(waited, Err(CacheError::Cancelled)));
    }
}
