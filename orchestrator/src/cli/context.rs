//! What every verb gets: the options of all verbs, the lab folder, the places of s2lab's files.

use super::{failure::Failure, trace::LogFile};
use crate::{
    cache::{Cache, Quiet},
    home,
    lab::{Lab, Places},
    private,
    show::terminal::Paint,
};
use clap::{Args, ValueEnum};
use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    sync::Arc,
};

#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The lab folder; default: $S2LAB_DIR, else the nearest at or above the working folder, else the built-in one
    #[arg(long, global = true, value_name = "DIR", value_parser = home::argument())]
    pub(crate) lab: Option<PathBuf>,
    /// Colour on stdout; also NO_COLOR and CLICOLOR_FORCE
    #[arg(long, global = true, value_enum, default_value = "auto")]
    pub(crate) color: Color,
    /// No progress
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Tell what s2lab does; twice: every detail
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

impl Common {
    /// Whether to colour what goes to `stream`.
    pub(crate) fn colours(&self, stream: &impl IsTerminal) -> bool {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        match self.color {
            Color::Always => true,
            Color::Never => false,
            // Any value of it says no; and who says no is heard first.
            Color::Auto if set("NO_COLOR").is_some() => false,
            Color::Auto => set("CLICOLOR_FORCE").is_some_and(|value| value != "0") || stream.is_terminal(),
        }
    }
}

/// What every verb gets.
pub(crate) struct Context {
    pub(crate) common: Common,
    pub(crate) log_file: LogFile,
}

impl Context {
    pub(crate) fn lab(&self) -> Result<Lab, Failure> {
        let here = std::env::current_dir().map_err(Failure::io("the working folder"))?;
        // An empty variable is none, as everywhere.
        let variable = std::env::var_os("S2LAB_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let given = self.common.lab.clone().or(variable);
        match Lab::find(given.as_deref(), &here)? {
            Some(lab) => Ok(lab),
            // Nothing of it is fetched.
            None => Ok(Lab::built_in(Cache::open(&self.places()?.cache, true, Arc::new(Quiet))?)?),
        }
    }

    pub(crate) fn places(&self) -> Result<Places, Failure> {
        let places = Places::find(|name| std::env::var_os(name))?;
        private::check(&places.cache)?;
        private::check(&places.state)?;
        Ok(places)
    }

    pub(crate) fn paint(&self) -> Paint {
        Paint(self.common.colours(&io::stdout()))
    }
}

/// The lab folder, if it is the user's; `what` cannot be done to the built-in one.
pub(crate) fn own_lab(context: &Context, what: &str) -> Result<Lab, Failure> {
    match context.lab()? {
        lab if lab.is_built_in() => Err(Failure::Usage {
            message: format!("{what}: the lab folder is the built-in one, a part of s2lab"),
            hint: Some(
                "`s2lab init DIR` writes one of your own; start s2lab there, or with --lab DIR".into(),
            ),
        }),
        lab => Ok(lab),
    }
}
