//! s2lab at a terminal, with somebody who types.

use crate::harness::{Home, S2LAB};
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr},
};
use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

/// The longest wait for s2lab to print something.
const DEADLINE: Duration = Duration::from_secs(60);

/// A pseudo-terminal, and s2lab whose controlling terminal it is.
pub(crate) struct Terminal {
    child: Child,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    shown: String,
    /// The bytes of `shown` before the last thing that was waited for.
    read: usize,
}

impl Terminal {
    /// Starts s2lab by way of setsid(1), which makes the terminal its own: so Ctrl-C is a signal.
    pub(crate) fn start(home: &Home, arguments: &[&str]) -> Self {
        ["setsid", "env"].iter().for_each(|program| home.program(program));
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = ptsname(&keyboard, vec![]).unwrap();
        let flags = i32::try_from(rustix::fs::OFlags::NOCTTY.bits()).unwrap();
        let end = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(std::ffi::OsStr::from_bytes(name.to_bytes()))
            .unwrap();
        // Otherwise Ctrl-C discards what was printed and not yet read.
        let mut mode = tcgetattr(&end).unwrap();
        mode.local_modes |= LocalModes::NOFLSH;
        tcsetattr(&end, OptionalActions::Now, &mode).unwrap();
        let mut command = Command::new("setsid");
        home.prepare(&mut command);
        // A job in the background of a shell ignores SIGINT, and so do its children.
        command.args(["--ctty", "env", "--default-signal=INT", S2LAB]).args(arguments);
        let other = || Stdio::from(end.try_clone().unwrap());
        command.stdin(other()).stdout(other()).stderr(other());
        let child = command.spawn().unwrap();
        let keyboard = File::from(keyboard);
        let mut screen = keyboard.try_clone().unwrap();
        let (sender, receiver) = channel();
        let copy = move || {
            let mut bytes = [0; 4096];
            // EIO is the end: the terminal's other end is closed.
            while let Ok(n) = screen.read(&mut bytes) {
                if sender.send(bytes[..n].to_vec()).is_err() {
                    break;
                }
            }
        };
        thread::Builder::new().spawn(copy).unwrap();
        Self { child, keyboard, screen: receiver, shown: String::new(), read: 0 }
    }

    /// Waits until s2lab has printed `what` since the last wait.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, what: &str) {
        while !self.shown[self.read..].contains(what) {
            match self.screen.recv_timeout(DEADLINE) {
                Ok(bytes) => self.shown.push_str(&String::from_utf8(bytes).unwrap()),
                Err(error) => panic!("{error}, and no `{what}`: {}", self.shown),
            }
        }
        self.read = self.shown.len();
    }

    /// Types a text, in which `\n` is the return key, and `\x03` is Ctrl-C.
    pub(crate) fn enter(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    /// Ends s2lab as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Waits for the end of s2lab. Returns the whole screen and the exit status.
    pub(crate) fn finish(mut self) -> (String, ExitStatus) {
        loop {
            match self.screen.recv_timeout(DEADLINE) {
                Ok(bytes) => self.shown.push_str(&String::from_utf8(bytes).unwrap()),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end: {}", self.shown),
            }
        }
        (self.shown.replace("\r\n", "\n"), self.child.wait().unwrap())
    }
}
