//! s2lab's own messages: on stderr with `-v`, and in a run's `s2lab.log`.

use super::context::Common;
use std::{
    fs::File,
    io::{self, Write},
    sync::{Arc, OnceLock},
};
use tracing_subscriber::{EnvFilter, Layer, fmt::MakeWriter, layer::SubscriberExt, util::SubscriberInitExt};

/// The file for `tracing` once a run has a folder.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogFile(Arc<OnceLock<File>>);

impl LogFile {
    pub(crate) fn open(&self, file: File) {
        // There is one run in a process; a second file would be ignored.
        let _ = self.0.set(file);
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = Box<dyn Write + 'a>;
    fn make_writer(&'a self) -> Self::Writer {
        match self.0.get() {
            Some(file) => Box::new(file),
            None => Box::new(io::sink()),
        }
    }
}

pub(crate) fn trace(common: &Common, file: LogFile) {
    let level = match (common.quiet, common.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "s2lab=info,warn",
        (false, _) => "s2lab=debug,s2lab::run::console=trace,warn",
    };
    // A failed write is ignored, for instance on a closed stderr.
    let console = tracing_subscriber::fmt::layer().with_writer(io::stderr).without_time().with_target(false);
    let console = console.with_ansi(common.colours(&io::stderr())).log_internal_errors(false);
    let kept = tracing_subscriber::fmt::layer().with_writer(file).with_ansi(false).log_internal_errors(false);
    tracing_subscriber::registry()
        .with(console.with_filter(EnvFilter::new(level)))
        .with(kept.with_filter(EnvFilter::new("s2lab=debug,info")))
        .init();
}
