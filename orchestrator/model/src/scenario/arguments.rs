//! The scenario's words on the command line of the host's kernel.

use super::hides;
use crate::diagnostic::Sink;
use crate::yaml::Node;
use std::ops::Range;

/// The most words.
pub(super) const MAX_COUNT: usize = 32;
/// The longest word, in characters. All of them and s2lab's own fit into arm64's limit
/// (COMMAND_LINE_SIZE, 2048, arch/arm64/include/uapi/asm/setup.h, Linux 6.1) if they are not all
/// that long; see [`MAX_LINE`].
pub(super) const MAX_LENGTH: usize = 256;
/// The longest line of them, in characters. s2lab's own words have about 200.
const MAX_LINE: usize = 1536;
/// The parameters that s2lab sets, and the reasons.
const OWN: [(&str, &str); 7] = [
    ("console", "s2lab reads the console that it has chosen"),
    ("ignore_loglevel", LEVEL),
    ("printk.ignore_loglevel", LEVEL),
    ("panic", "a panic ends the machine, so that it is seen at once"),
    ("oops", "an oops is a panic, so that nothing is measured after it"),
    ("init", "the host's init is s2lab's agent"),
    ("rdinit", "the host's init is s2lab's agent"),
];
const LEVEL: &str = "every message of the kernel goes to the console, so that no warning is missed";
/// Parameters of the agent.
const AGENT: &str = "s2lab.";

/// Reports `why` at `span` if the host's kernel does not have `word`, a parameter with its value. The last word of
/// a parameter prevails.
pub(super) fn require(root: &Node, word: &str, span: &Range<usize>, why: &str, sink: &mut Sink<'_>) {
    let (name, due) = parameter(word);
    let arguments = root.get("host").and_then(|host| host.get("arguments"));
    let words = arguments.map(Node::items).unwrap_or_default().iter().filter_map(Node::text);
    let given = words.map(parameter).rfind(|(known, _)| *known == name);
    if !given.is_some_and(|(_, value)| is_same(value, due)) {
        sink.error_help(span.clone(), why, format!("write `arguments: [{word}]` in `host`"));
    }
}

/// Returns true for the same text, and for two words of the same truth.
fn is_same(one: Option<&str>, other: Option<&str>) -> bool {
    // lib/kstrtox.c, kstrtobool; a name alone is true (kernel/params.c, param_set_bool). Linux 6.1.
    let truth = |value: Option<&str>| match value {
        None | Some("1" | "y" | "Y" | "on") => Some(true),
        Some("0" | "n" | "N" | "off") => Some(false),
        Some(_) => None,
    };
    one == other || truth(one).is_some() && truth(one) == truth(other)
}

/// Reports the words that cannot be on the command line.
pub(super) fn check(root: &Node, sink: &mut Sink<'_>) {
    let Some(arguments) = root.get("host").and_then(|host| host.get("arguments")) else { return };
    let mut length = 0;
    for node in arguments.items() {
        let Some(word) = node.text() else { continue };
        length += word.len() + 1;
        if let Err((message, help)) = fits(word) {
            sink.error_help(node.span.clone(), message, help);
        }
    }
    if length > MAX_LINE {
        let message = format!("the arguments are {length} characters long; the limit is {MAX_LINE}");
        sink.error(arguments.span.clone(), message);
    }
}

/// Checks that it is one word to the kernel, and not one of s2lab's. Returns the mistake and the
/// hint.
fn fits(word: &str) -> Result<(), (String, String)> {
    if let Some(c) = word.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '"' | '\'' | '`' | '\\')) {
        let help =
            "an argument is one word of visible ASCII without quotes; write several as a list".to_owned();
        return Err((format!("{c:?} cannot stand in an argument of a kernel"), help));
    }
    if word.starts_with("--") {
        let help = "what follows `--` goes to init, which is s2lab's agent".to_owned();
        return Err((format!("`{word}` is not a kernel argument"), help));
    }
    let (name, value) = parameter(word);
    if let Some(reason) = hides::reason(&name, value) {
        return Err((format!("`{word}` could hide an alarm"), format!("{reason}: leave it out")));
    }
    let reason = OWN.iter().find(|(own, _)| *own == name).map(|(_, reason)| *reason);
    match reason.or_else(|| name.starts_with(AGENT).then_some("its agent reads them")) {
        Some(reason) => Err((format!("`{name}` is set by s2lab"), format!("{reason}: leave it out"))),
        None => Ok(()),
    }
}

/// Returns the name of a word's parameter, with `_` for `-`, and its value. The kernel does not distinguish the two
/// characters in a name (kernel/params.c, parameq).
fn parameter(word: &str) -> (String, Option<&str>) {
    let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
    (name.replace('-', "_"), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_has_the_value_of_its_last_word() {
        let is_reported = |arguments: &str, word: &str| {
            let text = format!("host: {{{arguments}}}");
            let mut sink = Sink::new("x.yaml", &text);
            let root = crate::yaml::parse(&text, &mut sink).unwrap();
            require(&root, word, &(0..4), "why", &mut sink);
            !sink.is_empty()
        };
        for (words, word) in [
            ("m.x=1", "m.x=1"),
            ("m.x", "m.x=1"),
            ("a=b, m.x=0, m.x=y", "m.x=1"),
            ("m.x=n", "m.x=0"),
            ("kvm_arm.mode=nvhe, kvm_arm.mode=protected", "kvm-arm.mode=protected"),
        ] {
            assert!(!is_reported(&format!("arguments: [{words}]"), word), "{words}");
        }
        for (words, word) in [
            ("", "m.x=1"),
            ("x=1", "m.x=1"),
            ("m.x=1, m.x=0", "m.x=1"),
            ("m.x=2", "m.x=1"),
            ("kvm-arm.mode=protected, kvm-arm.mode=nvhe", "kvm-arm.mode=protected"),
        ] {
            assert!(is_reported(&format!("arguments: [{words}]"), word), "{words}");
        }
        assert!(is_reported("", "m.x=1"));
    }

    #[test]
    fn what_is_a_word_of_ones_own() {
        for word in ["kvm-arm.mode=none", "maxcpus=1", "panic_on_warn=1", "a=b=c"] {
            assert_eq!(fits(word), Ok(()), "{word}");
        }
        for (word, said) in [
            ("a b", "' ' cannot"),
            ("a=\"b", "cannot stand"),
            ("a\nb", "'\\n' cannot"),
            ("é", "cannot stand"),
            ("--", "is not a kernel argument"),
            ("panic=0", "`panic` is set by s2lab"),
            ("console=tty0", "set by s2lab"),
            ("quiet", "`quiet` could hide an alarm"),
            ("loglevel=4", "`loglevel=4` could hide an alarm"),
            ("rcupdate.rcu-cpu-stall-suppress=1", "could hide an alarm"),
            ("ignore-loglevel=0", "set by s2lab"),
            ("printk.ignore_loglevel=0", "set by s2lab"),
            ("rdinit=/bin/sh", "set by s2lab"),
            ("s2lab.nonce=1", "set by s2lab"),
        ] {
            let (message, _) = fits(word).unwrap_err();
            assert!(message.contains(said), "{message}");
        }
    }
}
