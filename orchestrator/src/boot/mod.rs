//! What a host boots, from a kernel's name to files on the disk, and the check that nothing is
//! missing. It knows cells only as lines of a plan.

pub mod files;
pub mod kernel;
pub mod lanes;
pub mod preflight;
pub mod prepared;
