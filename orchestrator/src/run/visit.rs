//! A visit: somebody gets a shell in the host instead of the scenario's steps.

use super::stages::Stop;
use crate::ssh::{Exit, RawMode, Shell, Ssh, SshError, size};
use rustix::fd::AsFd;
use std::{
    io::{self, IsTerminal, Write},
    os::unix::net::UnixStream,
    sync::OnceLock,
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};

/// How long the login may take: dropbear makes its key then, on an emulated CPU.
const LOGIN: Duration = Duration::from_secs(60);

/// A visitor on stdin, stdout and stderr.
#[derive(Debug, Default)]
pub struct Visit {
    exit: OnceLock<Exit>,
}

impl Visit {
    /// How the shell ended; none if it has not come to it.
    pub fn exit(&self) -> Option<&Exit> {
        self.exit.get()
    }

    /// Gives the shell, and waits until it is over.
    pub(super) async fn receive(&self, ssh: &UnixStream) -> Result<(), Stop> {
        let exit = open(ssh).await.map_err(|error| Stop::lab(error.to_string()))?;
        // A cell is visited once.
        let _ = self.exit.set(exit);
        Ok(())
    }
}

async fn open(stream: &UnixStream) -> Result<Exit, SshError> {
    let local = |doing| move |source| SshError::Local { doing, source };
    let ssh = Ssh::connect(stream.try_clone().map_err(local("cannot use the ssh stream"))?, LOGIN).await?;
    let (bell, resized) = UnixStream::pair().map_err(local("cannot watch the terminal's size"))?;
    bell.set_nonblocking(true).map_err(local("cannot watch the terminal's size"))?;
    let mut sizes = signal(SignalKind::window_change()).map_err(local("cannot watch the terminal's size"))?;
    let stdin = io::stdin();
    let terminal = size(&stdin).filter(|_| io::stdout().is_terminal()).map(|size| {
        let kind = std::env::var("TERM").unwrap_or_else(|_| "dumb".into());
        (kind, size)
    });
    let input = stdin.as_fd().try_clone_to_owned().map_err(local("cannot use stdin"))?;
    let _raw = match &terminal {
        Some(_) => {
            // If nobody sees it, nobody needs it.
            let _ =
                writeln!(io::stderr(), "a shell in the host; Ctrl-] three times leaves it whatever it does");
            RawMode::enter().map_err(local("cannot set the terminal"))?
        }
        None => None,
    };
    let (output, errors) = (Box::new(io::stdout()), Box::new(io::stderr()));
    let mut shell = std::pin::pin!(ssh.shell(Shell { terminal, input, output, errors, resized }));
    loop {
        tokio::select! {
            exit = &mut shell => return exit,
            // A bell that is full of rings rings already.
            Some(()) = sizes.recv() => drop((&bell).write(&[0])),
        }
    }
}
