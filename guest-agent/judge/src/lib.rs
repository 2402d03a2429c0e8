//! The judge: a program at EL2 that makes translation tables of its own and asks the CPU (AT
//! S12E1R and its like) how it translates with them. s2lab's walk answers the same questions from
//! outside of the machine; `orchestrator/judge/` compares. No code is shared with that walk: only
//! the layout of the answers in memory is.

#![cfg(target_arch = "aarch64")]
#![no_std]

mod attributes;
mod encode;
mod features;
mod geometry;
mod machine;
mod permissions;
mod questions;
pub mod ram;
mod random;
mod stage1;
mod stage2;

/// Asks everything. The answers are in memory then.
pub fn judge() {
    use s2lab_judge_records::{Head, READY};
    if ram::word(Head::State.at()) != READY {
        panic!("a reader with another layout");
    }
    let mut judge = questions::Judge::new();
    attributes::ask(&mut judge);
    permissions::ask(&mut judge);
    for _ in 0..ram::word(Head::Rounds.at()) {
        geometry::ask(&mut judge);
    }
}
