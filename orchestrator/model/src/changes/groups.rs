//! Equal changes of several cells.

use super::Change;
use crate::plan::Key;
use std::collections::BTreeMap;

/// A change, and all the cells that have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub change: Change,
    /// Sorted.
    pub keys: Vec<Key>,
}

/// Groups equal changes over cells, the worst and largest first.
pub fn groups<'a>(cells: impl IntoIterator<Item = (&'a Key, &'a [Change])>) -> Vec<Group> {
    let mut by_change: BTreeMap<&Change, Vec<Key>> = BTreeMap::new();
    for (key, changes) in cells {
        for change in changes {
            by_change.entry(change).or_default().push(key.clone());
        }
    }
    let group = |(change, mut keys): (&Change, Vec<Key>)| {
        keys.sort();
        keys.dedup();
        Group { change: change.clone(), keys }
    };
    let mut groups: Vec<_> = by_change.into_iter().map(group).collect();
    // The sort is stable: equally large groups stay in the order of their sentences.
    groups.sort_by_key(|group| (group.change.kind, std::cmp::Reverse(group.keys.len())));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::ChangeKind;

    #[test]
    fn the_worst_and_largest_group_is_first() {
        let change = |kind, what: &str| Change { kind, what: what.into() };
        let leaves = change(ChangeKind::Shape, "nic's leaves went from 2M to 4K (shape)");
        let (nc, af) = (change(ChangeKind::Promised, "nic: x"), change(ChangeKind::Promised, "nic: a"));
        let fail = change(ChangeKind::Verdict, "verdict: PASS became FAIL");
        let key = |text: &str| text.parse::<Key>().unwrap();
        let cells = [
            (key("a@k2"), vec![nc.clone(), leaves.clone()]),
            (key("a@k1"), vec![fail.clone(), nc.clone(), leaves.clone()]),
            (key("b@k1"), vec![af.clone(), leaves.clone()]),
            (key("c@k1"), vec![]),
        ];
        let found = groups(cells.iter().map(|(key, changes)| (key, changes.as_slice())));
        let found: Vec<_> = found
            .into_iter()
            .map(|Group { change, keys }| {
                (change, keys.iter().map(Key::to_string).collect::<Vec<_>>().join(" "))
            })
            .collect();
        let due = [(fail, "a@k1"), (nc, "a@k1 a@k2"), (af, "b@k1"), (leaves, "a@k1 a@k2 b@k1")];
        assert_eq!(found, due.map(|(change, keys)| (change, keys.to_owned())));
    }
}
