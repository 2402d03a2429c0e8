//! The expected ends of probes: a key for each kind.

use super::Expectation;
use s2lab_protocol::ProbeKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The expected end of an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AccessEnd {
    /// The access completes.
    Ok,
    /// The guest gets a signal or its VMM stops; neither is promised.
    Fault,
    /// The VMM gets the access, as one to memory that it emulates. Only the built-in VMM shows it.
    Exit,
}

impl AccessEnd {
    /// The word in scenarios.
    pub(crate) fn name(self) -> &'static str {
        match self {
            AccessEnd::Ok => "ok",
            AccessEnd::Fault => "fault",
            AccessEnd::Exit => "exit",
        }
    }
}

impl Expectation {
    /// Yields the kinds of probes of which it expects something.
    pub fn probes(&self) -> impl Iterator<Item = (ProbeKind, AccessEnd)> + use<> {
        let Self { unaligned, unaligned_load, zva, atomic, exclusive, fetch, .. } = *self;
        let ends = [unaligned, unaligned_load, zva, atomic, exclusive, fetch];
        ProbeKind::ALL.into_iter().zip(ends).filter_map(|(kind, end)| Some((kind, end?)))
    }
}

/// Returns the kind of probes that a key of an expectation is about.
pub(crate) fn probe_of(key: &str) -> Option<ProbeKind> {
    ProbeKind::ALL.into_iter().find(|kind| key_of(*kind) == key)
}

/// Returns the key of an expectation about a kind of probes.
fn key_of(kind: ProbeKind) -> &'static str {
    match kind {
        ProbeKind::Store => "unaligned",
        ProbeKind::Load => "unaligned-load",
        ProbeKind::Zva | ProbeKind::Atomic | ProbeKind::Exclusive | ProbeKind::Fetch => kind.name(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_key() {
        for kind in ProbeKind::ALL {
            let key = key_of(kind);
            assert_eq!(probe_of(key), Some(kind));
            let json = serde_json::json!({"of": "nic", key: "fault"});
            let expectation: Expectation = serde_json::from_value(json.clone()).unwrap();
            assert_eq!(expectation.probes().collect::<Vec<_>>(), [(kind, AccessEnd::Fault)]);
            assert_eq!(serde_json::to_value(expectation).unwrap(), json);
        }
        assert_eq!(probe_of("store"), None);
    }
}
