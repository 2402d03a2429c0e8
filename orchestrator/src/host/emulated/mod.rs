//! The emulated host: QEMU's command line, its process, its control channels, and the memory that
//! s2lab shares with it.

pub mod argv;
pub mod commands;
pub mod cpu;
pub mod diagnosis;
pub mod factor;
pub mod gdb;
mod gdb_proxy;
mod kept;
pub mod look;
pub mod machine;
pub mod memory;
pub mod offered;
mod packets;
pub mod placement;
pub(in crate::host) mod plugin;
pub mod preflight;
pub mod qmp;
pub mod roms;
pub mod saved;
pub mod slots;
pub mod trace;
mod watched;

pub use machine::{Beginning, Host, Parts, Streams};
pub use plugin::{Answers, Questions};
pub use s2lab_os::child::{orphans, process};
