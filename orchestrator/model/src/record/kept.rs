//! The memory that the host keeps from guests: its kernel, the reserved memory, and the device tree
//! that it runs on.
//!
//! QEMU's report, which the host cannot change, is the floor: the kernel is where QEMU has put it.
//! The host's report adds what only the host knows. It can only remove what Linux frees of its
//! image: the head before its code, the init sections, and a few pages of data (6.1 frees five).

use super::Surroundings;
use super::overlap::Overlaps;
use crate::event::LoadedPart;
use s2lab_protocol::Extent;
use std::fmt;
use std::ops::Range;

/// The part of the kernel's image that the host may call init sections: one third. They are 6.1 to
/// 22.1 % of the kernels in images/kernels.yaml (`_sdata` - `__init_begin` of `_end` - `_text` in
/// System.map, /proc/iomem of Debian's).
const MOST_INIT: u64 = 3;

/// The size of the image's head, `_text` to `_stext`, bytes: SEGMENT_ALIGN of Linux
/// arch/arm64/kernel/vmlinux.lds.S (6.1, 7.3). Linux 6.1 reserves its image from `_stext` on, so that the head
/// becomes free memory (arch/arm64/mm/init.c, arm64_memblock_init). 6.12 reserves it from `_text` on, and calls the
/// head code.
const MOST_HEAD: u64 = 64 << 10;

/// The bytes of its kernel's data that the host may call free. Linux frees no code.
const MOST_FREED: u64 = 1 << 20;

/// The use of a range of the host's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kept {
    KernelCode,
    KernelData,
    Kernel,
    DeviceTree,
    Reserved,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kept::KernelCode => "the host's kernel code",
            Kept::KernelData => "the host's kernel data",
            Kept::Kernel => "the host's kernel",
            Kept::DeviceTree => "the host's device tree",
            Kept::Reserved => "memory that the host's kernel has reserved",
        })
    }
}

/// All ranges with their uses. The first use names a range that has several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptMemory(Vec<(Kept, Overlaps<()>)>);

impl KeptMemory {
    /// Returns the ranges from the reports of QEMU and the host. Nothing is known about a host that
    /// has not described its memory.
    pub fn of(around: &Surroundings) -> KeptMemory {
        let Some(memory) = &around.memory else { return KeptMemory::default() };
        let iomem = Iomem::of(&memory.iomem);
        let image = loaded(around, LoadedPart::Kernel);
        let freed = image.as_ref().and_then(|image| freed(image, &iomem, memory.reserved.as_deref()).ok());
        let stays = |ranges: Vec<Range<u64>>| without(ranges, freed.as_deref().unwrap_or_default());
        let reserved = match &memory.reserved {
            Some(pages) => pages.iter().map(extent).collect(),
            // The ranges freed since are unknown, except for the largest: the init sections and the
            // initramfs.
            None => {
                let initramfs = loaded(around, LoadedPart::Initramfs);
                stays(without(iomem.reserved, initramfs.as_slice()))
            }
        };
        let all = [
            (Kept::KernelCode, stays(iomem.code)),
            (Kept::KernelData, stays(iomem.data)),
            (Kept::Kernel, stays(image.into_iter().collect())),
            (Kept::DeviceTree, loaded(around, LoadedPart::DeviceTree).into_iter().collect()),
            (Kept::Reserved, reserved),
        ];
        let overlaps = |ranges: Vec<Range<u64>>| Overlaps::of(ranges.into_iter().map(|range| (range, ())));
        KeptMemory(all.into_iter().map(|(kept, ranges)| (kept, overlaps(ranges))).collect())
    }

    /// Returns the use of `range`, or of a part of it.
    pub fn over(&self, range: &Range<u64>) -> Option<Kept> {
        self.0.iter().find(|(_, ranges)| ranges.with(range).is_some()).map(|(kept, _)| *kept)
    }
}

/// Checks that the host's account of its kernel fits the image that QEMU has put there. The error
/// names the difference.
pub fn account(around: &Surroundings) -> Result<(), String> {
    match (&around.memory, loaded(around, LoadedPart::Kernel)) {
        (Some(memory), Some(image)) => {
            freed(&image, &Iomem::of(&memory.iomem), memory.reserved.as_deref()).map(drop)
        }
        // Missing facts are a finding of their own.
        _ => Ok(()),
    }
}

