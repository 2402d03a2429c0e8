//! Words that the guest stores to its RAM before each look, in blocks that it does not use otherwise. So a look
//! sees how such blocks are mapped, and the VMM compares what arrives: in RAM, and in KVM's log of dirty pages.

use super::layout::{AREA, BLOCK};
use super::machine::Calls;
use super::memslot;
use super::payload;
use super::ram::{Part, Ram};
use crate::fault;
use crate::guest::machine::{Loads, Stores};
use crate::guest::span::Placed;
use rustix::mm::{Advice, madvise};
use s2lab_protocol::{Barrier, By, Failure, Row, WORD, pattern};
use std::ops::Range;

/// The most blocks in a range of RAM.
const MOST: u64 = 16;
/// The places in a block, each in a page of its own. A look stores to one that no look has stored to before, as
/// long as there are any.
const PLACES: u64 = BLOCK / AREA;
const STORES: Stores = Stores { by: By::Str, width: WORD as u32, barrier: Barrier::None };

/// Returns blocks of a range of RAM that nothing else uses, from its first to its last.
pub(super) fn blocks(free: Range<u64>) -> Vec<Part> {
    let (first, end) = (free.start.div_ceil(BLOCK), free.end / BLOCK);
    let count = end.saturating_sub(first).min(MOST);
    let block = |number: u64| first + (end - 1 - first) * number / count.saturating_sub(1).max(1);
    (0..count).map(|number| Part { offset: block(number) * BLOCK, size: BLOCK }).collect()
}

/// Yields each place of a block.
pub(super) fn places(block: &Part) -> impl Iterator<Item = Part> + use<> {
    let block = *block;
    (0..PLACES).map(move |number| place(block, number))
}

fn place(block: Part, number: u64) -> Part {
    Part { offset: block.offset + number % PLACES * AREA, size: AREA }
}

/// The marks of a VM.
#[derive(Debug)]
pub(super) struct Marks {
    blocks: Vec<Part>,
    /// The last block is anonymous memory.
    ends_anonymous: bool,
    /// The number of looks so far.
    looks: u64,
    /// Dirty pages of RAM are logged.
    pub(super) logged: bool,
}

impl Marks {
    pub(super) fn new(blocks: Vec<Part>, ends_anonymous: bool) -> Marks {
        Marks { blocks, ends_anonymous, looks: 0, logged: false }
    }

    /// Stores to a new place of each block, and to that of the look before, and compares.
    pub(super) fn store(&mut self, ram: &Ram, calls: &impl Calls) -> Result<(), Failure> {
        let numbers = [self.looks.saturating_sub(1), self.looks];
        let of_block = |block: &Part| numbers.map(|number| place(*block, number));
        let marks: Vec<Part> = self.blocks.iter().flat_map(of_block).collect();
        // KVM makes pages read-only again whose log the VMM has read, so the second round takes faults too.
        let rounds = if self.logged { 2 } else { 1 };
        for round in 0..rounds {
            let word = |mark: &Part| pattern(2 * self.looks + round, mark.offset);
            let rows: Vec<_> = marks.iter().map(|mark| placed(ram, *mark)).collect();
            let words: Vec<_> = marks.iter().map(word).collect();
            payload::store(calls, 0, STORES, &rows, &words)?;
            arrived(ram, calls, &marks, &words)?;
            if self.logged {
                log_is_complete(ram, calls, &marks)?;
            }
        }
        self.looks += 1;
        match marks.last() {
            Some(last) if self.ends_anonymous => discarded(ram, calls, *last),
            _ => Ok(()),
        }
    }
}

fn placed(ram: &Ram, mark: Part) -> Placed {
    Placed { row: Row { offset: mark.offset, bytes: WORD, ends: false }, place: ram.at(mark) }
}

/// Gives a page back to the host, as a balloon does, and ends the VM if the guest finds anything but zeroes there.
fn discarded(ram: &Ram, calls: &impl Calls, mark: Part) -> Result<(), Failure> {
    let failed = |why| fault::system("discard", "a page of RAM", why);
    // SAFETY: nothing else is in the page, and the vCPU has returned from its stores.
    unsafe { madvise(ram.at(mark).as_ptr().cast(), AREA as usize, Advice::LinuxDontNeed) }.map_err(failed)?;
    let mut words = [0];
    payload::load(calls, 0, Loads::BACK, &[placed(ram, mark)], &mut words)?;
    match words {
        [0] => Ok(()),
        [word] => {
            let ipa = ram.ipa(mark);
            let detail =
                format!("the VMM has discarded the page at IPA {ipa:#x}, where the guest finds {word:#x}");
            Err(calls.broken("ram-differs", detail))
        }
    }
}

/// Ends the VM if RAM has other words than the guest has stored: stage 2 leads elsewhere.
fn arrived(ram: &Ram, calls: &impl Calls, marks: &[Part], words: &[u64]) -> Result<(), Failure> {
    for (mark, word) in marks.iter().zip(words) {
        // SAFETY: an aligned word of the RAM. The vCPU has returned from its stores.
        let found = unsafe { ram.at(*mark).cast::<u64>().read_volatile() };
        if found != *word {
            let ipa = ram.ipa(*mark);
            let detail =
                format!("the guest has stored {word:#x} to its RAM at IPA {ipa:#x}, which has {found:#x}");
            return Err(calls.broken("ram-differs", detail));
        }
    }
    Ok(())
}

/// Reads KVM's log of dirty pages, and ends the VM if a page is missing that the guest has stored to since the
/// VMM has read it before.
fn log_is_complete(ram: &Ram, calls: &impl Calls, marks: &[Part]) -> Result<(), Failure> {
    let log = calls.log(memslot::RAM, ram.slots().0.size)?;
    let page = rustix::param::page_size() as u64;
    let is_missing = |mark: &&Part| {
        let number = mark.offset / page;
        let word = log.get((number / u64::from(u64::BITS)) as usize);
        word.is_none_or(|word| word >> (number % u64::from(u64::BITS)) & 1 == 0)
    };
    let mut missing = marks.iter().filter(is_missing);
    let Some(first) = missing.next() else { return Ok(()) };
    let (ipa, missing, all) = (ram.ipa(*first), 1 + missing.count(), marks.len());
    let stored = format!("{missing} of {all} pages that the guest has stored to");
    let detail = format!("{stored} are not in KVM's log of dirty pages, the first at IPA {ipa:#x}");
    Err(calls.broken("log-incomplete", detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_whole_and_reach_from_the_first_to_the_last() {
        let offsets = |free| blocks(free).iter().map(|block| block.offset / BLOCK).collect::<Vec<_>>();
        assert_eq!(offsets(1..4 * BLOCK), [1, 2, 3]);
        assert_eq!(offsets(BLOCK..2 * BLOCK), [1]);
        assert_eq!(offsets(1..2 * BLOCK - 1), [] as [u64; 0]);
        assert_eq!(offsets(3..3), [] as [u64; 0]);
        let many = offsets(2 * BLOCK..600 * BLOCK + 5);
        assert_eq!((many.len() as u64, many[0], many.last().copied()), (MOST, 2, Some(599)));
        assert!(many.windows(2).all(|two| two[0] < two[1]), "{many:?}");
        let block = Part { offset: BLOCK, size: BLOCK };
        let places: Vec<_> = places(&block).collect();
        assert_eq!((places[0].offset, places.last().unwrap().offset + AREA), (BLOCK, 2 * BLOCK));
    }
}
