//! Random 64-bit nonces. A frame that carries the cell's nonce belongs to this cell.

use super::stages::Stop;
use rustix::rand::{GetRandomFlags, getrandom};

/// Returns 64 random bits.
pub(super) fn nonce() -> Result<u64, Stop> {
    let mut bytes = [0; 8];
    getrandom(&mut bytes, GetRandomFlags::empty())
        .map_err(|e| Stop::lab(format!("no random numbers: {e}")))?;
    Ok(u64::from_ne_bytes(bytes))
}
