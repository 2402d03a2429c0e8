//! Sealed memory files: content that a child process inherits, and that nobody can change any more.

use rustix::{
    fd::OwnedFd,
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create},
    io::Errno,
};
use std::{
    fs::File,
    io::{self, BufWriter},
    thread::sleep,
    time::Duration,
};

/// The tries to seal, and the pause between two.
const MOST_TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// The bytes of a write: a host's initramfs has some 80 MB.
const BUFFER: usize = 1 << 20;

/// Returns a memfd with the output of `fill`, which nobody can change any more.
pub fn sealed(name: &str, fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<OwnedFd> {
    let fd = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut out = BufWriter::with_capacity(BUFFER, File::from(fd));
    fill(&mut out)?;
    let fd = OwnedFd::from(out.into_inner()?);
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    unless_busy(|| fcntl_add_seals(&fd, seals))?;
    Ok(fd)
}

/// Repeats a call that answers EBUSY. The kernel seals no page that it moves or writes at the moment: it waits for
/// 150 ms itself, and then gives up (Linux mm/memfd.c, memfd_wait_for_pins).
fn unless_busy(mut call: impl FnMut() -> Result<(), Errno>) -> Result<(), Errno> {
    for _ in 1..MOST_TRIES {
        match call() {
            Err(Errno::BUSY) => sleep(PAUSE),
            done => return done,
        }
    }
    call()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn nobody_changes_what_is_sealed() {
        let fd = sealed("test", |out| out.write_all(b"content")).unwrap();
        let mut file = File::from(fd);
        assert!(file.write_all(b"other").is_err() && file.set_len(0).is_err());
    }

    #[test]
    fn a_call_is_repeated_while_it_is_busy() {
        let mut tries = 0;
        let mut of = |busy: u32, then: Result<(), Errno>| {
            tries = 0;
            let result = unless_busy(|| {
                tries += 1;
                if tries > busy { then } else { Err(Errno::BUSY) }
            });
            (result, tries)
        };
        assert_eq!(of(2, Ok(())), (Ok(()), 3));
        assert_eq!(of(0, Err(Errno::PERM)), (Err(Errno::PERM), 1));
        assert_eq!(of(u32::MAX, Ok(())), (Err(Errno::BUSY), MOST_TRIES));
    }
}
