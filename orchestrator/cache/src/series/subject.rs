//! Decoding of a mail's subject.

/// The longest title, in characters.
const MAX_TITLE: usize = 200;

/// A subject such as `Re: [RFC PATCH v6 2/4] mm: a flag`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Subject {
    pub(super) reply: bool,
    /// The revision as written, `v6`. The first revision has none.
    pub(super) revision: Option<String>,
    /// The number of the patch and the total; 0 is the cover letter.
    pub(super) number: Option<(usize, usize)>,
    /// The number as it is written, if it is not whole: `1.5/3`.
    pub(super) odd_number: Option<String>,
    /// The title without prefixes.
    pub(super) title: String,
}

impl Subject {
    /// Decodes a subject. It never fails: any other text is all title.
    pub(super) fn parse(text: &str) -> Self {
        let mut subject = Self::default();
        let text = printable(text);
        let mut rest = text.as_str();
        loop {
            if let Some(after) = reply_prefix(rest) {
                subject.reply = true;
                rest = after.trim_start();
            } else if let Some((tags, after)) = rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
                tags.split([' ', ',']).for_each(|word| subject.tag(word));
                rest = after.trim_start();
            } else {
                rest.clone_into(&mut subject.title);
                return subject;
            }
        }
    }

    fn tag(&mut self, word: &str) {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if let Some((n, m)) = word.split_once('/') {
            let is_odd = n.split('.').all(digits) && digits(m);
            match (n.parse(), m.parse()) {
                (Ok(n), Ok(m)) => drop(self.number.get_or_insert((n, m))),
                _ if is_odd => drop(self.odd_number.get_or_insert_with(|| word.to_owned())),
                _ => {}
            }
            return;
        }
        // `v6`, or `PATCHv6`.
        let lower = word.to_ascii_lowercase();
        let revision = lower.strip_prefix("patch").unwrap_or(&lower);
        if revision.strip_prefix('v').is_some_and(digits) {
            self.revision.get_or_insert_with(|| revision.to_owned());
        }
    }
}

/// Returns the text after `Re:`, in the languages of mail programs; also after `Re[2]:` and
/// `Re^2:`.
fn reply_prefix(text: &str) -> Option<&str> {
    const WORDS: [&str; 10] = ["re", "aw", "sv", "vs", "antw", "res", "odp", "回复", "答复", "回覆"];
    let (word, after) = text.split_once([':', '\u{ff1a}'])?;
    let count = |c: char| c.is_ascii_digit() || matches!(c, '[' | ']' | '^');
    let word = word.trim_end_matches(count).trim_end().to_lowercase();
    WORDS.contains(&word.as_str()).then_some(after)
}

/// Returns one line of bounded length without control characters.
pub(super) fn printable(text: &str) -> String {
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let words = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    words.chars().take(MAX_TITLE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn as_they_are_written() {
        for (text, reply, revision, number, title) in [
            ("[PATCH 1/2] mm: a flag", false, None, Some((1, 2)), "mm: a flag"),
            ("[RFC PATCH v6 0/4] vfio: x", false, Some("v6"), Some((0, 4)), "vfio: x"),
            ("[PATCHv2 net-next 03/12] a", false, Some("v2"), Some((3, 12)), "a"),
            ("[v9,4/4] KVM: arm64: b", false, Some("v9"), Some((4, 4)), "KVM: arm64: b"),
            ("Re: [PATCH 6.1 1/4] c", true, None, Some((1, 4)), "c"),
            ("RE: re: d", true, None, None, "d"),
            ("Re[2]: d", true, None, None, "d"),
            ("Antw: [PATCH 1/2] d", true, None, Some((1, 2)), "d"),
            ("回复：[PATCH 1/2] d", true, None, Some((1, 2)), "d"),
            ("revert: d", false, None, None, "revert: d"),
            ("[PATCH] [arm64] e [f]", false, None, None, "e [f]"),
            ("[PATCH 1/x] \u{1b}[31mred\n\tfolded", false, None, None, "[31mred folded"),
            ("[open", false, None, None, "[open"),
            ("", false, None, None, ""),
        ] {
            let (revision, title) = (revision.map(str::to_owned), title.to_owned());
            let expected = Subject { reply, revision, number, title, odd_number: None };
            assert_eq!(Subject::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn a_patch_between_two_others_has_no_number() {
        let subject = Subject::parse("[PATCH 1.5/3] mm: between");
        assert_eq!((subject.number, subject.odd_number.as_deref()), (None, Some("1.5/3")));
        assert_eq!(Subject::parse("[PATCH 6.1/stable] x").odd_number, None);
    }

    proptest! {
        #[test]
        fn any_text(text in ".*") {
            let subject = Subject::parse(&text);
            prop_assert!(!subject.title.contains(char::is_control));
            prop_assert!(subject.title.chars().count() <= MAX_TITLE);
        }

        #[test]
        fn numbers_read_back(n in 0usize..1000, m in 0usize..1000, v in 2u32..99, title in "[a-d: ]{0,40}") {
            let subject = Subject::parse(&format!("[PATCH v{v} {n}/{m}] {title}"));
            prop_assert_eq!(subject.number, Some((n, m)));
            prop_assert_eq!(subject.revision, Some(format!("v{v}")));
            prop_assert_eq!(subject.title, printable(&title));
        }
    }
}
