//! s2lab: boots an emulated arm64 host, lets KVM in it run guests, reads their stage-2 tables from outside, and reports.
//!
//! `docs/architecture.md` shows the data's way.

mod carried;
mod child;
pub mod cli;
pub mod host;
pub mod lab;
pub mod limits;
pub mod outside;
mod private;
pub mod review;
pub mod revisions;
pub mod run;
pub mod runtime;
mod sealed;
pub mod series;
pub mod show;
pub mod size;
pub mod store;
mod waits;
mod whole;
