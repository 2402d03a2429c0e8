//! The person's own terminal: its size, and raw mode, which always ends.

use rustix::{
    fd::AsFd,
    termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr},
};
use std::{
    io,
    sync::{Mutex, PoisonError},
};

/// The columns and rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub columns: u32,
    pub rows: u32,
}

/// Returns the size of a terminal, or None for anything else.
pub fn size(terminal: impl AsFd) -> Option<Size> {
    let size = tcgetwinsize(terminal).ok()?;
    Some(Size { columns: size.ws_col.into(), rows: size.ws_row.into() })
}

/// The mode of stdin's terminal before raw mode. There is one terminal, so there is one of it.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Raw mode of stdin's terminal: every key goes to the host. Dropping it restores the terminal.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Enters raw mode. Returns None if stdin is not a terminal.
    pub fn enter() -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        if !isatty(&stdin) {
            return Ok(None);
        }
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        // This comes first, so that everything after it can be undone.
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

/// Restores the terminal if it is in raw mode, for an exit that drops nothing.
pub fn restore() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
    }
}
