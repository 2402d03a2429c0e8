//! The decisions of a review so far.

use crate::show::outline::cells;
use s2lab_model::{plan::Key, review::Group};

/// The cells by the decision about them.
#[derive(Debug, Default)]
pub(super) struct Decided {
    accepted: Vec<Key>,
    rejected: Vec<Key>,
    skipped: Vec<Key>,
    /// Nobody has answered yet.
    left: Vec<Key>,
}

impl Decided {
    /// No decision yet about these groups.
    pub(super) fn of(groups: &[Group]) -> Self {
        let left = groups.iter().flat_map(|group| group.keys.iter().cloned()).collect();
        Self { left, ..Self::default() }
    }

    pub(super) fn accept(&mut self, key: &Key) {
        self.left.retain(|left| left != key);
        self.accepted.push(key.clone());
    }

    pub(super) fn reject(&mut self, group: &Group) {
        self.left.retain(|left| !group.keys.contains(left));
        self.rejected.extend(group.keys.iter().cloned());
    }

    pub(super) fn skip(&mut self, group: &Group) {
        self.left.retain(|left| !group.keys.contains(left));
        self.skipped.extend(group.keys.iter().cloned());
    }

    /// Returns true if nobody has answered about some cells.
    pub(super) fn is_left(&self) -> bool {
        !self.left.is_empty()
    }

    pub(super) fn is_all_accepted(&self) -> bool {
        self.rejected.is_empty() && self.skipped.is_empty() && self.left.is_empty()
    }

    /// Returns a line for each decision that was made.
    pub(super) fn summary(&self) -> String {
        let Self { accepted, rejected, skipped, left } = self;
        let all =
            [("accepted", accepted), ("rejected", rejected), ("skipped", skipped), ("not decided", left)];
        let made = all.into_iter().filter(|(_, keys)| !keys.is_empty());
        let line = |(word, keys): (&str, &Vec<Key>)| {
            let names: Vec<_> = keys.iter().map(Key::as_str).collect();
            format!("{word}: {}, {}\n", cells(keys.len()), names.join(", "))
        };
        made.map(line).collect()
    }
}
