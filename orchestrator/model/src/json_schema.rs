//! Checks a [`Node`] against a JSON schema, and reports each mismatch at its place. The schemas are
//! those of our own types, so this reads only what schemars writes for them in draft 7:
//!
//! - `$ref`, and `allOf` of one reference;
//! - `object` with `properties`, `required`, `additionalProperties`, `propertyNames`,
//!   `maxProperties`, `minProperties`;
//! - `array` with `items`, `minItems`, `maxItems`, `uniqueItems`; `anyOf` of one thing and a list of
//!   it;
//! - `string` with `enum`, or with a `format` that a [`Format`] checks; `integer` with `enum`, or
//!   with `minimum` and `maximum`; `boolean`; `oneOf` of `const`s;
//! - a schema without `type`, which any value has;
//! - `oneOf` of mappings with one key each (an externally tagged enum), or with a key that has a
//!   `const` (internally tagged).

use crate::diagnostic::{Diagnostics, Sink, closest, suggest};
use crate::yaml::{self, Class, Node, Value};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use std::ops::Range;

/// A `format` of strings: its name, its description, and the check.
pub(crate) struct Format {
    pub(crate) name: &'static str,
    /// The description with an article: `a size like 16M`.
    pub(crate) what: &'static str,
    /// True if a whole number may stand for it.
    pub(crate) number: bool,
    /// Returns the reason why a text does not have the format.
    pub(crate) check: fn(&str) -> Result<(), String>,
}

/// The longest text in one line, in characters.
pub(crate) const LONGEST_LINE: usize = 300;

/// The format of a sentence for people.
pub(crate) const LINE: Format =
    Format { name: "line", what: "a text in one line", number: false, check: one_line };

fn one_line(text: &str) -> Result<(), String> {
    match text.chars().count() {
        _ if text.trim().is_empty() || text.contains(char::is_control) => {
            Err("one line with at least one letter is needed here".into())
        }
        ..=LONGEST_LINE => Ok(()),
        length => Err(format!("{length} characters long; the limit is {LONGEST_LINE}")),
    }
}

/// A JSON schema and the formats that it names.
pub(crate) struct Schema<'a> {
    pub(crate) json: &'a Json,
    pub(crate) formats: &'a [Format],
}

/// Returns the JSON schema (draft 7) of files that contain a `T`.
pub(crate) fn schema_of<T: JsonSchema>() -> Json {
    let mut schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<T>().to_value();
    forget_empty_defaults(&mut schema);
    // serde_json keeps the order of insertion if any crate of the build enables it; the file must
    // not depend on that.
    schema.sort_all_objects();
    schema
}

/// Removes `default: null` from optional keys: `null` is not even of the key's type.
fn forget_empty_defaults(schema: &mut Json) {
    if let Some(object) = schema.as_object_mut() {
        if object.get("default").is_some_and(|d| *d == json!(null) || *d == json!([]) || *d == json!({})) {
            object.remove("default");
        }
        object.values_mut().for_each(forget_empty_defaults);
    } else if let Some(array) = schema.as_array_mut() {
        array.iter_mut().for_each(forget_empty_defaults);
    }
}

