//! The common parts of verbs: the named kernels and cells, their preparation, the named run, its
//! judgement, and the reports of it that a person may accept.

pub(crate) mod acceptance;
pub(crate) mod answers;
pub(crate) mod cells;
pub(crate) mod gather;
pub(crate) mod history;
pub(crate) mod judged;
pub(crate) mod kernels;
pub(crate) mod mutants;
pub(crate) mod outputs;
pub(crate) mod own;
pub(crate) mod parts;
pub(crate) mod qemu;
pub(crate) mod runs;
pub(crate) mod set;
pub(crate) mod shards;
pub(crate) mod sides;
pub(crate) mod typed;
