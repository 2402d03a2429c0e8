//! The socket between a VM's process and the host's agent, beside the link to s2lab: what the VMM
//! reports of itself, and the order to end.

use s2lab_protocol::Failure;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

/// Name and version of the VMM.
pub(crate) const VERSION: &str = concat!("builtin ", env!("CARGO_PKG_VERSION"));
/// The longest line of a report in bytes.
const LONGEST: usize = 16 * 1024;

/// A message of the VMM, a line of JSON each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Report {
    /// The VM can run.
    Running,
    /// There is no VM. The process ends by itself.
    NotStarted(Failure),
    /// The VM cannot run on. The process ends by itself.
    Stopped {
        /// A word for the reason.
        state: String,
        detail: String,
    },
}

/// The VMM's end.
pub(super) struct Control(Mutex<UnixStream>);

impl Control {
    /// Starts the thread that ends the process when the host's agent asks for it, by any byte or by
    /// closing the socket.
    pub(super) fn start(socket: UnixStream) -> io::Result<Control> {
        let mut orders = socket.try_clone()?;
        std::thread::Builder::new().spawn(move || {
            let _ = orders.read(&mut [0]);
            // The VM ends with the process, wherever its vCPUs are.
            std::process::exit(0);
        })?;
        Ok(Control(Mutex::new(socket)))
    }

    pub(super) fn report(&self, report: &Report) {
        // A report is always valid JSON; a socket that takes none is about to close.
        let line = serde_json::to_string(report).unwrap_or_default();
        let mut socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = socket.write_all(format!("{line}\n").as_bytes());
    }

    /// Reports that the VM cannot run on, and ends the process.
    pub(super) fn stopped(&self, state: &str, detail: String) -> ! {
        self.report(&Report::Stopped { state: state.to_owned(), detail });
        std::process::exit(1)
    }
}

/// The reason why the VMM's bytes are not reports.
#[derive(Debug, thiserror::Error)]
#[error("the VMM's report is not valid: {0}")]
pub(crate) struct ReportError(String);

/// The host's end: it splits bytes into reports.
#[derive(Debug, Default)]
pub(crate) struct Reader(Vec<u8>);

impl Reader {
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Report>, ReportError> {
        self.0.extend_from_slice(bytes);
        let mut reports = vec![];
        while let Some(end) = self.0.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.0.drain(..=end).collect();
            let report = serde_json::from_slice(&line);
            reports.push(report.map_err(|why| ReportError(why.to_string()))?);
        }
        match self.0.len() > LONGEST {
            true => Err(ReportError(format!("a line of more than {LONGEST} bytes"))),
            false => Ok(reports),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reports_survive_any_cut() {
        let stopped =
            Report::Stopped { state: "kvm-run-failed".into(), detail: "KVM_RUN: Bad\naddress".into() };
        let reports = [Report::Running, stopped];
        let text: String =
            reports.iter().map(|report| serde_json::to_string(report).unwrap() + "\n").collect();
        for cut in 1..text.len() {
            let mut reader = Reader::default();
            let found: Vec<_> =
                text.as_bytes().chunks(cut).flat_map(|piece| reader.push(piece).unwrap()).collect();
            assert_eq!(found, reports, "cut into {cut}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_refused() {
        assert!(Reader::default().push(&[b' '; LONGEST + 1]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            let _ = Reader::default().push(&bytes);
        }
    }
}
