//! The VMAs of a VMM that map assigned devices, from `/proc/PID/smaps`.

use super::Host;
use crate::{agent::Answers, fault};
use s2lab_protocol::ask::VmaFlags;
use s2lab_protocol::{Failure, MODULE_DEVICE, Vma};
use std::io::{self, BufRead, BufReader, Read};

/// Parts of the names that VMAs of an assigned device have: `anon_inode:[vfio-device]` of a group's
/// device, `/dev/vfio/devices/vfio0` of a device of its own, and `/dmabuf:vfio0:0000:02:00.0/2` if
/// vfio-pci maps its BARs as DMABUFs, as a series of 2026 does; a DMABUF may have another name
/// after the colon. sysfs names a BAR `/sys/devices/.../0000:02:00.0/resource2`. The VMAs of s2lab's module have the
/// name of its device.
const DEVICE_VMAS: [&str; 4] = ["vfio", "/dmabuf:", "/resource", MODULE_DEVICE];

/// The key of the line with the flags of a VMA.
const FLAGS: &str = "VmFlags:";

/// The longest line that is read whole, in bytes. The rest of a longer one is skipped.
const MAX_LINE: u64 = 4096;
/// The most VMAs that one guest may report. A device has at most six BARs, each in a few pieces.
const MAX_VMAS: usize = 256;

/// The reason why a `smaps` cannot be decoded.
#[derive(Debug, thiserror::Error)]
enum SmapsError {
    #[error("{0}")]
    Read(#[from] io::Error),
    #[error("more than {MAX_VMAS} VMAs map devices")]
    TooMany,
    #[error("the VMA at {start:#x} has no VmFlags line (CONFIG_PROC_PAGE_MONITOR)")]
    NoFlags { start: u64 },
}

impl Answers<VmaFlags> for Host<'_> {
    fn answer(&mut self, VmaFlags { guest }: VmaFlags) -> Result<Vec<Vma>, Failure> {
        let file = format!("proc/{}/smaps", self.running(&guest)?.vmm.pid());
        let failed = |why: &dyn std::fmt::Display| fault::system("read", &file, why);
        let smaps = std::fs::File::open(self.agent.root.path(&file)).map_err(|why| failed(&why))?;
        vmas(BufReader::new(smaps), &DEVICE_VMAS).map_err(|why| failed(&why))
    }
}

/// Returns the VMAs whose names contain one of `wanted`, in the order of their addresses.
///
/// A VMA begins with a line `start-end perms offset dev inode name`, as in `maps`; of the lines
/// `Key: value` that follow, `VmFlags:` is the last (Linux fs/proc/task_mmu.c, show_smap; the same
/// in 6.1 and 7.2).
fn vmas(mut smaps: impl BufRead, wanted: &[&str]) -> Result<Vec<Vma>, SmapsError> {
    let mut found: Vec<Vma> = Vec::new();
    // The VMA whose flags have not come yet.
    let mut open: Option<Vma> = None;
    let mut line = Vec::new();
    loop {
        line.clear();
        if smaps.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.last() != Some(&b'\n') {
            skip_line(&mut smaps)?;
        }
        // Under emulation each line costs, and a VMA has more than twenty. The first begins with a hexadecimal digit.
        if line.first().is_some_and(u8::is_ascii_uppercase) && !line.starts_with(FLAGS.as_bytes()) {
            continue;
        }
        let text = String::from_utf8_lossy(&line);
        if let Some(vma) = header(&text) {
            if let Some(Vma { start, .. }) = open {
                return Err(SmapsError::NoFlags { start });
            }
            open = Some(vma).filter(|vma| wanted.iter().any(|part| vma.name.contains(part)));
        } else if let Some(flags) = text.strip_prefix(FLAGS) {
            if let Some(mut vma) = open.take() {
                if found.len() == MAX_VMAS {
                    return Err(SmapsError::TooMany);
                }
                vma.flags = flags.split_whitespace().map(str::to_owned).collect();
                found.push(vma);
            }
        }
    }
    match open {
        Some(Vma { start, .. }) => Err(SmapsError::NoFlags { start }),
        None => Ok(found),
    }
}

fn skip_line(smaps: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = smaps.fill_buf()?;
        let (used, done) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(end) => (end + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        smaps.consume(used);
        if done {
            return Ok(());
        }
    }
}

