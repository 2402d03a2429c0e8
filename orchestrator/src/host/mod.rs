//! The host of a cell: the machine, the channels to it, and its agent.

pub mod deadlines;
pub mod emulated;
pub mod link;
pub mod ssh;