/// Reads `text` as a `T`: checks it against `schema`, lets `check` check what a schema cannot
/// express, and decodes it if both found nothing. Returns all mistakes at once.
pub(crate) fn read<T: DeserializeOwned>(
    file: &str,
    text: &str,
    schema: &Schema<'_>,
    check: impl FnOnce(&Node, &mut Sink<'_>),
) -> Result<T, Diagnostics> {
    let mut sink = Sink::new(file, text);
    let Some(root) = yaml::parse(text, &mut sink) else { return sink.finish(None) };
    schema.check(&root, &mut sink);
    check(&root, &mut sink);
    let value = if sink.is_empty() { decode(text, &root, &mut sink) } else { None };
    sink.finish(value)
}

/// Decodes a text whose tree is valid. Two readers of YAML have read it by then, and the stricter
/// one counts: a value that one of them refuses, or that they read differently, is a mistake too.
pub(crate) fn decode<T: DeserializeOwned>(text: &str, root: &Node, sink: &mut Sink<'_>) -> Option<T> {
    let value = serde_yaml::from_str::<serde_yaml::Value>(text);
    let value = value.map_err(|error| unreadable(&error, root, sink)).ok()?;
    if value != root.to_value() {
        sink.error(
            root.span.clone(),
            "two readers of YAML understand this file differently: write it plainer",
        );
        return None;
    }
    decode_tree(root, sink)
}

/// Decodes a valid tree.
pub(crate) fn decode_tree<T: DeserializeOwned>(root: &Node, sink: &mut Sink<'_>) -> Option<T> {
    // Here enums are mappings with one key, not YAML tags.
    let value = serde_yaml::with::singleton_map_recursive::deserialize(root.to_value());
    value.map_err(|error| unreadable(&error, root, sink)).ok()
}

fn unreadable(error: &serde_yaml::Error, root: &Node, sink: &mut Sink<'_>) {
    let at = error.location().map_or(root.span.start, |place| place.index());
    sink.error(at..at, format!("this cannot be read: {error}"));
}

impl Schema<'_> {
    /// Reports every place at which `root` does not match.
    pub(crate) fn check(&self, root: &Node, sink: &mut Sink<'_>) {
        self.walk(self.json, root, &root.span, sink);
    }

    /// Checks `node`. `place` is where mistakes of the node as a whole are reported: its key, if it
    /// has one.
    fn walk(&self, schema: &Json, node: &Node, place: &Range<usize>, sink: &mut Sink<'_>) {
        let schema = self.resolve(schema);
        if let Some(many) = list_alternative(schema) {
            let one = !matches!(node.value, Value::List(_));
            return self.walk(if one { &schema["anyOf"][0] } else { many }, node, place, sink);
        }
        if let Some(variants) = schema["oneOf"].as_array().filter(|v| v.iter().all(|v| v["type"] == "object"))
        {
            return match tag_key(variants) {
                Some(tag) => self.tagged(variants, tag, node, place, sink),
                None => self.one_key(variants, node, place, sink),
            };
        }
        if let Some(words) = words(schema) {
            return self.word(&words, node, sink);
        }
        match schema["type"].as_str() {
            Some("object") => self.mapping(schema, node, place, sink),
            Some("array") => self.list(schema, node, place, sink),
            // What it means is checked where it is used.
            None if schema["type"].is_null() && schema["format"].is_null() => {}
            _ => self.scalar(schema, node, sink),
        }
    }

    fn resolve<'s>(&'s self, schema: &'s Json) -> &'s Json {
        let mut schema = schema;
        // References in our types are not recursive; the bound keeps a broken schema from looping.
        for _ in 0..8 {
            let inner = schema["allOf"].as_array().filter(|all| all.len() == 1).map_or(schema, |all| &all[0]);
            let Some(path) = inner["$ref"].as_str() else { return inner };
            let Some(target) = path.strip_prefix('#').and_then(|p| self.json.pointer(p)) else {
                return inner;
            };
            schema = target;
        }
        schema
    }

    fn mapping(&self, schema: &Json, node: &Node, place: &Range<usize>, sink: &mut Sink<'_>) {
        let Value::Map(entries) = &node.value else {
            return mismatch(node, "a mapping", sink);
        };
        let properties = schema["properties"].as_object();
        let mut misspelt = Vec::new();
        for entry in entries {
            match properties.and_then(|p| p.get(&entry.key)) {
                Some(inner) => self.walk(inner, &entry.node, &entry.span, sink),
                None if schema["additionalProperties"].is_object() => {
                    if let Some(format) = self.format(&schema["propertyNames"])
                        && let Err(why) = (format.check)(&entry.key)
                    {
                        sink.error(entry.span.clone(), why);
                    }
                    self.walk(&schema["additionalProperties"], &entry.node, &entry.span, sink);
                }
                None => {
                    let known: Vec<&str> =
                        properties.into_iter().flatten().map(|(k, _)| k.as_str()).collect();
                    // `cpu:x` in braces is a key, `cpu\u{a0}` another: what it looks like is meant.
                    let meant = key_without_space(&entry.key);
                    let seen =
                        entry.key.split(|c: char| !c.is_ascii()).next().filter(|key| known.contains(key));
                    misspelt.extend(meant.or(seen).or(closest(&entry.key, &known)));
                    let message = format!("unknown key `{}`", entry.key);
                    let help = meant.map_or_else(|| suggest(&entry.key, known), space_missing);
                    sink.error_help(entry.span.clone(), message, help);
                }
            }
        }
        for key in schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str) {
            // A misspelt key is one mistake, not two.
            if !entries.iter().any(|e| e.key == key) && !misspelt.contains(&key) {
                let about = properties.and_then(|p| p.get(key)).and_then(|s| s["description"].as_str());
                let message = format!("missing key `{key}`");
                match about.and_then(|a| a.lines().next()) {
                    Some(about) => sink.error_help(place.clone(), message, format!("`{key}`: {about}")),
                    None => sink.error(place.clone(), message),
                }
            }
        }
        self.count(schema, "Properties", entries.len(), place, sink);
    }

    fn list(&self, schema: &Json, node: &Node, place: &Range<usize>, sink: &mut Sink<'_>) {
        let Value::List(items) = &node.value else {
            return mismatch(node, "a list", sink);
        };
        let mut seen = BTreeSet::new();
        for item in items {
            let at = item.entries().first().map_or(&item.span, |e| &e.span);
            self.walk(&schema["items"], item, at, sink);
            if schema["uniqueItems"] == true
                && let Some(text) = item.written()
                && !seen.insert(text)
            {
                sink.error(item.span.clone(), format!("duplicate item `{text}`"));
            }
        }
        self.count(schema, "Items", items.len(), place, sink);
    }

    fn count(&self, schema: &Json, of: &str, is: usize, place: &Range<usize>, sink: &mut Sink<'_>) {
        let bound = |which: &str| schema[format!("{which}{of}")].as_u64();
        if let Some(least) = bound("min").filter(|least| (is as u64) < *least) {
            let message = match least {
                1 => "at least one is needed here".to_owned(),
                _ => format!("at least {least} are needed here, there are {is}"),
            };
            sink.error(place.clone(), message);
        }
        if let Some(most) = bound("max").filter(|most| is as u64 > *most) {
            sink.error(place.clone(), format!("at most {most} may be here, there are {is}"));
        }
    }

    fn one_key(&self, variants: &[Json], node: &Node, place: &Range<usize>, sink: &mut Sink<'_>) {
        let inner = |name: &str| variants.iter().find_map(|v| v["properties"].get(name));
        let known = || variants.iter().filter_map(|v| v["required"][0].as_str());
        let list = || known().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ");
        let Value::Map(entries) = &node.value else {
            return mismatch(node, &format!("a mapping with one key of {}", list()), sink);
        };
        if entries.is_empty() {
            sink.error(place.clone(), format!("one key of {} is needed here", list()));
        }
        for (i, entry) in entries.iter().enumerate() {
            match inner(&entry.key) {
                Some(_) if i > 0 => {
                    let message = format!("`{}` and `{}` in one item", entries[0].key, entry.key);
                    sink.error_help(entry.span.clone(), message, "begin a new item with `- `");
                }
                Some(schema) => self.walk(schema, &entry.node, &entry.span, sink),
                None => {
                    let message = format!("unknown key `{}`", entry.key);
                    sink.error_help(entry.span.clone(), message, suggest(&entry.key, known()));
                }
            }
        }
    }

    fn tagged(&self, variants: &[Json], tag: &str, node: &Node, place: &Range<usize>, sink: &mut Sink<'_>) {
        let name = |v: &Json| v["properties"][tag]["const"].as_str().map(str::to_owned);
        let names: Vec<String> = variants.iter().filter_map(name).collect();
        if !matches!(node.value, Value::Map(_)) {
            return mismatch(node, "a mapping", sink);
        }
        match node.get(tag) {
            Some(given) => {
                match variants.iter().find(|v| v["properties"][tag]["const"].as_str() == given.text()) {
                    Some(variant) => self.mapping(variant, node, place, sink),
                    None => self.word(&names.iter().map(String::as_str).collect::<Vec<_>>(), given, sink),
                }
            }
            None => sink.error_help(
                place.clone(),
                format!("missing key `{tag}`"),
                format!("known here: {}", names.join(", ")),
            ),
        }
    }

    fn word(&self, words: &[&str], node: &Node, sink: &mut Sink<'_>) {
        match node.written() {
            Some(text) if words.contains(&text) => {}
            Some(text) => {
                sink.error_help(
                    node.span.clone(),
                    format!("`{text}` is not known here"),
                    suggest(text, words.iter().copied()),
                );
            }
            None if words.len() == 1 => mismatch(node, &format!("`{}`", words[0]), sink),
            None => mismatch(node, &format!("one of {}", words.join(", ")), sink),
        }
    }

    fn scalar(&self, schema: &Json, node: &Node, sink: &mut Sink<'_>) {
        if schema["type"] == "boolean" {
            return match &node.value {
                Value::Scalar(Class::Bool, _) => {}
                _ => mismatch(node, "true or false", sink),
            };
        }
        let format = self.format(schema);
        let integer = schema["type"] == "integer";
        let what = format.map_or(if integer { "a whole number" } else { "text" }, |f| f.what);
        let text = match (&node.value, integer || format.is_some_and(|f| f.number)) {
            (Value::Scalar(Class::Text, text), _) if !integer => text,
            (Value::Scalar(Class::Integer, text), true) => text,
            _ => return mismatch(node, what, sink),
        };
        if let Some(Err(why)) = format.map(|f| (f.check)(text)) {
            sink.error(node.span.clone(), why);
        }
        if integer
            && format.is_none()
            && let Some(range) = outside(schema, text)
        {
            sink.error(node.span.clone(), format!("{what} {range} is expected here, this is {text}"));
        }
        let known: Vec<String> =
            schema["enum"].as_array().into_iter().flatten().map(Json::to_string).collect();
        if integer && !known.is_empty() && !known.contains(text) {
            let help = format!("known here: {}", known.join(", "));
            sink.error_help(node.span.clone(), format!("`{text}` is not known here"), help);
        }
    }

    fn format(&self, schema: &Json) -> Option<&Format> {
        let name = schema["format"].as_str()?;
        self.formats.iter().find(|f| f.name == name)
    }
}

