//! Commands of s2lab, written so that a shell takes them as they are.

use s2lab_model::summary::CellSummary;
use std::fmt::Write;

/// Returns the arguments of the command that runs a cell alone, each quoted.
pub fn repeat(cell: &CellSummary) -> Vec<String> {
    ["s2lab".to_owned()].into_iter().chain(cell.repeat.iter().map(|argument| quoted(argument))).collect()
}

/// Returns an argument with a shell's quotes, in visible ASCII. Characters that are neither visible
/// nor ASCII are written in `$'...'`, which bash, zsh and ksh read.
pub fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./_-".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        return argument.to_owned();
    }
    if argument.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return format!("'{}'", argument.replace('\'', "'\\''"));
    }
    let mut out = "$'".to_owned();
    for byte in argument.bytes() {
        // Writing to a String cannot fail.
        let _ = match byte {
            b'\'' | b'\\' => write!(out, "\\{}", char::from(byte)),
            b' '..=b'~' => write!(out, "{}", char::from(byte)),
            // Three octal digits always: a hexadecimal digit that follows does not belong to it.
            _ => write!(out, "\\{byte:03o}"),
        };
    }
    out + "'"
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    #[test]
    fn arguments_with_quotes() {
        for (argument, text) in [
            ("tree:.@HEAD", "tree:.@HEAD"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", "'it'\\''s'"),
            ("a\\ b\n'\u{e9}1", "$'a\\\\ b\\012\\'\\303\\2511'"),
        ] {
            assert_eq!(quoted(argument), text);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn a_shell_reads_what_was_quoted(argument in "[^\0]{0,40}") {
            let text = quoted(&argument);
            prop_assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{text:?}");
            let output = Command::new("/bin/bash").args(["-c", &format!("printf %s {text}")]).output().unwrap();
            prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), argument);
        }
    }
}
