//! What verbs share: which kernels and cells are meant, what is gathered for them, which run, and what was judged of it.

pub(crate) mod cells;
pub(crate) mod gather;
pub(crate) mod judged;
pub(crate) mod kernels;
pub(crate) mod own;
pub(crate) mod parts;
pub(crate) mod runs;