/// Returns the range of a whole number's schema, if the number is not in it.
fn outside(schema: &Json, text: &str) -> Option<String> {
    let (least, most) = (schema["minimum"].as_u64()?, schema["maximum"].as_u64()?);
    let is_inside = text.parse().is_ok_and(|number: u64| (least..=most).contains(&number));
    (!is_inside).then(|| format!("from {least} to {most}"))
}

fn mismatch(node: &Node, expected: &str, sink: &mut Sink<'_>) {
    let message = format!("{expected} is expected here, this is {}", node.kind());
    match node.text().and_then(key_without_space) {
        Some(key) => {
            sink.error_help(node.span.clone(), message, format!("a space is missing after `{key}:`"))
        }
        None => sink.error(node.span.clone(), message),
    }
}

fn space_missing(key: &str) -> String {
    format!("a space is missing after `{key}:`")
}

/// Returns the key of a text like `cpu:neoverse-v1`, which is one word to YAML.
fn key_without_space(text: &str) -> Option<&str> {
    let (key, value) = text.split_once(':').filter(|(_, value)| !value.contains(|c: char| !c.is_ascii()))?;
    let is_key = key.starts_with(|c: char| c.is_ascii_lowercase())
        && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    (is_key && !value.is_empty()).then_some(key)
}

/// Returns the list of `anyOf: [X, list of X]`.
fn list_alternative(schema: &Json) -> Option<&Json> {
    schema["anyOf"].as_array()?.iter().find(|s| s["type"] == "array")
}

/// Returns the words that a choice allows, in the schema's order.
fn words(schema: &Json) -> Option<Vec<&str>> {
    fn of(schema: &Json) -> Option<Vec<&str>> {
        match (schema["const"].as_str(), schema["enum"].as_array()) {
            (Some(word), _) => Some(vec![word]),
            (None, Some(words)) => words.iter().map(Json::as_str).collect(),
            (None, None) => None,
        }
    }
    match schema["oneOf"].as_array() {
        Some(variants) => Some(variants.iter().map(of).collect::<Option<Vec<_>>>()?.concat()),
        None => of(schema),
    }
}

/// Returns the key whose `const` distinguishes the variants, if they have one.
fn tag_key(variants: &[Json]) -> Option<&str> {
    let first = variants.first()?["properties"].as_object()?;
    first
        .iter()
        .map(|(key, _)| key.as_str())
        .find(|key| variants.iter().all(|v| v["properties"][*key]["const"].is_string()))
}
