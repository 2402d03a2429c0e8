//! Phrases of several kinds of sentences.

use super::{Change, ChangeKind, change};
use crate::lines::Further;
use crate::scenario::Size;
use std::collections::BTreeMap;

/// Numbers equal names, from 0.
pub(super) fn numbered<K: Ord + Clone>(names: impl IntoIterator<Item = K>) -> Vec<(K, usize)> {
    let mut counts: BTreeMap<K, usize> = BTreeMap::new();
    let number = |name: K| {
        let count = counts.entry(name.clone()).or_default();
        *count += 1;
        (name, *count - 1)
    };
    names.into_iter().map(number).collect()
}

/// `A became B`. Words at the beginning that both have are not repeated: `granule 4K became 16K`.
pub(super) fn became(old: &str, new: &str) -> String {
    let (mut old_words, mut new_words) = (old.split(' '), new.split(' ').peekable());
    let rest = loop {
        let rest: Vec<_> = new_words.clone().collect();
        match (old_words.next(), new_words.next()) {
            (Some(word), Some(other)) if word == other && new_words.peek().is_some() => {}
            _ => break rest,
        }
    };
    format!("{old} became {}", rest.join(" "))
}

/// Returns the distinct texts, joined by `and`.
pub(super) fn joined(texts: impl IntoIterator<Item = String>) -> String {
    let mut all: Vec<String> = vec![];
    for text in texts {
        if !all.contains(&text) {
            all.push(text);
        }
    }
    all.join(" and ")
}

/// A size in words: `2 MiB`.
pub(super) fn bytes(size: Size) -> String {
    let text = size.to_string();
    let number = text.trim_end_matches(['K', 'M', 'G']);
    match text.strip_prefix(number) {
        Some("") | None => format!("{number} bytes"),
        Some(unit) => format!("{number} {unit}iB"),
    }
}

/// Returns the change of the lines that a part is too small for.
pub(super) fn further(
    kind: ChangeKind,
    part: &str,
    old: Option<&Further>,
    new: Option<&Further>,
) -> Option<Change> {
    let count = |further: Option<&Further>| further.map_or(0, |further| further.count);
    let what = match (count(old), count(new)) {
        _ if old == new => return None,
        (old, new) if old == new => format!("the {new} lines beyond the bound of {part} differ"),
        (old, new) => format!("lines beyond the bound of {part}: {old} became {new}"),
    };
    Some(change(kind, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_both_have_are_not_repeated() {
        for (old, new, words) in [
            ("granule 4K", "granule 16K", "granule 4K became 16K"),
            ("IPA 40 bits", "IPA 48 bits", "IPA 40 bits became 48 bits"),
            ("BAR file equal", "BAR file DIFFERS", "BAR file equal became DIFFERS"),
            ("8 stores", "9 stores", "8 stores became 9 stores"),
            ("a", "a b", "a became b"),
            ("a b", "a", "a b became a"),
            ("x", "x", "x became x"),
        ] {
            assert_eq!(became(old, new), words);
        }
    }

    #[test]
    fn sizes_in_words() {
        for (size, words) in [(2 << 20, "2 MiB"), (4096, "4 KiB"), (1 << 30, "1 GiB"), (0, "0 bytes")] {
            assert_eq!(bytes(Size(size)), words);
        }
        assert_eq!(bytes(Size(1025)), "1025 bytes");
    }
}
