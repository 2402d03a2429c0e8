//! The names of the facts in [`crate::event::Event::Environment`] and in a report's environment
//! part.

/// Blocking: the digest of the resolved cell, without the kernel's traits.
pub const CELL: &str = "cell";
/// Blocking between reports of one kernel: its declared traits, see
/// [`crate::cell::ResolvedCell::blocking_traits`].
pub const TRAITS: &str = "traits";
/// Blocking: the SHA-256 of a program of the scenario, whose path follows.
pub const PROGRAM: &str = "program";
/// Blocking: page size of the host's kernel, bytes. Taken from the host itself.
pub const PAGE_SIZE: &str = "page size";
/// Blocking: QEMU's CPU model, or the real machine's.
pub const CPU: &str = "cpu";
/// Blocking: [`TCG`] or `none` (a real host).
pub const ACCELERATOR: &str = "accelerator";
/// Blocking: the mode of the host's KVM: `vhe`, `nvhe`, `protected`.
pub const HOST_MODE: &str = "host mode";
/// Variable: release of the kernel under test. Taken from the host itself.
pub const KERNEL: &str = "kernel";
/// Variable: SHA-256 of the image of the kernel under test. Shapes compare only while it is equal.
pub const KERNEL_IMAGE: &str = "kernel image";
/// Variable: SHA-256 of the configuration of the kernel under test, or [`UNKNOWN`].
pub const KERNEL_CONFIG: &str = "kernel config";
/// Variable: version of the package that the kernel under test came in.
pub const KERNEL_PACKAGE: &str = "kernel package";
/// Variable: the package version (or that it was given by its path) and the SHA-256 of the image
/// that all guests boot.
pub const GUEST_IMAGE: &str = "guest kernel image";
/// Variable: the release of the guests' kernel, from the guests. Guests that differ have one fact
/// each, `guest kernel NAME`.
pub const GUEST_KERNEL: &str = "guest kernel";
/// Variable: version of the QEMU that emulates the host.
pub const QEMU: &str = "qemu";
/// Variable: version of the agent.
pub const AGENT: &str = "agent";

/// Variable: the plugin of QEMU, or [`NO_PLUGIN`] with the reason why there is none. Absent from logs
/// before 2.3.
pub const PLUGIN: &str = "plugin";
/// The begin of the value of [`PLUGIN`] without a plugin.
pub const NO_PLUGIN: &str = "none: ";
/// Variable: version of the QEMU that runs the guests inside the host.
pub const HOST_QEMU: &str = "host qemu";
/// Variable: SHA-256 over names, versions and digests of the packages of the host's user land.
pub const HOST_PACKAGES: &str = "host packages";

/// Variable: the factor by which s2lab waits longer than on the reference machine, see
/// `host/emulated/factor.rs`.
pub const FACTOR: &str = "factor";
/// Variable: the ends of the attempts, if there was more than one.
pub const ATTEMPTS: &str = "attempts";
/// Variable: the boot of the run that served the cell, and the number of cells before it with the
/// last of them. Absent from logs before 2.4.
pub const SESSION: &str = "session";
/// Variable: the argument that gave the run's cells their order, if they were shuffled.
pub const ORDER: &str = "order";

/// Variable: [`RESUMED`] if the host was saved by another cell, and went on for this one. Absent from a cell
/// whose host has booted.
pub const BOOT: &str = "boot";
/// The value of [`BOOT`].
pub const RESUMED: &str = "resumed";

/// The value of an unknown fact.
pub const UNKNOWN: &str = "unknown";
/// The value of [`ACCELERATOR`] under QEMU's translator.
pub const TCG: &str = "tcg";
