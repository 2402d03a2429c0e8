//! The person's own terminal: its size, and raw mode, which never stays behind.

use rustix::{
    fd::AsFd,
    termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr},
};
use std::{
    io,
    sync::{Mutex, PoisonError},
};

/// Columns and rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub columns: u32,
    pub rows: u32,
}

/// The size of a terminal; none if it is no terminal.
pub fn size(terminal: impl AsFd) -> Option<Size> {
    let size = tcgetwinsize(terminal).ok()?;
    Some(Size { columns: size.ws_col.into(), rows: size.ws_row.into() })
}

/// How stdin's terminal was before raw mode. There is one terminal, so there is one of it.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// stdin's terminal in raw mode: every key goes to the host. Dropping it brings the terminal back to what it was.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// None if stdin is no terminal.
    pub fn enter() -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        if !isatty(&stdin) {
            return Ok(None);
        }
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        // First, so that whatever comes in between can be undone.
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        let mode = Self(());
        tcsetattr(&stdin, OptionalActions::Drain, &raw)?;
        Ok(Some(mode))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Brings the terminal back, if it is in raw mode: for an exit that drops nothing.
pub fn restore() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
    }
}
