//! The operator: a person at a cell's host, with a shell in it, or with gdb at its first
//! instruction.

use super::{
    errand::{Errand, HostFile, Task},
    stages::Stop,
};
use crate::boot::kernel::ready::KernelFiles;
use crate::host::deadlines::Deadlines;
use crate::host::ssh::{Exit, RawMode, Shell, Ssh, SshError, size};
use rustix::fd::AsFd;
use s2lab_model::{plan::Key, tables::LookTables};
use s2lab_protocol::ask::ProgramEnd;
use std::{
    fs::Permissions,
    io::{self, IsTerminal, Write},
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};
use tokio::{
    net::UnixListener,
    signal::unix::{SignalKind, signal},
};

/// The exit code of a program that a signal has ended, without the signal's number, as in a shell.
const SIGNALLED: u8 = 128;
/// The arguments that make a crashing kernel end the machine (`-no-reboot`) instead of hanging it.
pub const CRASH_ENDS: &str = "panic=-1 oops=panic";
/// The argument for a kernel that is kept for a person: it stays as it is, and continues after an
/// oops if it can.
const CRASH_STAYS: &str = "panic=0";
/// The arguments for gdb, which also needs the kernel at its vmlinux's addresses.
const CRASH_STAYS_IN_PLACE: &str = "panic=0 nokaslr";

/// Returns what a cell lacks to pass, by its key and the log, if it lacks something.
pub type Lacks = Box<dyn Fn(&Key) -> Option<String> + Send + Sync>;

/// Makes the text of a look that the person asks for.
pub type Show = fn(&Key, &LookTables) -> String;

/// The moment of a shell.
pub enum When {
    /// Instead of the scenario's steps.
    Instead(Errand),
    /// Before the end of a host whose cell does not pass.
    NotPassed(Lacks),
}

/// The person at stdin, stdout and stderr, perhaps with gdb in another terminal.
pub struct Operator {
    shell: Option<When>,
    gdb: bool,
    show: Show,
    exit: OnceLock<Exit>,
}

impl Operator {
    /// Makes an operator. With `gdb` the host waits for a gdb before its first instruction, and no
    /// deadline counts.
    pub fn new(shell: Option<When>, gdb: bool, show: Show) -> Self {
        Self { shell, gdb, show, exit: OnceLock::new() }
    }

    /// Returns the text of a look at a cell's guest.
    pub(super) fn show(&self, key: &Key, tables: &LookTables) -> String {
        (self.show)(key, tables)
    }

    /// Returns the end of the shell, or None if there was none.
    pub fn exit(&self) -> Option<&Exit> {
        self.exit.get()
    }

    /// Returns the errand in place of the scenario's steps.
    pub(super) fn errand(&self) -> Option<&Errand> {
        match &self.shell {
            Some(When::Instead(errand)) => Some(errand),
            _ => None,
        }
    }

    /// Returns true if the host of a cell that does not pass is kept.
    pub(super) fn keeps(&self) -> bool {
        matches!(self.shell, Some(When::NotPassed(_)))
    }

    /// Returns what the cell lacks to pass, if its host is kept for it.
    pub(super) fn lacks(&self, key: &Key) -> Option<String> {
        match &self.shell {
            Some(When::NotPassed(lacks)) => lacks(key),
            _ => None,
        }
    }

    pub(super) fn deadlines(&self, deadlines: Deadlines) -> Deadlines {
        if self.gdb { deadlines.off() } else { deadlines }
    }

    /// Returns the arguments of the host's kernel about crashes.
    pub(super) fn crash(&self) -> &'static str {
        match (self.gdb, self.keeps()) {
            (true, _) => CRASH_STAYS_IN_PLACE,
            (false, true) => CRASH_STAYS,
            (false, false) => CRASH_ENDS,
        }
    }

    /// Carries out the errand, and waits until its command or the shell ends.
    pub(super) async fn receive(
        &self,
        ssh: UnixStream,
        errand: &Errand,
        patience: SshPatience,
    ) -> Result<(), Stop> {
        let exit = open(ssh, errand, patience).await.map_err(|error| Stop::lab(error.to_string()))?;
        // A cell has one shell.
        let _ = self.exit.set(exit);
        Ok(())
    }

    /// Keeps the end of a program in a guest, and prints its output.
    pub(super) fn take(&self, end: &ProgramEnd, output: &[u8]) -> Result<(), Stop> {
        let printed = io::stdout().write_all(output).and_then(|()| io::stdout().flush());
        printed.map_err(|error| Stop::lab(format!("cannot print the output of the program: {error}")))?;
        let exit = match end {
            ProgramEnd::Exit(code) => Exit::Code(*code),
            ProgramEnd::Signal(number) => Exit::Code(i32::from(SIGNALLED) + number),
            other => {
                return Err(Stop::lab(format!("the program in the guest did not end by itself: {other:?}")));
            }
        };
        // A cell has one errand.
        let _ = self.exit.set(exit);
        Ok(())
    }

    /// Keeps the host of a cell that does not pass: until the end of a shell on a terminal, else
    /// for ever. `ssh` is None if the host has not booted.
    pub(super) async fn keep(&self, key: &Key, why: &str, ssh: Option<UnixStream>, patience: SshPatience) {
        print(&format!("{key}: its host keeps running, {why}"));
        match ssh {
            None => print("  no shell is possible: the host has not booted"),
            Some(_) if !io::stdin().is_terminal() => print("  a shell in it needs a terminal on stdin"),
            Some(ssh) => {
                print("  opening a shell in it; exit the shell to end the cell");
                match open(ssh, &Errand::default(), patience).await {
                    Ok(_) => return,
                    Err(error) => print(&format!("  no shell: {error}")),
                }
            }
        }
        print(&format!("  it stays until Ctrl-C, or kill -INT {}", std::process::id()));
        std::future::pending().await
    }

    /// Makes the socket for gdb, if requested.
    pub(super) fn gdb_socket(&self, folder: &Path) -> io::Result<Option<(GdbSocket, UnixListener)>> {
        self.gdb.then(|| GdbSocket::open(folder)).transpose()
    }
}

