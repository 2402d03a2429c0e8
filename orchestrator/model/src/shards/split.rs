//! The split of groups into shards.

use std::cmp::Reverse;
use std::collections::BTreeSet;

/// Returns the shard of each group, counted from 0. The group with the largest weight comes first;
/// of equal ones the first. Each goes to the shard that has the least so far. So everyone who has
/// the same weights has the same shards, and two shards differ by no more than one group.
pub fn split(weights: &[u64], shards: u32) -> Vec<u32> {
    let mut longest_first: Vec<usize> = (0..weights.len()).collect();
    longest_first.sort_by_key(|group| Reverse(weights.get(*group)));
    let mut loads: BTreeSet<(u64, u32)> = (0..shards.max(1)).map(|shard| (0, shard)).collect();
    let mut found = vec![0; weights.len()];
    for group in longest_first {
        let (Some((load, shard)), Some(weight)) = (loads.pop_first(), weights.get(group)) else { break };
        if let Some(place) = found.get_mut(group) {
            *place = shard;
        }
        loads.insert((load.saturating_add(*weight), shard));
    }
    found
}