fn loaded(around: &Surroundings, part: LoadedPart) -> Option<Range<u64>> {
    let of = around.loaded.iter().find(|loaded| loaded.part == part)?;
    Some(of.start..of.start.saturating_add(of.size))
}

/// Returns the parts that are freed whole: the head, before the kernel's code, and the init sections, between its
/// code and its data (Linux arch/arm64/kernel/setup.c, request_standard_resources; vmlinux.lds.S has
/// `__init_begin` and `_sdata` there).
fn freed_whole(image: &Range<u64>, iomem: &Iomem) -> Result<[Range<u64>; 2], String> {
    let ([code], [data]) = (iomem.code.as_slice(), iomem.data.as_slice()) else {
        let (code, data) = (iomem.code.len(), iomem.data.len());
        return Err(format!("{code} ranges of kernel code and {data} of kernel data in /proc/iomem"));
    };
    let init = code.end..data.start;
    let inside = image.start <= code.start && code.end <= data.start && data.end <= image.end;
    let small = inside
        && code.start - image.start <= MOST_HEAD
        && init.end - init.start <= (image.end - image.start) / MOST_INIT;
    if small {
        return Ok([image.start..code.start, init]);
    }
    let show = |range: &Range<u64>| format!("{:#x}..{:#x}", range.start, range.end);
    Err(format!("code {}, data {}, and the image {}", show(code), show(data), show(image)))
}

/// Returns the ranges of the image that Linux has freed, in ascending order. The error is that it
/// has freed more than it ever does.
fn freed(image: &Range<u64>, iomem: &Iomem, reserved: Option<&[Extent]>) -> Result<Vec<Range<u64>>, String> {
    let mut freed = freed_whole(image, iomem)?.to_vec();
    if let Some(reserved) = reserved {
        let reserved: Vec<_> = reserved.iter().map(extent).collect();
        let free = |claimed: &[Range<u64>]| without(claimed.to_vec(), &reserved);
        let bytes = |pages: &[Range<u64>]| pages.iter().map(|range| range.end - range.start).sum::<u64>();
        let (code, mut pages) = (bytes(&free(&iomem.code)), free(&iomem.data));
        let data = bytes(&pages);
        if code > 0 || data > MOST_FREED {
            return Err(format!("{code:#x} bytes of code and {data:#x} of data are free"));
        }
        freed.append(&mut pages);
        freed.sort_by_key(|range| range.start);
    }
    Ok(freed)
}

fn extent(of: &Extent) -> Range<u64> {
    of.start..of.start.saturating_add(of.size)
}

/// Returns the rest of `ranges` without `taken`, which need not be in order.
fn without(mut ranges: Vec<Range<u64>>, taken: &[Range<u64>]) -> Vec<Range<u64>> {
    for taken in taken {
        let pieces = |range: Range<u64>| {
            let (before, after) =
                (range.start..range.end.min(taken.start), range.start.max(taken.end)..range.end);
            [before, after].into_iter().filter(|piece| !piece.is_empty())
        };
        ranges = ranges.into_iter().flat_map(pieces).collect();
    }
    ranges
}

/// The used part of `/proc/iomem`: lines such as `  40200000-41a6ffff : Kernel code`.
#[derive(Debug, Default)]
struct Iomem {
    code: Vec<Range<u64>>,
    data: Vec<Range<u64>>,
    reserved: Vec<Range<u64>>,
}

impl Iomem {
    fn of(text: &str) -> Iomem {
        let mut iomem = Iomem::default();
        for (range, name) in text.lines().filter_map(|line| line.split_once(" : ")) {
            let hex = |digits| u64::from_str_radix(digits, 16).ok();
            let list = match name {
                "Kernel code" => &mut iomem.code,
                "Kernel data" => &mut iomem.data,
                "reserved" => &mut iomem.reserved,
                _ => continue,
            };
            let ends = range.trim_start().split_once('-');
            let range = ends.and_then(|(start, last)| Some(hex(start)?..hex(last)?.checked_add(1)?));
            list.extend(range.filter(|range| !range.is_empty()));
        }
        iomem
    }
}
