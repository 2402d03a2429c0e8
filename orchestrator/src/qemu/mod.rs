//! QEMU as s2lab uses it: the command line, the process, its control channels, the memory that both sides see.

pub mod argv;
pub mod cpu;
mod desk;
pub mod factor;
pub mod gdb;
pub mod machine;
pub mod memory;
mod orphans;
mod packets;
pub mod process;
pub mod qmp;
pub mod roms;
