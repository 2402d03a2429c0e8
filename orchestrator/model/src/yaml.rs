//! YAML as a tree whose nodes have their places. It accepts only what scenarios and kernels need:
//! one document of mappings, lists and scalars. Anchors, aliases and tags are refused, so that a
//! small file cannot become a large value.

use crate::diagnostic::Sink;
use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};
use std::collections::BTreeSet;
use std::ops::Range;

/// The longest file, in bytes.
pub(crate) const MAX_BYTES: usize = 64 << 10;
/// The deepest nesting of mappings and lists.
pub(crate) const MAX_DEPTH: usize = 16;

/// A value and its place in the text, in bytes. A block mapping or list has an empty span at its
/// beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) span: Range<usize>,
    pub(crate) value: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Scalar(Class, String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) span: Range<usize>,
    pub(crate) node: Node,
}

/// The type of an unquoted scalar by the YAML 1.2 core schema, in serde_yaml's reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Null,
    Bool,
    Integer,
    Float,
    Text,
}

impl Class {
    pub(crate) fn of(scalar: &str) -> Self {
        match serde_yaml::from_str::<serde_yaml::Value>(scalar) {
            Ok(serde_yaml::Value::Null) => Self::Null,
            Ok(serde_yaml::Value::Bool(_)) => Self::Bool,
            Ok(serde_yaml::Value::Number(n)) if n.is_f64() => Self::Float,
            Ok(serde_yaml::Value::Number(_)) => Self::Integer,
            _ => Self::Text,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool => "a truth value",
            Self::Integer => "a whole number",
            Self::Float => "a fraction",
            Self::Text => "text",
        }
    }
}

