//! s2lab's library: everything but the command line.

pub mod store;