/// Returns a VMA without its flags, if the line is the first of one.
fn header(line: &str) -> Option<Vma> {
    let line = line.trim_end_matches('\n');
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let permissions = fields.next()?;
    let offset = fields.next()?;
    let (_device, _inode) = (fields.next()?, fields.next()?);
    // The name is padded with blanks and may contain some.
    let name = fields.next().unwrap_or_default().trim_start().to_owned();
    let hexadecimal = |text| u64::from_str_radix(text, 16).ok();
    if permissions.len() != 4 {
        return None;
    }
    let (start, end, offset) = (hexadecimal(start)?, hexadecimal(end)?, hexadecimal(offset)?);
    Some(Vma { start, end, offset, name, flags: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAME: &str = "anon_inode:[vfio-device]";

    fn entry(start: u64, end: u64, offset: u64, name: &str, flags: &str) -> String {
        format!(
            "{start:08x}-{end:08x} rw-s {offset:08x} 00:0e 1057                       {name}\n\
             Size:              16384 kB\nKernelPageSize:        4 kB\nTHPeligible:    0\nVmFlags: {flags} \n"
        )
    }

    #[test]
    fn only_devices_and_all_their_flags() {
        let text = [
            entry(0xaaaa_0000, 0xaaab_0000, 0, "/usr/bin/qemu-system-aarch64", "rd ex mr mw me"),
            entry(
                0xffff_8000_0000,
                0xffff_8100_0000,
                2 << 40,
                NAME,
                "rd wr sh mr mw me ms pf io dc de dd ??",
            ),
            entry(0xffff_9000_0000, 0xffff_9000_1000, 0, "", "rd wr"),
            entry(0xffff_a000_0000, 0xffff_a000_1000, 4 << 40, NAME, "rd wr sh pf io"),
        ]
        .concat();
        let vmas = vmas(text.as_bytes(), &DEVICE_VMAS).unwrap();
        assert_eq!(vmas.len(), 2);
        assert_eq!(
            (vmas[0].start, vmas[0].end, vmas[0].offset),
            (0xffff_8000_0000, 0xffff_8100_0000, 2 << 40)
        );
        assert_eq!(vmas[0].name, NAME);
        assert_eq!(vmas[0].flags.last().unwrap(), "??");
        assert_eq!(vmas[1].flags, ["rd", "wr", "sh", "pf", "io"]);
    }

    #[test]
    fn each_name_of_a_device_is_known() {
        for name in [
            NAME,
            "/dev/vfio/devices/vfio0",
            "/dmabuf:vfio0:0000:02:00.0/2",
            "/dmabuf:own name",
            "/sys/devices/pci0000:00/0000:02:00.0/resource2_wc",
            "/dev/s2lab-memory",
        ] {
            let text = entry(0x1000, 0x2000, 2 << 40, name, "rd wr ??");
            assert_eq!(vmas(text.as_bytes(), &DEVICE_VMAS).unwrap()[0].name, name);
        }
    }

    #[test]
    fn a_vma_without_flags_is_no_answer() {
        let text = entry(0x1000, 0x2000, 0, NAME, "rd");
        let torn = text.split("VmFlags").next().unwrap();
        assert!(matches!(vmas(torn.as_bytes(), &DEVICE_VMAS), Err(SmapsError::NoFlags { start: 0x1000 })));
        let next = format!("{torn}{}", entry(0x2000, 0x3000, 0, "", "rd"));
        assert!(matches!(vmas(next.as_bytes(), &DEVICE_VMAS), Err(SmapsError::NoFlags { start: 0x1000 })));
    }

    #[test]
    fn many_vmas_and_long_lines_are_bounded() {
        let many: String =
            (0..=MAX_VMAS as u64).map(|n| entry(n << 12, (n + 1) << 12, 0, NAME, "rd")).collect();
        assert!(matches!(vmas(many.as_bytes(), &DEVICE_VMAS), Err(SmapsError::TooMany)));
        let long = format!("{}\n{}", "x".repeat(100_000), entry(0x1000, 0x2000, 0, NAME, "rd"));
        assert_eq!(vmas(long.as_bytes(), &DEVICE_VMAS).unwrap().len(), 1);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            let _ = vmas(&bytes[..], &[""]);
        }

        #[test]
        fn a_vma_round_trips(start: u64, end: u64, offset: u64, name in "[a-z:\\[\\]/ -]{0,20}[a-z]", flags in proptest::collection::vec("[a-z?]{2}", 0..20)) {
            let text = entry(start, end, offset, &name, &flags.join(" "));
            let name = name.trim_start().to_owned();
            prop_assert_eq!(vmas(text.as_bytes(), &[""]).unwrap(), vec![Vma { start, end, offset, name, flags }]);
        }
    }
}
