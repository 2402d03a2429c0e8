//! The command: the agent's program under the name `look`.

use super::{ACCEPTED, NAME, SOCKET, last_byte};
use s2lab_protocol::ask::LookEnd;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "usage: look [GUEST]\n\
                     Print the page tables of a guest, or of all guests, as they are now.\n";
/// The exit code of a wrong command line.
const WRONG_USAGE: u8 = 2;

/// The deadlines of the agent's answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    /// The first byte. s2lab sends it at once.
    pub(super) begins: Duration,
    /// Each following byte. s2lab sends the tables of each guest as soon as it has them: by its own
    /// deadlines, on the slowest machine that it runs on, within 50 minutes.
    pub(super) goes_on: Duration,
}

const DEADLINES: Deadlines =
    Deadlines { begins: Duration::from_secs(60), goes_on: Duration::from_secs(60 * 60) };

/// The whole answer of the agent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) text: Vec<u8>,
    pub(super) end: LookEnd,
}

/// The reason why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("the agent does not answer: {0}")]
    Agent(io::Error),
    #[error("no answer in {0:?}: s2lab has lost the link to this host")]
    Late(Duration),
    #[error("the answer broke off: {0}")]
    BrokeOff(io::Error),
    #[error("the answer broke off: its end is missing")]
    NoEnd,
    #[error("{0}")]
    Refused(String),
}

/// Returns true if the program was started as the command.
pub(crate) fn is_command(program: &OsStr) -> bool {
    Path::new(program).file_name() == Some(OsStr::new(NAME))
}

/// Runs the command. It exits with 1 if there is no look at one of the guests.
pub(crate) fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<String> = arguments.map(|word| word.to_string_lossy().into_owned()).collect();
    let guest = match arguments.as_slice() {
        [] => "",
        [help] if ["-h", "--help"].contains(&help.as_str()) => {
            print(USAGE.as_bytes());
            return ExitCode::SUCCESS;
        }
        [guest] if !guest.is_empty() && !guest.starts_with('-') => guest,
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(WRONG_USAGE);
        }
    };
    match ask(&Path::new("/").join(SOCKET), guest, DEADLINES) {
        Ok(Answer { text, end }) => {
            print(&text);
            ExitCode::from(last_byte(end))
        }
        Err(why) => {
            eprintln!("{NAME}: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Prints on stdout. A reader that ends early is not an error.
fn print(text: &[u8]) {
    drop(io::stdout().write_all(text));
}

/// Asks the agent for the tables of a guest, or of all if the name is empty. The text is whole
/// before anything is printed, so that the agent never waits for a pager.
pub(super) fn ask(socket: &Path, guest: &str, deadlines: Deadlines) -> Result<Answer, NoAnswer> {
    let Deadlines { begins, goes_on } = deadlines;
    let mut agent = UnixStream::connect(socket).map_err(NoAnswer::Agent)?;
    agent.set_write_timeout(Some(begins)).map_err(NoAnswer::Agent)?;
    agent.set_read_timeout(Some(begins)).map_err(NoAnswer::Agent)?;
    agent.write_all(format!("{guest}\n").as_bytes()).map_err(NoAnswer::Agent)?;
    let mut first = [0];
    agent.read_exact(&mut first).map_err(|why| match why.kind() {
        io::ErrorKind::WouldBlock => NoAnswer::Late(begins),
        _ => NoAnswer::Agent(why),
    })?;
    agent.set_read_timeout(Some(goes_on)).map_err(NoAnswer::Agent)?;
    let mut text = vec![];
    agent.read_to_end(&mut text).map_err(NoAnswer::BrokeOff)?;
    let last = text.pop();
    let end = [LookEnd::Done, LookEnd::Failed].into_iter().find(|end| Some(last_byte(*end)) == last);
    let end = end.ok_or(NoAnswer::NoEnd)?;
    match first {
        [ACCEPTED] => Ok(Answer { text, end }),
        _ => Err(NoAnswer::Refused(String::from_utf8_lossy(&text).into_owned())),
    }
}
