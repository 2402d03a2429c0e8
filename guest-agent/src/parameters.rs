//! The agent's parameters on the kernel command line.

use s2lab_protocol::{Level, Peer, is_name};

/// The `s2lab.*` words of the kernel command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parameters {
    pub(crate) level: Level,
    /// The agent's own address.
    pub(crate) me: Peer,
    /// The cell's nonce.
    pub(crate) nonce: u64,
}

/// The reason why the command line does not start an agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParametersError {
    #[error("the kernel command line has no {0}")]
    Absent(&'static str),
    #[error("{name}={value} on the kernel command line: {wanted}")]
    Wrong { name: &'static str, value: String, wanted: &'static str },
}

impl Parameters {
    /// Decodes the text of `/proc/cmdline`. The last of several equal words counts, like for the
    /// kernel.
    pub(crate) fn parse(line: &str) -> Result<Parameters, ParametersError> {
        let word = |name: &'static str| {
            line.split_whitespace()
                .rev()
                .find_map(|w| w.strip_prefix(name)?.strip_prefix('='))
                .ok_or(ParametersError::Absent(name))
        };
        let wrong =
            |name, value: &str, wanted| ParametersError::Wrong { name, value: value.to_owned(), wanted };
        let nonce = word("s2lab.nonce")?;
        let digits = nonce.len() <= 16 && !nonce.is_empty() && nonce.bytes().all(|b| b.is_ascii_hexdigit());
        let nonce = u64::from_str_radix(nonce, 16)
            .ok()
            .filter(|_| digits)
            .ok_or_else(|| wrong("s2lab.nonce", nonce, "want up to 16 hexadecimal digits"))?;
        let (level, me) = match word("s2lab.level")? {
            "host" => (Level::Host, Peer::Host),
            "guest" => {
                let name = word("s2lab.name")?;
                if !is_name(name) {
                    return Err(wrong("s2lab.name", name, "not a name of a guest"));
                }
                (Level::Guest, Peer::Guest(name.to_owned()))
            }
            other => return Err(wrong("s2lab.level", other, "want host or guest")),
        };
        Ok(Parameters { level, me, nonce })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use s2lab_protocol::LONGEST_NAME;

    #[test]
    fn a_host_and_a_guest() {
        let host = Parameters::parse("console=ttyAMA0 s2lab.level=host s2lab.nonce=00ff00ff00ff00ff quiet");
        assert_eq!(host, Ok(Parameters { level: Level::Host, me: Peer::Host, nonce: 0x00ff_00ff_00ff_00ff }));
        let guest = Parameters::parse("s2lab.level=guest s2lab.name=g0 s2lab.nonce=1\n").unwrap();
        assert_eq!((guest.me, guest.nonce), (Peer::Guest("g0".into()), 1));
    }

    #[test]
    fn a_guest_knows_itself_by_the_longest_name() {
        let parse =
            |name: &str| Parameters::parse(&format!("s2lab.level=guest s2lab.name={name} s2lab.nonce=1"));
        let longest = "x".repeat(LONGEST_NAME);
        assert_eq!(parse(&longest).unwrap().me, Peer::Guest(longest));
        assert!(parse(&"x".repeat(LONGEST_NAME + 1)).is_err());
    }

    #[test]
    fn what_is_absent_or_wrong_is_named() {
        let error = |line| Parameters::parse(line).unwrap_err().to_string();
        assert_eq!(error("s2lab.level=host"), "the kernel command line has no s2lab.nonce");
        assert!(error("s2lab.nonce=1 s2lab.level=l1").contains("s2lab.level=l1"));
        assert!(error("s2lab.nonce=+1 s2lab.level=host").contains("hexadecimal"));
        assert!(error("s2lab.nonce=11111111111111111 s2lab.level=host").contains("hexadecimal"));
        assert!(error("s2lab.nonce=1 s2lab.level=guest s2lab.name=a,b").contains("s2lab.name=a,b"));
        assert!(error("s2lab.nonce=1 s2lab.level=guest").contains("no s2lab.name"));
    }

    proptest! {
        #[test]
        fn any_nonce_round_trips(nonce: u64) {
            let line = format!("s2lab.level=host s2lab.nonce={nonce:016x}");
            prop_assert_eq!(Parameters::parse(&line).unwrap().nonce, nonce);
        }

        #[test]
        fn no_command_line_makes_it_panic(line in "\\PC*") {
            let _ = Parameters::parse(&line);
        }
    }
}
