//! Decoding of a text to [`Kernels`], or to all of its mistakes at once.

use super::{Kernels, schema};
use crate::diagnostic::{Diagnostics, Sink, suggest};
use crate::json_schema::{self, Format, Schema};
use crate::yaml::{Entry, Node, Value};
use std::sync::LazyLock;

static SCHEMA: LazyLock<serde_json::Value> = LazyLock::new(schema::value);

/// The longest name of a kernel, in characters.
pub(crate) const NAME_LENGTH: usize = 41;

const FORMATS: [Format; 5] = [
    Format { name: "kernel", what: "a kernel's name", number: false, check: name },
    Format { name: "package", what: "a package's name", number: false, check: package },
    Format { name: "version", what: "a package's version", number: false, check: version },
    Format { name: "suite", what: "a suite's name", number: false, check: suite },
    Format { name: "path", what: "a path", number: false, check: path },
];

/// Reads the kernel list `file`, whose content is `text`. Opens no file.
///
/// # Errors
/// Returns all mistakes of the file, in their order.
pub fn load(file: &str, text: &str) -> Result<Kernels, Diagnostics> {
    json_schema::read(file, text, &Schema { json: &SCHEMA, formats: &FORMATS }, check)
}

/// Checks a kernel's name, which is half of a key and so part of a file's name.
fn name(text: &str) -> Result<(), String> {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    if text.is_empty() || text.starts_with(['-', '.']) || !text.chars().all(inside) {
        Err(format!(
            "`{text}` is not a valid kernel name; a name has a-z, 0-9, `-` and `.`, and begins with a letter or digit"
        ))
    } else if text.len() > NAME_LENGTH {
        Err(format!("`{text}` has {} characters; a kernel's name has {NAME_LENGTH} at most", text.len()))
    } else {
        Ok(())
    }
}

/// Checks a package's name by Debian Policy 5.6.7: lower case letters, digits, `+`, `-`, `.`; at
/// least two; begins with a letter or digit.
fn package(text: &str) -> Result<(), String> {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '-' | '.');
    match text.len() >= 2 && !text.starts_with(['+', '-', '.']) && text.chars().all(inside) {
        true => Ok(()),
        false => Err(format!("`{text}` is not a valid package name")),
    }
}

fn suite(text: &str) -> Result<(), String> {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    match text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(inside) {
        true => Ok(()),
        false => Err(format!(
            "`{text}` is not a suite; a suite is a bare name like bookworm-backports, without a host"
        )),
    }
}

/// Checks a version by Debian Policy 5.6.12: digits, letters and `. + - ~ :`; begins with a digit.
fn version(text: &str) -> Result<(), String> {
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-' | '~' | ':');
    match text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(inside) {
        true => Ok(()),
        false => Err(format!("`{text}` is not a package version; write one like 6.1.176-1")),
    }
}

fn path(text: &str) -> Result<(), String> {
    match text.is_empty() || text.contains(char::is_control) {
        true => Err("a path has at least one character, and no control characters".to_owned()),
        false => Ok(()),
    }
}

/// Checks what a schema cannot express: the combinations of an entry's keys, and that `default` and
/// `guest` name kernels.
fn check(root: &Node, sink: &mut Sink<'_>) {
    for entry in all_entries(root) {
        check_entry(entry, sink);
    }
    check_names(root, sink);
}

/// Returns the entries of all kernels, also of the quick one for guests.
pub(super) fn all_entries(root: &Node) -> impl Iterator<Item = &Entry> {
    let quick = root.entries().iter().filter(|entry| entry.key == Kernels::QUICK_GUEST);
    root.get("kernels").map_or(&[][..], Node::entries).iter().chain(quick)
}

fn check_entry(entry: &Entry, sink: &mut Sink<'_>) {
    let node = &entry.node;
    match node.get("provider").and_then(Node::text) {
        Some("debian" | "source") => match (node.get("version"), node.get("track")) {
            (None, None) => sink.error_help(
                entry.span.clone(),
                "it says neither `version` nor `track`",
                "`version: X` stays at that version; `track: newest` follows the archive",
            ),
            (Some(_), Some(track)) => {
                sink.error(track.span.clone(), "`version` and `track`: one of them at a time");
            }
            _ => {}
        },
        Some("tree") => {
            let built =
                node.get("build").is_some_and(|b| matches!(&b.value, Value::Scalar(_, t) if t == "true"));
            if let Some(config) = node.get("config").filter(|_| !built) {
                sink.error_help(
                    config.span.clone(),
                    "`config` is for trees that s2lab builds",
                    "add `build: true`; a tree that is built has a `.config` of its own",
                );
            }
        }
        _ => {}
    }
}

