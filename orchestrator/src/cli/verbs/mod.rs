//! Verbs, one file each.

pub(crate) mod accept;
pub(crate) mod bundle;
pub(crate) mod cache;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod history;
pub(crate) mod init;
pub(crate) mod lint;
pub(crate) mod list;
pub(crate) mod man;
pub(crate) mod merge;
pub(crate) mod new;
pub(crate) mod nightly;
pub(crate) mod plan;
pub(crate) mod report;
pub(crate) mod review;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod schema;
pub(crate) mod shell;
pub(crate) mod tables;
pub(crate) mod textconv;
pub(crate) mod trend;
