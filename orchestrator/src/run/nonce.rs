//! Random numbers: 64-bit nonces, and the seeds of shuffled runs. A frame that carries the cell's
//! nonce belongs to this cell.

use super::stages::Stop;
use rustix::rand::{GetRandomFlags, getrandom};
use std::io;

/// Returns 64 random bits.
pub(super) fn nonce() -> Result<u64, Stop> {
    random().map(u64::from_ne_bytes).map_err(|error| Stop::lab(format!("no random numbers: {error}")))
}

/// Returns a random seed.
pub fn seed() -> io::Result<u32> {
    random().map(u32::from_ne_bytes)
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(bytes)
}