/// The name of a socket for gdb. Dropping it removes it.
pub(super) struct GdbSocket(PathBuf);

impl GdbSocket {
    /// Opens it in `folder`. If the path is too long for a socket, it is in XDG_RUNTIME_DIR.
    fn open(folder: &Path) -> io::Result<(Self, UnixListener)> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
        let short = runtime.map(|dir| dir.join(format!("s2lab-gdb-{}", std::process::id())));
        let mut failed = None;
        for path in std::iter::once(folder.join("gdb")).chain(short) {
            // An earlier attempt could not remove it. Anything but a socket belongs to somebody.
            if path.symlink_metadata().is_ok_and(|meta| meta.file_type().is_socket()) {
                let _ = std::fs::remove_file(&path);
            }
            match UnixListener::bind(&path) {
                Ok(listener) => {
                    let gdb_socket = Self(path);
                    std::fs::set_permissions(&gdb_socket.0, Permissions::from_mode(0o600))?;
                    return Ok((gdb_socket, listener));
                }
                Err(error) => {
                    failed.get_or_insert_with(|| {
                        io::Error::new(error.kind(), format!("{}: {error}", path.display()))
                    });
                }
            }
        }
        Err(failed.unwrap_or_else(|| io::Error::other("no place for a socket")))
    }

    /// Prints the commands to attach.
    pub(super) fn show(&self, key: &Key, kernel: &KernelFiles) {
        let socket = self.0.display();
        print(&format!(
            "{key}: its host waits for gdb at its first instruction (deadlines are off). Attach with:"
        ));
        match &kernel.symbols.vmlinux {
            Some(vmlinux) => {
                print(&format!("  gdb-multiarch {} -ex 'target remote {socket}'", vmlinux.display()));
            }
            None => {
                print(&format!(
                    "  gdb-multiarch -ex 'set architecture aarch64' -ex 'target remote {socket}'"
                ));
                print("  symbols need the kernel's vmlinux: Debian's is in its package linux-image-...-dbg");
            }
        }
        print(
            "  gdb's `continue` starts the host, its `detach` releases it; looks wait while gdb has stopped the host",
        );
    }
}

impl Drop for GdbSocket {
    fn drop(&mut self) {
        // The run's folder may already be gone.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Prints a line on stderr. A failed write is ignored.
pub(super) fn print(line: &str) {
    let text = line.trim_start();
    let indented = line.len() - text.len();
    let _ = writeln!(io::stderr(), "{:indented$}{}", "", s2lab_model::escape::line(text));
}

/// The deadlines of what happens before a shell opens.
#[derive(Debug, Clone, Copy)]
pub(super) struct SshPatience {
    /// The login.
    pub(super) login: Duration,
    /// The copy of one file.
    pub(super) copy: Duration,
}

async fn open(stream: UnixStream, errand: &Errand, patience: SshPatience) -> Result<Exit, SshError> {
    let local = |doing| move |source| SshError::Local { doing, source };
    let ssh = Ssh::connect(stream, patience.login).await?;
    for HostFile { path, bytes, mode } in &errand.files {
        ssh.write_file(path, bytes.clone(), *mode, patience.copy).await?;
    }
    let (bell, resized) = UnixStream::pair().map_err(local("cannot watch the terminal's size"))?;
    bell.set_nonblocking(true).map_err(local("cannot watch the terminal's size"))?;
    let mut sizes = signal(SignalKind::window_change()).map_err(local("cannot watch the terminal's size"))?;
    let stdin = io::stdin();
    let interactive = matches!(errand.task, Task::Shell) && io::stdout().is_terminal();
    let terminal = size(&stdin).filter(|_| interactive).map(|size| {
        let kind = std::env::var("TERM").unwrap_or_else(|_| "dumb".into());
        (kind, size)
    });
    let input = stdin.as_fd().try_clone_to_owned().map_err(local("cannot use stdin"))?;
    let _raw = match &terminal {
        Some(_) => {
            print("connected to the host; press Ctrl-] three times to disconnect");
            RawMode::enter().map_err(local("cannot set the terminal"))?
        }
        None => None,
    };
    let (output, errors) = (Box::new(io::stdout()), Box::new(io::stderr()));
    let command = match &errand.task {
        Task::Command(command) => Some(command.clone()),
        Task::Shell | Task::Guest { .. } => None,
    };
    let mut shell = std::pin::pin!(ssh.shell(Shell { command, terminal, input, output, errors, resized }));
    loop {
        tokio::select! {
            exit = &mut shell => return exit,
            // A bell that is full already rings.
            Some(()) = sizes.recv() => drop((&bell).write(&[0])),
        }
    }
}
