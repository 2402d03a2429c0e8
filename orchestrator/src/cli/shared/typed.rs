//! The lines that a person types at the terminal.

use crate::run::signals::Interruption;
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::{Errno, read},
};
use std::io::{self, PipeReader};

/// The longest line that a terminal gives (Linux, N_TTY_BUF_SIZE).
const LONGEST: usize = 4096;

/// The terminal on stdin, until a signal.
pub(crate) struct Typed {
    /// A pipe that a signal closes.
    interrupted: PipeReader,
}

impl Typed {
    /// Opens it. It must be called inside of a tokio runtime.
    pub(crate) fn open(interruption: Interruption) -> io::Result<Self> {
        let (interrupted, open) = io::pipe()?;
        tokio::spawn(async move {
            interruption.interrupted().await;
            drop(open);
        });
        Ok(Self { interrupted })
    }

    /// Returns the next line; None at the end of input, or after a signal. A person may take any
    /// time, so the wait has no deadline. A terminal gives one line at a time: what was typed after
    /// it stays for the next reader.
    pub(crate) fn line(&self) -> io::Result<Option<String>> {
        let stdin = io::stdin();
        let mut line = [0; LONGEST];
        loop {
            let [signal, input] =
                [PollFd::new(&self.interrupted, PollFlags::IN), PollFd::new(&stdin, PollFlags::IN)];
            let mut both = [signal, input];
            match poll(&mut both, None) {
                Err(Errno::INTR) => continue,
                ready => drop(ready?),
            }
            if !both[0].revents().is_empty() {
                return Ok(None);
            }
            match read(&stdin, &mut line) {
                // A terminal that is gone is an end as well.
                Ok(0) | Err(Errno::IO) => return Ok(None),
                Ok(n) => return Ok(Some(String::from_utf8_lossy(&line[..n]).into_owned())),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
