//! Checks of the steps `exec` and `suite`: where a program runs, and that it is one; the names of tests.

use super::load::is_key;
use super::parts::Parts;
use crate::diagnostic::Sink;
use crate::program::Unfit;
use crate::steps::HOST;
use crate::yaml::Node;
use std::collections::BTreeMap;

/// The most arguments of a program.
pub(super) const MAX_ARGUMENTS: usize = 32;
/// The most tests of a suite.
pub(super) const MAX_SELFTESTS: usize = 32;
/// The steps that have a result of their own on every kernel.
const WITH_RESULT: [&str; 2] = ["exec", "suite"];
/// The longest argument and the longest path, in characters.
pub(super) const LONGEST: usize = 200;
/// The keys of a scenario that may be left out beside a step of [`WITH_RESULT`], and their meaning.
const NEEDED: [(&str, &str); 2] =
    [("guests", "the guests (L2), by name: one to four"), ("expect", "the expected results")];

/// The reason why the program of a step cannot be had, with a hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramError {
    pub message: String,
    pub hint: Option<String>,
}

impl From<Unfit> for ProgramError {
    fn from(unfit: Unfit) -> Self {
        ProgramError { message: unfit.to_string(), hint: Some(unfit.hint().to_owned()) }
    }
}

/// Reads the program at a path of a scenario, and returns its SHA-256.
pub type ReadProgram<'a> = &'a mut dyn FnMut(&str) -> Result<String, ProgramError>;

/// The programs of one scenario, each read once for all points.
pub(super) struct Programs<'a> {
    /// None: they are not read.
    read: Option<ReadProgram<'a>>,
    known: BTreeMap<String, Result<String, ProgramError>>,
}

impl<'a> Programs<'a> {
    pub(super) fn by(read: ReadProgram<'a>) -> Self {
        Self { read: Some(read), known: BTreeMap::new() }
    }

    pub(super) fn unread() -> Self {
        Self { read: None, known: BTreeMap::new() }
    }

    /// Returns the digest of the program at a path, or None if programs are not read.
    fn digest(&mut self, file: &str) -> Option<Result<String, ProgramError>> {
        let read = self.read.as_mut()?;
        Some(self.known.entry(file.to_owned()).or_insert_with(|| read(file)).clone())
    }
}

/// Checks the path of a program.
pub(super) fn path(text: &str) -> Result<(), String> {
    let name = text.rsplit('/').next().unwrap_or_default();
    if text.len() > LONGEST {
        Err(format!("the path has {} characters; {LONGEST} is the limit", text.len()))
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err(format!("`{text}` is not a path of visible ASCII without spaces"))
    } else if text.starts_with('/') {
        Err(format!("`{text}` is not relative to the scenario's file"))
    } else if name.is_empty() || name == "." || name == ".." {
        Err(format!("`{text}` is not the path of a file"))
    } else {
        Ok(())
    }
}

/// Checks an argument of a program.
pub(super) fn argument(text: &str) -> Result<(), String> {
    if text.len() > LONGEST {
        Err(format!("the argument has {} characters; {LONGEST} is the limit", text.len()))
    } else if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        Err("an argument has visible ASCII and spaces only".to_owned())
    } else {
        Ok(())
    }
}

/// Checks a selftest: the name of its program, and arguments with one space before each.
pub(super) fn selftest(text: &str) -> Result<(), String> {
    let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    let (name, args) = text.split_once(' ').map_or((text, None), |(name, args)| (name, Some(args)));
    if name.is_empty() || name.starts_with('-') || !is_name(name) {
        return Err(format!("`{name}` is not the name of a test; it has letters, digits, `_` and `-`"));
    }
    let Some(args) = args else { return Ok(()) };
    match args.split(' ').any(str::is_empty) {
        true => Err(format!("`{text}`: one space stands before each argument")),
        false if args.split(' ').count() > MAX_ARGUMENTS => {
            Err(format!("`{name}` has more than {MAX_ARGUMENTS} arguments"))
        }
        false => argument(text),
    }
}

/// Returns true if a step has a result of its own, so that nothing else need be expected.
pub(super) fn has_result(parts: &Parts<'_>) -> bool {
    parts.steps.iter().any(|step| WITH_RESULT.contains(&step.kind))
}

