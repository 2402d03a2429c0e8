//! The physical memory as the host's kernel describes it: `/proc/iomem`, the pages reserved at boot that are
//! still reserved, and in protected mode the memory of KVM's code at EL2.

use super::Host;
use crate::agent::Answers;
use crate::fault;
use crate::root::Root;
use rustix::fs::{Mode, OFlags, open};
use s2lab_protocol::ask::Memory;
use s2lab_protocol::{Extent, Failure, HostMemory};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::thread::JoinHandle;

/// The resources below "System RAM" whose pages may be kept from allocation (Linux
/// arch/arm64/kernel/setup.c, request_standard_resources).
const KEPT: [&str; 3] = ["reserved", "Kernel code", "Kernel data"];
/// KPF_RESERVED, the number of PG_reserved in `/proc/kpageflags` (Linux
/// include/linux/kernel-page-flags.h).
const KPF_RESERVED: u32 = 32;
/// The most pages whose flags are read: 4 GiB of 4 KiB pages.
const MOST_PAGES: u64 = 1 << 20;
/// The end of the word on the kernel's command line that puts KVM into protected mode: `kvm-arm.mode=protected`.
const PROTECTED: &str = "arm.mode=protected";
/// The most records of the kernel's log that are read; a boot has some 500.
const MOST_RECORDS: usize = 1 << 14;
/// The longest record (Linux 6.1 kernel/printk/printk.c, CONSOLE_EXT_LOG_MAX).
const LONGEST_RECORD: usize = 8192;
/// The most extents that are reported; a host has some thirty.
const MOST_EXTENTS: usize = 2048;

/// The question to the kernel, which a thread asks since the modules are loaded: on another CPU it takes no time.
#[derive(Debug)]
pub(crate) struct Asked(JoinHandle<Result<HostMemory, Failure>>);

impl Asked {
    /// Begins to ask.
    pub(crate) fn begin(root: &Root) -> io::Result<Asked> {
        let root = root.clone();
        Ok(Asked(std::thread::Builder::new().spawn(move || host_memory(&root, page_size()))?))
    }
}

impl Answers<Memory> for Host<'_> {
    fn answer(&mut self, _: Memory) -> Result<HostMemory, Failure> {
        let asked = self.memory.take().and_then(|asked| asked.0.join().ok());
        asked.unwrap_or_else(|| host_memory(&self.agent.root, page_size()))
    }
}

fn page_size() -> u64 {
    u64::try_from(rustix::param::page_size()).unwrap_or(u64::MAX)
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
    let words = root.read("proc/cmdline").map_err(|why| fault::system("read", "proc/cmdline", why))?;
    let hypervisor = match words.split_whitespace().any(|word| word.ends_with(PROTECTED)) {
        true => {
            let log = kernel_log(root).map_err(|why| fault::system("read", "dev/kmsg", why))?;
            log.lines().find_map(hypervisor)
        }
        false => None,
    };
    Ok(HostMemory { iomem, reserved, hypervisor })
}

/// Returns the records of the kernel's log so far.
fn kernel_log(root: &Root) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut log = File::from(open(root.path("dev/kmsg"), flags, Mode::empty())?);
    let (mut text, mut record) = (vec![], [0; LONGEST_RECORD]);
    for _ in 0..MOST_RECORDS {
        match log.read(&mut record) {
            Ok(0) => break,
            Ok(read) => text.extend_from_slice(record.get(..read).unwrap_or_default()),
            // The kernel has overwritten records before they were read.
            Err(why) if why.kind() == io::ErrorKind::BrokenPipe => {}
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => break,
            Err(why) => return Err(why),
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Returns the memory in a record such as `6,58,0,-;kvm [0]: Reserved 14 MiB at 0x7e000000` (Linux 6.1 to 7.2
/// arch/arm64/kvm/pkvm.c, kvm_hyp_reserve).
fn hypervisor(record: &str) -> Option<Extent> {
    let (_, message) = record.split_once(";kvm [")?;
    let (mib, start) = message.split_once("]: Reserved ")?.1.split_once(" MiB at 0x")?;
    let size = mib.parse::<u64>().ok()?.checked_mul(1 << 20).filter(|size| *size > 0)?;
    Some(Extent { start: u64::from_str_radix(start, 16).ok()?, size })
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

    #[test]
    fn the_hypervisors_memory_is_that_of_the_log() {
        let record = "6,58,0,-;kvm [0]: Reserved 14 MiB at 0x7e000000";
        assert_eq!(hypervisor(record), Some(Extent { start: 0x7e00_0000, size: 14 << 20 }));
        for other in [
            "6,58,0,-;x [0]: Reserved 14 MiB at 0x7e000000",
            "6,58,0,-;kvm [0]: Reserved 0 MiB at 0x7e000000",
            "6,58,0,-;kvm [0]: Reserved 14 MiB at 0x7e0000000000000000",
            "6,58,0,-;kvm [1]: Protected hVHE mode initialized successfully",
        ] {
            assert_eq!(hypervisor(other), None, "{other}");
        }
    }

    #[test]
    fn the_log_is_read_in_protected_mode_alone() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("proc/iomem", IOMEM);
        write("proc/cmdline", "console=hvc0 kvm-arm.mode=nvhe\n");
        assert_eq!(host_memory(&root, 0x1000).unwrap().hypervisor, None);
        write("proc/cmdline", "console=hvc0 kvm-arm.mode=protected panic=-1\n");
        assert!(host_memory(&root, 0x1000).is_err(), "no log");
        let records =
            format!("6,1,0,-;{}\n6,58,0,-;kvm [0]: Reserved 14 MiB at 0x7e000000\n", "x".repeat(3000));
        write("dev/kmsg", &records);
        let due = Some(Extent { start: 0x7e00_0000, size: 14 << 20 });
        assert_eq!(host_memory(&root, 0x1000).unwrap().hypervisor, due);
    }
}
