//! Tests with real QEMU, Debian's kernels and nested guests. They fetch what is missing in the
//! machine's own cache. Each test has its own state folder. Emulated hosts take turns by their
//! slots, so these tests may wait for each other.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking, as its tests do")]

mod bad_kernels;
mod built_kernels;
mod compare;
mod elsewhere;
mod golden_consoles;
mod harness;
mod interrupted;
mod kernels;
mod kill;
mod more_kernels;
mod newest;
mod operator;
mod programs;
mod saved;
mod scenarios;
mod sessions;
mod shell;
mod shipped;
mod surgery;