fn check_names(root: &Node, sink: &mut Sink<'_>) {
    let Some(kernels) = root.get("kernels").filter(|k| matches!(k.value, Value::Map(_))) else {
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
    use crate::kernel::{Debian, Package, Provider, Source, Trait, Tree, Version};

    const COMMITTED: &str = include_str!("../../../../images/kernels.yaml");

    #[test]
    fn the_committed_list_loads() {
        let kernels = load("kernels.yaml", COMMITTED).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(kernels.default, ["debian-6.1", "debian-6.12"]);
        let new = &kernels.entries["debian-6.12"];
        assert_eq!(new.traits, [Trait::WcConveyed, Trait::WcHonoured].into());
        let Provider::Debian(Debian { package }) = &new.provider else { panic!("{new:?}") };
        assert_eq!((package.name.as_str(), package.suites.len()), ("linux-image-cloud-arm64", 1));
        assert_eq!(kernels.entries["debian-6.1"].traits, [Trait::PfnmapStage1Leaf].into());
    }

    #[test]
    fn all_mistakes_at_once() {
        let text = "kernels:
  Debian: {about: x, provider: debain, package: a, suites: []}
  a: {about: x, provider: debian, package: '-', suites: [http://h/x, b, b], traits: [wc-honored]}
  b: {about: x, package: ab, suites: [s], traits: []}
  c: {provider: debian, about: 5, packages: ab, suites: bookworm, track: newest, traits: []}
  d: {about: x, provider: source, package: ab, suites: [s], version: v6, track: oldest, traits: [], patches: []}
  e: {about: x, provider: tree, path: '', build: yes, config: [a, a], traits: []}
  f: {about: x, provider: tree, path: ../linux, config: [a], traits: []}
  g: {about: x, provider: image, path: Image, modules: [a], system_map: 5, traits: []}
default: [a, z, a]
guest: bb
extra: 1
";
        insta::assert_snapshot!(load("kernels.yaml", text).unwrap_err());
    }

    /// A list with every key of every provider.
    const ALL: &str = "kernels:
  debian: {about: a, provider: debian, package: linux, version: '1:6.1~rc1+b1-2', suites: [s], traits: []}
  source: {about: a, provider: source, package: linux-source, track: newest, suites: [s], config: [a, b], patches: [p, q/1.patch], traits: [wc-honoured]}
  plain: {about: a, provider: source, package: linux-source, version: 6.1-1, suites: [s], config: [a], traits: []}
  tree: {about: a, provider: tree, path: ../linux, traits: []}
  built: {about: a, provider: tree, path: /src/linux, build: true, config: [a], traits: []}
  image: {about: a, provider: image, path: Image, modules: m, config: c, system-map: s, traits: []}
default: [tree]
guest: debian
quick-guest: {about: a, provider: source, package: linux-source, version: 6.1-1, suites: [s], config: [q], traits: []}
";

    #[test]
    fn every_key_of_every_provider() {
        let kernels = load("kernels.yaml", ALL).unwrap_or_else(|e| panic!("{e}"));
        let provider = |name: &str| kernels.entries[name].provider.clone();
        let package = |name: &str, version| Package { name: name.into(), version, suites: vec!["s".into()] };
        let fixed = |version: &str| Version::Fixed(version.to_owned());
        assert_eq!(
            provider("debian"),
            Provider::Debian(Debian { package: package("linux", fixed("1:6.1~rc1+b1-2")) })
        );
        assert_eq!(
            provider("source"),
            Provider::Source(Source {
                package: package("linux-source", Version::Newest),
                config: vec!["a".into(), "b".into()],
                patches: vec!["p".into(), "q/1.patch".into()],
            })
        );
        let Provider::Source(plain) = provider("plain") else { panic!() };
        assert_eq!((plain.package.version, plain.patches), (fixed("6.1-1"), vec![]));
        assert_eq!(
            provider("tree"),
            Provider::Tree(Tree { path: "../linux".into(), build: false, config: vec![] })
        );
        assert!(
            matches!(provider("built"), Provider::Tree(Tree { build: true, config, .. }) if config == ["a"])
        );
        let Provider::Image(image) = provider("image") else { panic!() };
        assert_eq!(
            (image.modules.as_deref(), image.config.as_deref(), image.system_map.as_deref()),
            (Some("m"), Some("c"), Some("s"))
        );
        let quick = kernels.entry(Kernels::QUICK_GUEST).map(|entry| &entry.provider);
        assert!(matches!(quick, Some(Provider::Source(source)) if source.config == ["q"]));
        assert_eq!(kernels.names().last(), Some(Kernels::QUICK_GUEST));
        assert!(!kernels.entries.contains_key(Kernels::QUICK_GUEST), "no host boots it");
        let text = serde_yaml::to_string(&kernels).unwrap();
        assert_eq!(load("x", &text).unwrap_or_else(|e| panic!("{e}\n{text}")), kernels);
    }

    #[test]
    fn a_quick_kernel_for_guests_is_an_entry_like_others() {
        let wrong = ALL.replace("version: 6.1-1, suites: [s], config: [q]", "suites: [s], config: [q]");
        let error = load("k.yaml", &wrong).unwrap_err().to_string();
        assert!(error.contains("it says neither `version` nor `track`"), "{error}");
    }

    #[test]
    fn a_list_reads_back() {
        let kernels = load("kernels.yaml", COMMITTED).unwrap();
        let text = serde_yaml::to_string(&kernels).unwrap();
        assert_eq!(load("x", &text).unwrap_or_else(|e| panic!("{e}\n{text}")), kernels);
    }
}
