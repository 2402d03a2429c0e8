//! The common parts of verbs: the named kernels and cells, their preparation, the named run, and
//! its judgement.

pub(crate) mod cells;
pub(crate) mod gather;
pub(crate) mod judged;
pub(crate) mod kernels;
pub(crate) mod outputs;
pub(crate) mod own;
pub(crate) mod parts;
pub(crate) mod runs;
