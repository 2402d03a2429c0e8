//! The answers about a group.

use s2lab_model::{diagnostic::suggest, escape, plan::Key};

/// The question. A line feed alone is no answer, so that nothing is accepted by mistake.
pub(super) const QUESTION: &str = "a accept, r reject, s skip, d [KEY] show the diff of a cell, q quit > ";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Choice(Choice),
    /// The diff of this cell, and the question again.
    Show(Key),
    Quit,
}

/// The choices about a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    Accept,
    /// Nothing is written. The cells count as rejected.
    Reject,
    /// Nothing is decided.
    Skip,
}

impl Answer {
    /// Reads the answer about a group with these cells. `show` without a key means the first of them.
    pub(super) fn read(line: &str, keys: &[Key]) -> Result<Self, String> {
        let mut words = line.split_whitespace();
        let (word, key, further) = (words.next(), words.next(), words.next());
        let answer = match (word, key) {
            (Some("a" | "accept"), None) => Some(Self::Choice(Choice::Accept)),
            (Some("r" | "reject"), None) => Some(Self::Choice(Choice::Reject)),
            (Some("s" | "skip"), None) => Some(Self::Choice(Choice::Skip)),
            (Some("q" | "quit"), None) => Some(Self::Quit),
            (Some("d" | "diff" | "show"), None) => keys.first().cloned().map(Self::Show),
            (Some("d" | "diff" | "show"), Some(wanted)) => {
                let known = keys.iter().find(|key| **key == *wanted).cloned();
                let near = || suggest(wanted, keys.iter().map(Key::as_str));
                let none = || format!("no cell of this group is `{}`; {}", escape::line(wanted), near());
                Some(Self::Show(known.ok_or_else(none)?))
            }
            _ => None,
        };
        let unknown = || format!("not an answer: {}", escape::line(line.trim()));
        answer.filter(|_| further.is_none()).ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_or_a_word() {
        let keys = ["a@k1", "a@k2"].map(|key| key.parse::<Key>().unwrap());
        let show = |key: &Key| Answer::Show(key.clone());
        for (line, answer) in [
            ("a", Answer::Choice(Choice::Accept)),
            (" accept \n", Answer::Choice(Choice::Accept)),
            ("r", Answer::Choice(Choice::Reject)),
            ("s", Answer::Choice(Choice::Skip)),
            ("q", Answer::Quit),
            ("d", show(&keys[0])),
            ("show a@k2", show(&keys[1])),
        ] {
            assert_eq!(Answer::read(line, &keys), Ok(answer), "{line}");
        }
        for (line, why) in [
            ("", "not an answer: \"\""),
            ("A", "not an answer: A"),
            ("yes\n", "not an answer: yes"),
            ("a a@k1", "not an answer: a a@k1"),
            ("\u{1b}[A", "not an answer: \\u{1b}[A"),
            ("d a@k1 a@k2", "not an answer: d a@k1 a@k2"),
            ("d a@k3", "no cell of this group is `a@k3`; did you mean `a@k1`? known here: a@k1, a@k2"),
        ] {
            assert_eq!(Answer::read(line, &keys), Err(why.to_owned()), "{line}");
        }
    }
}
