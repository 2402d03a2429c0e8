//! Text to lines of the event log, and what of a younger log is skipped.

use super::fold::LogError;
use crate::escape::{LONGEST, bounded};
use crate::event::{Event, LOG_VERSION, Line, SessionId, Version};
use crate::plan::Key;
use crate::steps::Observation;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use strum::VariantNames;

/// Most different things that [`Skipped`] names; more are counted.
const MOST_NAMES: usize = 8;

/// The parts of a log of a later minor version that this s2lab does not know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skipped {
    version: Option<Version>,
    /// Kinds of events and keys, and how often each is there.
    named: BTreeMap<String, usize>,
    /// The number of all other unknown parts.
    more: usize,
}

impl Skipped {
    pub fn is_empty(&self) -> bool {
        self.named.is_empty() && self.more == 0
    }

    fn add(&mut self, version: Version, what: String) {
        self.version = self.version.max(Some(version));
        let what = bounded(&what, LONGEST);
        match self.named.len() < MOST_NAMES || self.named.contains_key(&what) {
            true => *self.named.entry(what).or_default() += 1,
            false => self.more += 1,
        }
    }
}

/// One line for people. Names come from the log and are escaped.
impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.version.unwrap_or(LOG_VERSION);
        let named = self.named.iter().map(|(what, count)| format!("{count} x {what}"));
        let more = (self.more > 0).then(|| format!("{} x others", self.more));
        let all: Vec<_> = named.chain(more).collect();
        write!(
            f,
            "the event log is of version {version}, and this s2lab knows {LOG_VERSION}: skipped {}",
            all.join(", ")
        )
    }
}

/// The whole lines of a text. A last line without its line feed was torn by a crash: it is left
/// out, so that the cells before it can still be judged.
pub(super) fn whole_lines(text: &str) -> std::str::Lines<'_> {
    text.rfind('\n').map_or("", |end| text.get(..=end).unwrap_or_default()).lines()
}

/// The part that every version of a line has.
#[derive(Deserialize)]
struct Header {
    /// A number in version 1.
    v: Value,
    seq: u64,
}

/// A line whose event is of a kind that is not known.
#[derive(Deserialize)]
struct Younger {
    v: Version,
    seq: u64,
    ms: u64,
    #[serde(default)]
    session: Option<SessionId>,
    #[serde(default)]
    cell: Option<Key>,
    event: Value,
}

/// Reads a line. What a later minor version may have goes to `skipped`; a log of this version has
/// nothing that is not known.
pub(super) fn parse(at: usize, text: &str, skipped: &mut Skipped) -> Result<Line, LogError> {
    let wrong = |why: &str| LogError::Json { at, why: bounded(why, LONGEST) };
    let mut unknown = vec![];
    let line = match read(text, &mut unknown) {
        Ok(line) => line,
        Err(error) => {
            let ahead = version(text)?.filter(|version| version.is_ahead());
            let younger = serde_json::from_str(text).ok().and_then(younger);
            let Some((line, kind)) = younger else {
                let of = ahead.map(|version| {
                    format!("version {version} of the event log, this s2lab knows {LOG_VERSION}: ")
                });
                return Err(wrong(&format!("{}{error}", of.unwrap_or_default())));
            };
            skipped.add(line.v, format!("event `{kind}`"));
            return Ok(line);
        }
    };
    if line.v.is_ahead() {
        unknown.into_iter().for_each(|key| skipped.add(line.v, format!("key `{key}`")));
    } else if let (true, Some(key)) = (line.v.is_read(), unknown.first()) {
        return Err(wrong(&format!("unknown key `{key}`")));
    }
    Ok(line)
}

/// The line, and the paths of its keys that are not known; without the numbers of items in lists.
fn read(text: &str, unknown: &mut Vec<String>) -> Result<Line, serde_json::Error> {
    let mut from = serde_json::Deserializer::from_str(text);
    let line = serde_ignored::deserialize(&mut from, |path| {
        let path = path.to_string();
        let named =
            path.split('.').filter(|part| !part.bytes().all(|byte| byte.is_ascii_digit() || byte == b'?'));
        unknown.push(named.collect::<Vec<_>>().join("."));
    })?;
    from.end().map(|()| line)
}

/// Returns the version of a line that could not be read, if it has one. The error is another major.
fn version(text: &str) -> Result<Option<Version>, LogError> {
    let Ok(Header { v, seq }) = serde_json::from_str(text) else { return Ok(None) };
    let found = match &v {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return Ok(None),
    };
    match Version::try_from(found.clone()) {
        Ok(version) if version.is_read() => Ok(Some(version)),
        _ => Err(LogError::Version { seq, found: bounded(&found, LONGEST) }),
    }
}

/// The line of an event of a later minor version, if its kind is not known, and that kind.
fn younger(line: Younger) -> Option<(Line, String)> {
    let Younger { v, seq, ms, session, cell, event } = line;
    let kind = unknown_kind(&event).filter(|_| v.is_ahead())?;
    Some((Line { v, seq, ms, session, cell, event: Event::Unknown(kind.clone()) }, kind))
}

fn unknown_kind(event: &Value) -> Option<String> {
    let kind = kind(event)?;
    if !Event::VARIANTS.contains(&kind) {
        return Some(kind.to_owned());
    }
    let observation = self::kind(event.get(kind)?.get("data")?)?;
    (!Observation::VARIANTS.contains(&observation)).then(|| format!("{kind} {observation}"))
}

/// The kind of an event or observation: its only key, or the text alone.
fn kind(of: &Value) -> Option<&str> {
    match of {
        Value::String(kind) => Some(kind),
        Value::Object(object) if object.len() == 1 => object.keys().next().map(String::as_str),
        _ => None,
    }
}
