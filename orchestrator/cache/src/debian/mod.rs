//! Debian packages: where they come from, and what is in them.

pub(crate) mod apt;
pub(crate) mod deb;
pub(crate) mod suites;
