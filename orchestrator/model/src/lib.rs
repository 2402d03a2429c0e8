//! The logic of s2lab without I/O: scenarios, plans and resolved cells, the events of a run, the
//! record that they fold to, the judgement and the report. `Scenario -> plan -> events -> record -> verdict ->
//! report`; nothing flows back.

pub mod cell;
pub mod changes;
pub mod comparison;
pub mod console;
pub mod crash;
pub mod diagnostic;
pub mod diff;
pub mod escape;
pub mod event;
pub mod finding;
pub mod hash;
pub mod hex;
pub mod history;
mod json_schema;
pub mod judge;
pub mod kconfig;
pub mod kernel;
pub mod ktap;
pub mod lines;
pub mod measures;
pub mod mutants;
pub mod night;
pub mod outlook;
pub mod plan;
pub mod program;
pub mod record;
mod regions;
pub mod report;
pub mod review;
pub mod scenario;
pub mod shards;
pub mod statistics;
pub mod steps;
pub mod summary;
pub mod tables;
mod unseen;
pub mod verdict;
pub mod witnesses;
mod yaml;
