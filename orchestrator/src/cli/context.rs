//! The input of every verb: the options of all verbs, the lab folder, the places of s2lab's files.

use super::{failure::Failure, trace::LogFile};
use crate::{
    home,
    lab::{Lab, Places},
    show::terminal::Paint,
};
use clap::{Args, ValueEnum};
use s2lab_cache::{Cache, Quiet};
use s2lab_model::event::BUILT_IN;
use s2lab_os::private;
use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    sync::Arc,
};

/// The options of all verbs.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of all verbs")]
pub(crate) struct Common {
    /// The lab folder; default: $S2LAB_DIR, else the nearest at or above the working folder, else
    /// the built-in one
    #[arg(long, global = true, value_name = "DIR", value_parser = home::argument())]
    pub(crate) lab: Option<PathBuf>,
    /// Colour on stdout; also NO_COLOR and CLICOLOR_FORCE
    #[arg(long, global = true, value_enum, default_value = "auto")]
    pub(crate) color: Color,
    /// Hide progress
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Print stages with their times, folders, and the kernel and QEMU taken; -vv: also consoles as
    /// they come
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
    /// Returns whether to colour what goes to `stream`.
    pub(crate) fn colours(&self, stream: &impl IsTerminal) -> bool {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        match self.color {
            Color::Always => true,
            Color::Never => false,
            // Any value means no colour, and takes precedence.
            Color::Auto if set("NO_COLOR").is_some() => false,
            Color::Auto => set("CLICOLOR_FORCE").is_some_and(|value| value != "0") || stream.is_terminal(),
        }
    }
}

/// The input of every verb.
pub(crate) struct Context {
    pub(crate) common: Common,
    pub(crate) log_file: LogFile,
}

impl Context {
    /// The lab folder that is given, or found; None: the built-in one.
    fn found(&self) -> Result<Option<Lab>, Failure> {
        let here = std::env::current_dir().map_err(Failure::io("the working folder"))?;
        // An empty variable counts as unset, everywhere.
        let variable = std::env::var_os("S2LAB_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let given = self.common.lab.clone().or(variable);
        Ok(Lab::find(given.as_deref(), &here)?)
    }

    pub(crate) fn lab(&self) -> Result<Lab, Failure> {
        match self.found()? {
            Some(lab) => Ok(lab),
            // Nothing of it is fetched.
            None => Ok(Lab::built_in(Cache::open(&self.places()?.cache, true, Arc::new(Quiet))?)?),
        }
    }

    /// The lab folder's name in the plan of a run. It needs no cache, where the built-in one lies.
    pub(crate) fn lab_name(&self) -> Result<String, Failure> {
        match self.found()? {
            Some(lab) => Ok(lab.name()?),
            None => Ok(BUILT_IN.to_owned()),
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

/// Returns the lab folder, if it is the user's. `what` cannot be done to the built-in one.
pub(crate) fn own_lab(context: &Context, what: &str) -> Result<Lab, Failure> {
    match context.lab()? {
        lab if lab.is_built_in() => Err(Failure::Usage {
            message: format!("{what}: the lab folder is the built-in one, a part of s2lab"),
            hint: Some("`s2lab init DIR` creates your own; start s2lab there, or with --lab DIR".into()),
        }),
        lab => Ok(lab),
    }
}
