//! Division of the fuzzer's bytes: registers first, then memory.

use s2lab_mmu::PhysMem;

/// Returns the first `N` registers and the rest.
pub(crate) fn registers<const N: usize>(data: &[u8]) -> Option<([u64; N], &[u8])> {
    let mut registers = [0; N];
    let mut rest = data;
    for register in &mut registers {
        let (word, tail) = rest.split_first_chunk()?;
        (*register, rest) = (u64::from_le_bytes(*word), tail);
    }
    Some((registers, rest))
}

/// Memory that repeats the bytes up to 1 MiB, so that a few words make many tables. Beyond that
/// there is none.
pub(crate) struct Memory<'a>(pub(crate) &'a [u8]);

impl PhysMem for Memory<'_> {
    fn read_u64(&self, pa: u64) -> Option<u64> {
        assert_eq!(pa % 8, 0, "aligned reads only");
        let words = self.0.len() as u64 / 8;
        if pa >= 1 << 20 || words == 0 {
            return None;
        }
        let at = (pa / 8 % words * 8) as usize;
        Some(u64::from_le_bytes(*self.0.get(at..)?.first_chunk()?))
    }
}
