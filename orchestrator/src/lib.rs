//! s2lab: boots an emulated arm64 host, lets KVM in it run guests, reads their stage-2 tables from
//! outside, and reports. `docs/architecture.md` shows the way of the data.

pub mod boot;
pub mod cli;
mod home;
pub mod host;
pub mod lab;
pub mod review;
pub mod run;
pub mod runtime;
pub mod show;