/// Checks all steps `exec`. Returns the digest of each program that was read, by its path.
pub(super) fn check(
    parts: &Parts<'_>,
    programs: &mut Programs<'_>,
    sink: &mut Sink<'_>,
) -> BTreeMap<String, String> {
    for node in parts.steps("exec").filter_map(|step| step.body.get("in")) {
        place(node, parts, sink);
    }
    let mut digests = BTreeMap::new();
    for node in parts.steps("exec").filter_map(|step| step.body.get("file")) {
        let Some(file) = node.text().filter(|file| path(file).is_ok()) else { continue };
        if digests.contains_key(file) {
            continue;
        }
        match programs.digest(file) {
            None => {}
            Some(Ok(digest)) => drop(digests.insert(file.to_owned(), digest)),
            Some(Err(ProgramError { message, hint })) => {
                let message = format!("program `{file}`: {message}");
                match hint {
                    Some(hint) => sink.error_help(node.span.clone(), message, hint),
                    None => sink.error(node.span.clone(), message),
                }
            }
        }
    }
    digests
}

fn place(node: &Node, parts: &Parts<'_>, sink: &mut Sink<'_>) {
    let Some(name) = node.text().filter(|name| *name != HOST) else { return };
    let Some(guests) = &parts.guests else { return };
    let Some(guest) = guests.get(name) else {
        let known = guests.keys().copied().chain([HOST]);
        let help = crate::diagnostic::suggest(name, known);
        sink.error_help(node.span.clone(), format!("no guest is called `{name}`"), help);
        return;
    };
    if guest.node.get("vmm").and_then(Node::text) == Some("builtin") {
        let message = format!("guest `{name}` has no operating system, which a program needs");
        sink.error_help(node.span.clone(), message, "write `vmm: qemu`, or `in: host`");
    }
}

/// Reports missing guests and expectations, which only a scenario with a step of [`WITH_RESULT`] may leave
/// out.
pub(super) fn needed(root: &Node, parts: &Parts<'_>, sink: &mut Sink<'_>) {
    let without_guests = parts.guests.as_ref().is_some_and(BTreeMap::is_empty);
    if has_result(parts) {
        for look in parts.steps("look").filter(|look| without_guests && look.is_of_guests()) {
            let help = "a look reads the tables of guests: add one";
            sink.error_help(look.span.clone(), "a look without guests", help);
        }
        return;
    }
    // A misspelt key is one mistake, not two.
    let misspelt = root.entries().iter().any(|entry| !is_key(&entry.key));
    for (key, about) in NEEDED {
        match root.entries().iter().find(|entry| entry.key == key) {
            Some(entry) if entry.node.entries().is_empty() && entry.node.items().is_empty() => {
                sink.error(entry.span.clone(), "at least one is needed here");
            }
            None if !misspelt => {
                sink.error_help(
                    root.span.clone(),
                    format!("missing key `{key}`"),
                    format!("`{key}`: {about}"),
                );
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_selftest() {
        for text in ["page_fault_test", "a-b", "get-reg-list --list", "t -b 64M -s anonymous_hugetlb_2mb"] {
            assert_eq!(selftest(text), Ok(()), "{text}");
        }
        let many = format!("t{}", " x".repeat(MAX_ARGUMENTS + 1));
        for text in ["", " t", "-t", "a/b", "../t", "t.sh", "t ", "t  -b", "t\t-b", "t \u{e9}", &many] {
            assert!(selftest(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_a_path_and_an_argument() {
        for text in ["repro", "a/b", "../repro", "./x", ".hidden"] {
            assert_eq!(path(text), Ok(()), "{text}");
        }
        for text in ["", "/repro", "a/", "..", "a/.", "a b", "é", &"x".repeat(LONGEST + 1)] {
            assert!(path(text).is_err(), "{text}");
        }
        assert_eq!((argument("a b=\"c\""), argument("")), (Ok(()), Ok(())));
        for text in ["a\nb", "é", &"x".repeat(LONGEST + 1)] {
            assert!(argument(text).is_err(), "{text}");
        }
    }
}
