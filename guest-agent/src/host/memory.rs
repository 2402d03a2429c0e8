//! The physical memory as the host's kernel describes it: `/proc/iomem`, and the pages reserved at
//! boot that are still reserved.

use super::Host;
use crate::agent::Answers;
use crate::fault;
use crate::root::Root;
use s2lab_protocol::ask::Memory;
use s2lab_protocol::{Extent, Failure, HostMemory};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// The resources below "System RAM" whose pages may be kept from allocation (Linux
/// arch/arm64/kernel/setup.c, request_standard_resources).
const KEPT: [&str; 3] = ["reserved", "Kernel code", "Kernel data"];
/// KPF_RESERVED, the number of PG_reserved in `/proc/kpageflags` (Linux
/// include/linux/kernel-page-flags.h).
const KPF_RESERVED: u32 = 32;
/// The most pages whose flags are read: 4 GiB of 4 KiB pages.
const MOST_PAGES: u64 = 1 << 20;
/// The most extents that are reported; a host has some thirty.
const MOST_EXTENTS: usize = 2048;

impl Answers<Memory> for Host<'_> {
    fn answer(&mut self, _: Memory) -> Result<HostMemory, Failure> {
        let page_size = u64::try_from(rustix::param::page_size()).unwrap_or(u64::MAX);
        host_memory(&self.agent.root, page_size)
    }
}

/// Asks the kernel. Without `/proc/kpageflags` (CONFIG_PROC_PAGE_MONITOR) there is no report of
/// pages.
fn host_memory(root: &Root, page_size: u64) -> Result<HostMemory, Failure> {
    let failed = |why: io::Error| fault::system("read", "proc/iomem", why);
    let iomem = root.read("proc/iomem").map_err(failed)?;
    let reserved = match File::open(root.path("proc/kpageflags")) {
        Ok(mut flags) => {
            let found = reserved(&mut flags, &kept(&iomem), page_size);
            Some(found.map_err(|why| fault::system("read", "proc/kpageflags", why))?)
        }
        Err(why) if why.kind() == io::ErrorKind::NotFound => None,
        Err(why) => return Err(fault::system("open", "proc/kpageflags", why)),
    };
    Ok(HostMemory { iomem, reserved })
}

/// Returns the ranges of [`KEPT`] from lines such as `  40200000-41a6ffff : Kernel code`: first
/// byte and the one after the last.
fn kept(iomem: &str) -> Vec<(u64, u64)> {
    let range = |line: &str| {
        let (range, _) = line.split_once(" : ").filter(|(_, name)| KEPT.contains(name))?;
        let (start, last) = range.trim_start().split_once('-')?;
        let hex = |digits| u64::from_str_radix(digits, 16).ok();
        Some((hex(start)?, hex(last)?.checked_add(1)?))
    };
    iomem.lines().filter_map(range).collect()
}

/// Returns the pages in `ranges` that the page allocator does not have.
fn reserved(
    flags: &mut (impl Read + Seek),
    ranges: &[(u64, u64)],
    page_size: u64,
) -> io::Result<Vec<Extent>> {
    let (mut found, mut budget) = (Vec::<Extent>::new(), MOST_PAGES);
    for (start, end) in ranges {
        let (first, after) = (start / page_size, end.div_ceil(page_size));
        let pages = after.saturating_sub(first);
        budget =
            budget.checked_sub(pages).ok_or_else(|| io::Error::other("more pages than are asked for"))?;
        flags.seek(SeekFrom::Start(first.saturating_mul(8)))?;
        let mut words = vec![];
        flags.by_ref().take(pages * 8).read_to_end(&mut words)?;
        for (page, word) in (first..after).zip(words.chunks_exact(8)) {
            let word = word.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
            if word >> KPF_RESERVED & 1 == 0 {
                continue;
            }
            let start = page * page_size;
            match found.last_mut() {
                Some(last) if last.start + last.size == start => last.size += page_size,
                _ => found.push(Extent { start, size: page_size }),
            }
        }
        if found.len() > MOST_EXTENTS {
            return Err(io::Error::other("more extents than a reply holds"));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    const IOMEM: &str = "09000000-09000fff : pl011@9000000\n40000000-5fffffff : System RAM\n  40002000-40003fff : Kernel code\n  \
                         40004000-40005fff : reserved\n  40006000-40006fff : Kernel data\nnonsense\n  x-y : reserved\n";

    #[test]
    fn pages_that_are_still_reserved_are_found() {
        assert_eq!(
            kept(IOMEM),
            [(0x4000_2000, 0x4000_4000), (0x4000_4000, 0x4000_6000), (0x4000_6000, 0x4000_7000)]
        );
        // From page 2 on: kept, kept, freed, kept, kept.
        let ranges = [(0x2000, 0x4000), (0x4000, 0x6000), (0x6000, 0x7000)];
        let words = [0, 0, 1 << 32, 1 << 32 | 7, !(1u64 << 32), 1 << 32, 1 << 32];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let found = reserved(&mut Cursor::new(&bytes), &ranges, 0x1000).unwrap();
        assert_eq!(found, [Extent { start: 0x2000, size: 0x2000 }, Extent { start: 0x5000, size: 0x2000 }]);
        assert!(reserved(&mut Cursor::new(&bytes), &[(0, u64::MAX)], 0x1000).is_err(), "no end of pages");
    }
}
