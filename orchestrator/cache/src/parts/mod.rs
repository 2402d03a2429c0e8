//! The parts that a run boots: emulator, kernel, modules, user land.

pub(crate) mod artifact;
pub(crate) mod elf;
pub(crate) mod given;
pub mod image;
pub mod initramfs;
pub(crate) mod kernel;
pub(crate) mod lab;
pub(crate) mod modules;
pub(crate) mod programs;
pub(crate) mod qemu;
pub(crate) mod rootfs;
pub(crate) mod userland;