impl Node {
    /// Returns the value of `key`, if this is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|e| e.key == key).map(|e| &e.node)
    }

    /// Returns the entries of a mapping, or none for anything else.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Returns the items of a list, or none for anything else.
    pub(crate) fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// Returns the items of a list, or the scalar itself, for keys that take one or many.
    pub(crate) fn one_or_many(&self) -> &[Node] {
        match &self.value {
            Value::Scalar(Class::Null, _) | Value::Map(_) => &[],
            Value::Scalar(..) => std::slice::from_ref(self),
            Value::List(items) => items,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(Class::Text, text) => Some(text),
            _ => None,
        }
    }

    /// Returns text or a whole number, as written.
    pub(crate) fn written(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(Class::Text | Class::Integer, text) => Some(text),
            _ => None,
        }
    }

    /// Returns the value in serde_yaml's type.
    pub(crate) fn to_value(&self) -> serde_yaml::Value {
        match &self.value {
            Value::Scalar(Class::Text, text) => serde_yaml::Value::String(text.clone()),
            Value::Scalar(_, text) => serde_yaml::from_str(text).unwrap_or_default(),
            Value::List(items) => items.iter().map(Self::to_value).collect(),
            Value::Map(entries) => serde_yaml::Value::Mapping(
                entries.iter().map(|e| (e.key.as_str().into(), e.node.to_value())).collect(),
            ),
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar(class, _) => class.name(),
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// Parses `text` and reports mistakes to `sink`. Returns None if there is no tree at all.
pub(crate) fn parse(text: &str, sink: &mut Sink<'_>) -> Option<Node> {
    if text.len() > MAX_BYTES {
        sink.error(0..0, format!("the file has {} bytes; the most is {MAX_BYTES}", text.len()));
        return None;
    }
    if let Some((at, c)) = text.char_indices().find(|(at, c)| !writable(text, *at, *c)) {
        let name = crate::unseen::name(c).map(|name| format!(", {name},")).unwrap_or_default();
        let message = format!("the character U+{:04X}{name} is not used here", u32::from(c));
        sink.error(at..at + c.len_utf8(), message);
        return None;
    }
    let mut conflicts = crate::unseen::conflict_markers(text).peekable();
    if conflicts.peek().is_some() {
        let message = "git has left this: two sides have changed the same lines";
        conflicts.for_each(|at| sink.error_help(at, message, "keep one of them, and remove the markers"));
        return None;
    }
    // saphyr counts characters.
    let bytes: Vec<usize> = text.char_indices().map(|(i, _)| i).chain([text.len()]).collect();
    Builder { bytes: &bytes, sink, open: Vec::new(), root: None }.run(Parser::new_from_str(text))
}

/// Returns true for characters that people write and all YAML readers understand alike: no control
/// characters, and line feed, alone or after a carriage return, as the only end of a line.
fn writable(text: &str, at: usize, c: char) -> bool {
    match c {
        '\n' | '\t' => true,
        '\r' => text[at + 1..].starts_with('\n'),
        '\u{feff}' => at == 0,
        '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}' => false,
        _ => !c.is_control(),
    }
}

/// A mapping or list that has not ended yet.
struct Open {
    node: Node,
    /// The key that waits for its value, in a mapping. The inner None is an invalid key, whose
    /// value is dropped too.
    key: Option<Option<(String, Range<usize>)>>,
    keys: BTreeSet<String>,
}

struct Builder<'a, 'b> {
    bytes: &'a [usize],
    sink: &'a mut Sink<'b>,
    open: Vec<Open>,
    root: Option<Node>,
}

impl Builder<'_, '_> {
    fn byte(&self, chars: usize) -> usize {
        self.bytes.get(chars).or(self.bytes.last()).copied().unwrap_or(0)
    }

    fn run(mut self, mut parser: Parser<'_, StrInput<'_>>) -> Option<Node> {
        while let Some(event) = parser.next_event() {
            let (event, span) = match event {
                Ok((event, span)) => (event, self.byte(span.start.index())..self.byte(span.end.index())),
                Err(e) => {
                    let at = self.byte(e.marker().index());
                    self.sink.error(at..at, format!("not valid YAML: {}", e.info()));
                    return None;
                }
            };
            let marked = |anchor: usize, tag: bool| anchor != 0 || tag;
            match event {
                Event::Scalar(_, _, anchor, ref tag) if marked(anchor, tag.is_some()) => {
                    return self.refuse(span);
                }
                Event::SequenceStart(anchor, ref tag) | Event::MappingStart(anchor, ref tag)
                    if marked(anchor, tag.is_some()) =>
                {
                    return self.refuse(span);
                }
                Event::Alias(_) => return self.refuse(span),
                Event::DocumentStart(_) if self.root.is_some() => {
                    self.sink.error(span, "a second document begins here; a file holds one");
                    return self.root;
                }
                Event::Scalar(text, style, ..) => {
                    let class = if style == ScalarStyle::Plain { Class::of(&text) } else { Class::Text };
                    self.add(Node { span, value: Value::Scalar(class, text.into_owned()) });
                }
                Event::SequenceStart(..) => self.begin(span, Value::List(Vec::new()))?,
                Event::MappingStart(..) => self.begin(span, Value::Map(Vec::new()))?,
                Event::SequenceEnd | Event::MappingEnd => {
                    if let Some(Open { mut node, .. }) = self.open.pop() {
                        // Only a flow collection has an end mark.
                        if !node.span.is_empty() {
                            node.span.end = span.end;
                        }
                        self.add(node);
                    }
                }
                Event::StreamEnd => break,
                Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
            }
        }
        if self.root.is_none() {
            self.sink.error(0..0, "the file says nothing");
        }
        self.root
    }

    fn refuse(self, span: Range<usize>) -> Option<Node> {
        self.sink.error(span, "anchors, aliases and tags (`&`, `*`, `!`) are not used here");
        None
    }

    fn begin(&mut self, span: Range<usize>, value: Value) -> Option<()> {
        if self.open.len() >= MAX_DEPTH {
            self.sink.error(span, format!("nested deeper than {MAX_DEPTH} levels"));
            return None;
        }
        self.open.push(Open { node: Node { span, value }, key: None, keys: BTreeSet::new() });
        Some(())
    }

    fn add(&mut self, node: Node) {
        let Some(open) = self.open.last_mut() else {
            self.root.get_or_insert(node);
            return;
        };
        match (&mut open.node.value, open.key.take()) {
            (Value::List(items), _) => items.push(node),
            (Value::Map(_), Some(None)) | (Value::Scalar(..), _) => {}
            (Value::Map(entries), Some(Some((key, span)))) => {
                if open.keys.insert(key.clone()) {
                    entries.push(Entry { key, span, node });
                } else {
                    self.sink.error(span, format!("duplicate key `{key}`"));
                }
            }
            (Value::Map(_), None) => match node.value {
                Value::Scalar(Class::Text, key) => open.key = Some(Some((key, node.span))),
                Value::Scalar(class, key) => {
                    let help = format!("put it in quotes: \"{key}\"");
                    self.sink.error_help(node.span, format!("a key is text, not {}", class.name()), help);
                    open.key = Some(None);
                }
                Value::List(_) | Value::Map(_) => {
                    self.sink.error(node.span.clone(), format!("a key is text, not {}", node.kind()));
                    open.key = Some(None);
                }
            },
        }
    }
}
