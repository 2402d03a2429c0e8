//! Bundles: a run in one file, `s2lab-RUN.tar.gz`. A bundle has one form, which is made in
//! `pack.rs` and read in `open.rs`; everything else is refused, because a bundle comes from
//! elsewhere. It is read into memory and never unpacked to files.

mod open;
mod pack;
mod place;
#[cfg(test)]
mod tests;

pub use open::{Bundle, BundleError, Refusal};
pub use pack::{Contents, TooMuch};
pub use place::is_of_run;

/// The most files in a bundle.
pub const MOST_FILES: usize = 1 << 16;
/// The folder of all files in a bundle.
const TOP: &str = "s2lab-run/";
/// The first file, which has the version of the form.
const FORMAT: &str = "bundle";
const VERSION: &str = "s2lab bundle 1\n";
/// The header of gzip: no name, no time, no system, the usual level (RFC 1952, 2.3).
const GZIP: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// The bytes that any bundle may unpack to, and the most times its size beyond that.
const UNSUSPECTED: u64 = 256 << 20;
const RATIO: u64 = 100;
