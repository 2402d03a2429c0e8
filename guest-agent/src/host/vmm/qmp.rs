//! QEMU's messages on its QMP socket: JSON, one object a line.
//!
//! It decodes only what the agent needs, and skips unknown events and members.

use serde::Deserialize;
use serde_json::Value;

/// The longest line, in bytes. The longest answer to the agent's own commands is the greeting.
const MAX_LINE: usize = 64 * 1024;

/// The first command of every session. QEMU answers no other before it.
pub(crate) const CAPABILITIES: &str = r#"{"execute":"qmp_capabilities","id":1}"#;
/// The command that asks for the run state, see [`Said::Status`].
pub(crate) const QUERY_STATUS: &str = r#"{"execute":"query-status","id":2}"#;
/// The command that ends QEMU.
pub(crate) const QUIT: &str = r#"{"execute":"quit","id":3}"#;
const QUERY_STATUS_ID: u64 = 2;

/// A decoded line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// QEMU's greeting, with its version: `10.0.2 (Debian ...)`.
    Greeting {
        version: String,
    },
    Event {
        name: String,
    },
    /// The answer to [`QUERY_STATUS`].
    Status {
        running: bool,
        state: String,
    },
    /// A command was carried out.
    Done,
    /// A command was refused.
    Refused {
        why: String,
    },
}

/// The reason why the socket has ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QmpError {
    #[error("QMP: a line of more than {MAX_LINE} bytes")]
    TooLong,
    #[error("QMP: {why} in {line:?}")]
    Json { line: String, why: String },
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "QMP")]
    greeting: Option<Greeting>,
    event: Option<String>,
    id: Option<u64>,
    #[serde(rename = "return")]
    done: Option<Value>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Greeting {
    version: Version,
}

#[derive(Deserialize)]
struct Version {
    qemu: Numbers,
    #[serde(default)]
    package: String,
}

#[derive(Deserialize)]
struct Numbers {
    major: u32,
    minor: u32,
    micro: u32,
}

#[derive(Deserialize)]
struct Refusal {
    desc: String,
}

#[derive(Deserialize)]
struct Status {
    running: bool,
    status: String,
}

/// A decoder that splits QEMU's output into lines.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    buffer: Vec<u8>,
}

impl Reader {
    /// Returns the messages that the bytes complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Said>, QmpError> {
        self.buffer.extend_from_slice(bytes);
        let mut said = Vec::new();
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            said.extend(read(line.trim_ascii())?);
        }
        if self.buffer.len() > MAX_LINE {
            return Err(QmpError::TooLong);
        }
        Ok(said)
    }
}

fn read(line: &[u8]) -> Result<Option<Said>, QmpError> {
    let error = |why: serde_json::Error| QmpError::Json {
        line: String::from_utf8_lossy(line).chars().take(200).collect(),
        why: why.to_string(),
    };
    if line.is_empty() {
        return Ok(None);
    }
    let read: Line = serde_json::from_slice(line).map_err(error)?;
    Ok(match read {
        Line { greeting: Some(Greeting { version: Version { qemu, package } }), .. } => {
            let Numbers { major, minor, micro } = qemu;
            let package = if package.is_empty() { package } else { format!(" ({package})") };
            Some(Said::Greeting { version: format!("{major}.{minor}.{micro}{package}") })
        }
        Line { event: Some(name), .. } => Some(Said::Event { name }),
        Line { error: Some(Refusal { desc }), .. } => Some(Said::Refused { why: desc }),
        Line { id: Some(QUERY_STATUS_ID), done: Some(status), .. } => {
            let Status { running, status } = serde_json::from_value(status).map_err(error)?;
            Some(Said::Status { running, state: status })
        }
        Line { done: Some(_), .. } => Some(Said::Done),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // The output of QEMU 10.0.2.
    const SESSION: &str = concat!(
        r#"{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": "Debian 1:10.0.2"}, "capabilities": ["oob"]}}"#,
        "\r\n",
        r#"{"return": {}, "id": 1}"#,
        "\r\n",
        r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP"}"#,
        "\r\n",
        r#"{"return": {"status": "internal-error", "running": false}, "id": 2}"#,
        "\r\n",
        r#"{"id": 3, "error": {"class": "CommandNotFound", "desc": "The command quit has not been found"}}"#,
        "\r\n",
    );

    fn expected() -> Vec<Said> {
        vec![
            Said::Greeting { version: "10.0.2 (Debian 1:10.0.2)".into() },
            Said::Done,
            Said::Event { name: "STOP".into() },
            Said::Status { running: false, state: "internal-error".into() },
            Said::Refused { why: "The command quit has not been found".into() },
        ]
    }

    #[test]
    fn a_session_reads_the_same_in_any_cut() {
        for chunk in [1, 7, 64, SESSION.len()] {
            let mut reader = Reader::default();
            let said: Vec<_> =
                SESSION.as_bytes().chunks(chunk).flat_map(|c| reader.push(c).unwrap()).collect();
            assert_eq!(said, expected(), "cut into {chunk}");
        }
    }

    #[test]
    fn nonsense_and_endless_lines_are_errors() {
        assert!(matches!(Reader::default().push(b"qemu: hello\n"), Err(QmpError::Json { .. })));
        assert_eq!(Reader::default().push(&vec![b'x'; MAX_LINE + 1]), Err(QmpError::TooLong));
        let status = br#"{"return": {"status": 3}, "id": 2}
"#;
        assert!(matches!(Reader::default().push(status), Err(QmpError::Json { .. })));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            let _ = Reader::default().push(&bytes);
        }
    }
}
