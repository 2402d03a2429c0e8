//! Text to [`Kernels`], or all mistakes of the text at once.

use super::Kernels;
use crate::diagnostic::{Diagnostics, Sink, suggest};
use crate::shape::{self, Format, Shape};
use crate::yaml::Node;
use schemars::{Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde_json::{Value, json};
use std::sync::LazyLock;

static SCHEMA: LazyLock<Value> =
    LazyLock::new(|| SchemaSettings::draft07().into_generator().into_root_schema_for::<Kernels>().to_value());

/// Longest name of a kernel, characters.
pub(crate) const NAME_LENGTH: usize = 41;

const FORMATS: [Format; 3] = [
    Format { name: "kernel", what: "a kernel's name", number: false, check: name },
    Format { name: "package", what: "a package's name", number: false, check: package },
    Format { name: "suite", what: "a suite's name", number: false, check: suite },
];

/// Reads the kernel list `file`, whose content is `text`. Nothing is opened.
///
/// # Errors
/// All mistakes of the file, in its order.
pub fn load(file: &str, text: &str) -> Result<Kernels, Diagnostics> {
    shape::read(file, text, &Shape { schema: &SCHEMA, formats: &FORMATS }, check)
}

pub(super) fn names() -> Value {
    json!({"type": "string", "format": "kernel"})
}

pub(super) fn suites(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {"type": "string", "format": "suite"},
        "minItems": 1,
        "uniqueItems": true,
    })
}

/// A kernel's name is half of a key and so part of a file's name.
fn name(text: &str) -> Result<(), String> {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    if text.is_empty() || text.starts_with(['-', '.']) || !text.chars().all(inside) {
        Err(format!(
            "`{text}` is no kernel's name; one has a-z, 0-9, `-` and `.`, and begins with a letter or digit"
        ))
    } else if text.len() > NAME_LENGTH {
        Err(format!("`{text}` has {} characters; a kernel's name has {NAME_LENGTH} at most", text.len()))
    } else {
        Ok(())
    }
}

/// Debian Policy 5.6.7: lower case letters, digits, `+`, `-`, `.`; at least two; begins with a letter or digit.
fn package(text: &str) -> Result<(), String> {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '-' | '.');
    match text.len() >= 2 && !text.starts_with(['+', '-', '.']) && text.chars().all(inside) {
        true => Ok(()),
        false => Err(format!("`{text}` is no package's name")),
    }
}

fn suite(text: &str) -> Result<(), String> {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    match text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(inside) {
        true => Ok(()),
        false => Err(format!(
            "`{text}` is no suite; a suite is a bare name like bookworm-backports, without a host"
        )),
    }
}

/// The names under `default` and `guest` are those of kernels.
fn check(root: &Node, sink: &mut Sink<'_>) {
    let Some(kernels) = root.get("kernels").filter(|k| matches!(k.value, crate::yaml::Value::Map(_))) else {
        return;
    };
    let meant = root.get("default").into_iter().flat_map(Node::items).chain(root.get("guest"));
    for node in meant {
        if let Some(text) = node.text().filter(|t| kernels.get(t).is_none()) {
            let known = kernels.entries().iter().map(|e| e.key.as_str());
            sink.error_help(node.span.clone(), format!("no kernel is called `{text}`"), suggest(text, known));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Provider, Trait};

    const COMMITTED: &str = include_str!("../../../../images/kernels.yaml");

    #[test]
    fn the_committed_list_loads() {
        let kernels = load("kernels.yaml", COMMITTED).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(kernels.default, ["debian-6.1", "debian-6.12"]);
        let new = &kernels.entries["debian-6.12"];
        assert_eq!(new.traits.iter().copied().collect::<Vec<_>>(), Trait::ALL);
        let Provider::Debian(debian) = &new.provider;
        assert_eq!((debian.package.as_str(), debian.suites.len()), ("linux-image-cloud-arm64", 1));
        assert!(kernels.entries["debian-6.1"].traits.is_empty());
    }

    #[test]
    fn all_mistakes_at_once() {
        let text = "kernels:
  Debian: {about: x, provider: debain, package: a, suites: []}
  a: {about: x, provider: debian, package: '-', suites: [http://h/x, b, b], traits: [wc-honored]}
  b: {about: x, package: ab, suites: [s], traits: []}
  c: {provider: debian, about: 5, packages: ab, suites: bookworm, traits: []}
default: [a, d, a]
guest: bb
extra: 1
";
        insta::assert_snapshot!(load("kernels.yaml", text).unwrap_err());
    }

    #[test]
    fn a_list_reads_back() {
        let kernels = load("kernels.yaml", COMMITTED).unwrap();
        let text = serde_yaml::to_string(&kernels).unwrap();
        assert_eq!(load("x", &text).unwrap_or_else(|e| panic!("{e}\n{text}")), kernels);
    }
}
