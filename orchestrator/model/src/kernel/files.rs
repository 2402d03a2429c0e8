//! The files that a list of kernels names, each with its place in the list.

use super::load::all_entries;
use crate::{
    diagnostic::{Diagnostics, Sink},
    yaml::{self, Node},
};
use std::ops::Range;

/// A file or folder that a list of kernels names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    pub kind: FileKind,
    /// The path as it is written: relative to the folder of the list, or absolute.
    pub path: String,
    place: Range<usize>,
}

/// A kind of file that an entry may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A fragment of a configuration.
    Fragment,
    /// A patch, a mailbox, or a folder of them.
    Patches,
    /// The folder of a kernel's tree.
    Tree,
    Image,
    /// The folder of an Image's modules.
    Modules,
    /// The configuration of an Image.
    Config,
    SystemMap,
}

/// The keys of entries that name files, by provider.
const KEYS: [(&str, &str, FileKind); 8] = [
    ("source", "config", FileKind::Fragment),
    ("source", "patches", FileKind::Patches),
    ("tree", "path", FileKind::Tree),
    ("tree", "config", FileKind::Fragment),
    ("image", "path", FileKind::Image),
    ("image", "modules", FileKind::Modules),
    ("image", "config", FileKind::Config),
    ("image", "system-map", FileKind::SystemMap),
];

/// The files that the list `text` names, in its order. What is wrong with the text itself is not
/// looked at.
pub fn named_files(text: &str) -> Vec<NamedFile> {
    let mut sink = Sink::new("", text);
    let root = yaml::parse(text, &mut sink);
    let named = root.iter().flat_map(all_entries).flat_map(|entry| {
        let provider = entry.node.get("provider").and_then(Node::text).unwrap_or_default();
        KEYS.iter().filter(move |(of, ..)| *of == provider).flat_map(|(_, key, kind)| {
            let nodes = entry.node.get(key).map_or(&[][..], Node::one_or_many);
            nodes.iter().filter_map(|node| Some((*kind, node.text()?, node.span.clone())))
        })
    });
    named.map(|(kind, path, place)| NamedFile { kind, path: path.to_owned(), place }).collect()
}

/// The mistakes of the list `file`, with the text `text`: what is wrong with files that it names.
///
/// # Errors
/// If there are any.
pub fn check_named<'a>(
    file: &str,
    text: &str,
    wrong: impl IntoIterator<Item = (&'a NamedFile, String)>,
) -> Result<(), Diagnostics> {
    let mut sink = Sink::new(file, text);
    for (named, why) in wrong {
        sink.error(named.place.clone(), format!("`{}`: {why}", named.path));
    }
    sink.finish(Some(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use FileKind::{Config, Fragment, Image, Modules, Patches, SystemMap, Tree};

    #[test]
    fn every_file_is_found_and_shown_at_its_place() {
        let text = "kernels:
  a: {about: x, provider: source, package: p, config: [c1, c2], patches: [p1], path: no}
  b: {about: x, provider: tree, path: t, config: [c3]}
  c: {about: x, provider: image, path: i, modules: m, config: c4, system-map: s}
  d: {about: x, provider: debian, package: p}
quick-guest: {about: x, provider: source, package: p, config: [c5]}
";
        let files = named_files(text);
        let found: Vec<_> = files.iter().map(|file| (file.kind, file.path.as_str())).collect();
        let of_a = [(Fragment, "c1"), (Fragment, "c2"), (Patches, "p1")];
        let of_b = [(Tree, "t"), (Fragment, "c3")];
        let of_c = [(Image, "i"), (Modules, "m"), (Config, "c4"), (SystemMap, "s")];
        assert_eq!(found, [&of_a[..], &of_b, &of_c, &[(Fragment, "c5")]].concat());
        let wrong = [(&files[1], "is missing".to_owned())];
        let shown = check_named("k.yaml", text, wrong).unwrap_err().to_string();
        assert!(shown.starts_with("k.yaml:2:60: error: `c2`: is missing\n"), "{shown}");
        assert_eq!(check_named("k.yaml", text, []), Ok(()));
        assert_eq!(named_files("no: list"), []);
    }
}
