//! KVM's own dump of a guest's stage 2, in debugfs: `kvm/PID-FD/stage2_page_tables` (Linux 6.12 and
//! newer, arch/arm64/kvm/ptdump.c, CONFIG_PTDUMP_STAGE2_DEBUGFS).

use super::Host;
use crate::{agent::Answers, root::Root};
use s2lab_protocol::{
    Failure,
    ask::{Dump, Dumped, DumpedRange},
    is_bar_place,
};
use std::io::Read;

const KVM: &str = "sys/kernel/debug/kvm";
const FILE: &str = "stage2_page_tables";
/// The most VMs of one process. QEMU has one, and two more for a moment when it starts.
const MOST_VMS: usize = 16;
/// The most bytes of a dump. A line has 80; a guest of 3 GiB with a leaf of every second page has
/// 800,000 of them, which no kernel makes.
const LONGEST: u64 = 16 << 20;

impl Answers<Dump> for Host<'_> {
    fn answer(&mut self, Dump { guest }: Dump) -> Result<Dumped, Failure> {
        let pid = self.running(&guest)?.vmm.pid();
        Ok(read(&self.agent.root, pid).map_or_else(Dumped::Missing, Dumped::Ranges))
    }
}

/// Returns the ranges of the only VM of the process `pid`, or the reason why there are none.
fn read(root: &Root, pid: u32) -> Result<Vec<DumpedRange>, String> {
    let own = format!("{pid}-");
    let entries = std::fs::read_dir(root.path(KVM)).map_err(|why| format!("no {KVM}: {why}"))?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let vms: Vec<String> = names.filter(|name| name.starts_with(&own)).take(MOST_VMS).collect();
    let [vm] = vms.as_slice() else { return Err(format!("{KVM} has {} VMs of the VMM", vms.len())) };
    let file = format!("{KVM}/{vm}/{FILE}");
    if !root.exists(&file) {
        return Err(format!("the kernel has no {FILE} (CONFIG_PTDUMP_STAGE2_DEBUGFS)"));
    }
    let failed = |why: std::io::Error| format!("{FILE}: {why}");
    let mut text = String::new();
    let file = std::fs::File::open(root.path(&file)).map_err(failed)?;
    file.take(LONGEST + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > LONGEST {
        return Err(format!("{FILE} is longer than {LONGEST} bytes"));
    }
    let ranges = text.lines().filter_map(DumpedRange::parse).filter(|range| is_bar_place(range.ipa));
    let ranges: Vec<_> = ranges.take(DumpedRange::MOST + 1).collect();
    match ranges.len() > DumpedRange::MOST {
        true => Err(format!("{FILE} has more than {} ranges of BARs", DumpedRange::MOST)),
        false => Ok(ranges),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const LINE: &str = "0x0000008000000000-0x0000008000200000           2M 2   R W X AF BLK\n";

    fn with(vms: &[(&str, Option<&str>)]) -> Result<Vec<DumpedRange>, String> {
        let folder = tempfile::tempdir().unwrap();
        for (vm, text) in vms {
            let place = folder.path().join(KVM).join(vm);
            fs::create_dir_all(&place).unwrap();
            text.iter().for_each(|text| fs::write(place.join(FILE), text).unwrap());
        }
        read(&Root::at(folder.path()), 14)
    }

    #[test]
    fn the_dump_is_that_of_the_vmms_only_vm() {
        let ram = LINE.replace("0x00000080", "0x00000000");
        let text = format!("---[ Guest IPA ]---\n{ram}{LINE}");
        let found = with(&[("14-9", Some(&text)), ("140-9", Some(""))]).unwrap();
        let due = DumpedRange {
            ipa: 0x80_0000_0000,
            end: 0x80_0020_0000,
            level: 2,
            flags: "R W X AF BLK".to_owned(),
        };
        assert_eq!(found, [due]);
    }

    #[test]
    fn a_dump_that_is_not_there_has_a_reason() {
        let missing = |vms: &[(&str, Option<&str>)]| with(vms).unwrap_err();
        assert!(missing(&[]).starts_with("no sys/kernel/debug/kvm: "));
        assert_eq!(missing(&[("140-9", None)]), "sys/kernel/debug/kvm has 0 VMs of the VMM");
        assert_eq!(missing(&[("14-9", None), ("14-8", None)]), "sys/kernel/debug/kvm has 2 VMs of the VMM");
        assert!(missing(&[("14-9", None)]).contains("CONFIG_PTDUMP_STAGE2_DEBUGFS"));
        let many = LINE.repeat(DumpedRange::MOST + 1);
        let why = missing(&[("14-9", Some(&many))]);
        assert_eq!(why, "stage2_page_tables has more than 1024 ranges of BARs");
        assert_eq!(with(&[("14-9", Some(&many[LINE.len()..]))]).unwrap().len(), DumpedRange::MOST);
    }
}
