//! The buffer of a vCPU: the arguments of a call, in memory that process and VM share.

use super::layout;
use crate::fault;
use s2lab_protocol::Failure;
use std::ptr::NonNull;

/// Free memory.
pub(super) struct Buffer {
    next: NonNull<u8>,
    /// The first address behind it.
    end: usize,
}

impl Buffer {
    /// # Safety
    /// The `size` bytes from `base` are mapped, and nothing else uses them as long as the buffer
    /// and the results of [`Buffer::put`] are used.
    pub(super) unsafe fn new(base: NonNull<u8>, size: u64) -> Buffer {
        Buffer { next: base, end: base.addr().get().saturating_add(size as usize) }
    }

    /// Goes on to the middle of an area, where the words of a batch begin.
    ///
    /// A batch of stores has at most one area of the BAR, and reads its words page by page while it
    /// stores them. So a page of words and the page that it is stored to never have the same number
    /// modulo 16, and never share an entry of QEMU's TLB, which has at least 64 entries and is directly
    /// mapped (accel/tcg/cputlb.c, `tlb_index`, QEMU 10.0). If they share one, each access replaces the
    /// entry of the other: a store of 8 bytes takes 28 ns in place of 6.
    pub(super) fn skip_to_words(&mut self) -> Result<(), Failure> {
        let (area, half) = (layout::AREA as usize, layout::AREA as usize / 2);
        let at = self.next.addr().get().saturating_add(half).next_multiple_of(area).saturating_sub(half);
        let full = || fault::invalid("a batch does not fit the buffer of a vCPU");
        let at = std::num::NonZero::new(at).filter(|at| at.get() <= self.end).ok_or_else(full)?;
        self.next = self.next.with_addr(at);
        Ok(())
    }

    /// Copies `items` into the buffer, and returns their address.
    pub(super) fn put<T: Copy>(&mut self, items: &[T]) -> Result<NonNull<T>, Failure> {
        let full = || fault::invalid("a batch does not fit the buffer of a vCPU");
        let start = self.next.addr().get().next_multiple_of(align_of::<T>());
        let end = start.checked_add(size_of_val(items)).filter(|end| *end <= self.end).ok_or_else(full)?;
        let address =
            |at: usize| std::num::NonZero::new(at).map(|at| self.next.with_addr(at)).ok_or_else(full);
        let (place, next) = (address(start)?.cast::<T>(), address(end)?);
        // SAFETY: the bytes are ours, aligned, and not those of `items`.
        unsafe { place.copy_from_nonoverlapping(NonNull::from(items).cast(), items.len()) };
        self.next = next;
        Ok(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_aligned_until_the_buffer_is_full() {
        let mut memory = [0u64; 8];
        let base = NonNull::from(&mut memory).cast::<u8>();
        // SAFETY: the memory is ours, and outlives the buffer.
        let mut buffer = unsafe { Buffer::new(base, 64) };
        let bytes = buffer.put(b"abc").unwrap();
        let words = buffer.put(&[7u64, 8]).unwrap();
        // SAFETY: both lie in the memory.
        assert_eq!(unsafe { (bytes.read(), words.add(1).read()) }, (b'a', 8));
        assert_eq!(words.addr().get() - base.addr().get(), 8);
        assert!(buffer.put(&[0u64; 6]).is_err() && buffer.put(&[0u64; 5]).is_ok());
        assert!(buffer.skip_to_words().is_err());
    }

    #[test]
    fn words_begin_in_the_middle_of_an_area() {
        const HALF: usize = layout::AREA as usize / 2;
        let mut memory = vec![0u64; 8 * HALF / 8];
        let base = NonNull::from(&mut *memory).cast::<u8>();
        // SAFETY: the memory is ours, and outlives the buffer.
        let mut buffer = unsafe { Buffer::new(base, 8 * HALF as u64) };
        for _ in 0..3 {
            buffer.skip_to_words().unwrap();
            let words = buffer.put(&[7u64, 8]).unwrap();
            assert_eq!(words.addr().get() % (2 * HALF), HALF);
        }
    }
}
