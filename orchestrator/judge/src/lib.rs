//! The CPU's answers about translations, compared with those of s2lab's walk.
//!
//! The program in `guest-agent/judge/` makes tables and asks the CPU. It leaves the registers, the
//! questions and the answers in RAM ([`s2lab_judge_records`]). [`Findings`] has what the walk from
//! outside says otherwise. `docs/judge.md` has the whole.

mod answer;
mod compare;
mod deviations;
mod memory;
mod par;
mod walk;

pub use answer::{Answer, Status, Type};
pub use compare::{Difference, Findings, compare};
pub use deviations::{Deviation, REFUSALS, Version, all as deviations};
pub use memory::{Order, Ram, Unfinished, UnreadableRam, prepare};
pub use walk::Walked;
