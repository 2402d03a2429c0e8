//! Data that the guest's kernel transfers to and from an NVMe drive by DMA, around its page cache (O_DIRECT).

use super::{Guest, machine::Machine};
use crate::agent::Answers;
use crate::fault;
use crate::pci::{self, Address};
use crate::root::Root;
use crate::waits;
use rustix::fs::OFlags;
use s2lab_protocol::Failure;
use s2lab_protocol::ask::{Direction, Transfer, Transferred, pattern};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::Duration;

/// The bytes of a request to the drive. Their address is a multiple of a page, and so is their number.
const PIECE: usize = 64 << 10;
const PAGE: usize = 4096;
const WORD: usize = size_of::<u64>();
/// The time in which the driver finds the drive after the guest has come up, and the pause between two looks.
const FOUND: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(10);

impl<M: Machine> Answers<Transfer> for Guest<M> {
    fn answer(&mut self, ask: Transfer) -> Result<Transferred, Failure> {
        self.machine.transfer(&ask)
    }
}

pub(super) fn carry_out(root: &Root, ask: &Transfer) -> Result<Transferred, Failure> {
    let function = pci::behind(root, &Address::parse(&ask.address)?)?;
    let path = wait_for_drive(root, &function)?;
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::DIRECT.bits() as i32)
        .open(root.path(&path))
        .map_err(|why| fault::system("open", path.display(), why))?;
    transfer(&opened, ask).map_err(|why| fault::system("transfer data of", path.display(), why))
}

fn wait_for_drive(root: &Root, address: &Address) -> Result<PathBuf, Failure> {
    let found = waits::until(FOUND, PAUSE, || drive(root, address).filter(|drive| root.exists(drive)));
    found.ok_or_else(|| {
        let why = format_args!("the driver nvme has none after {} seconds", FOUND.as_secs());
        fault::system("find the drive of", address, why)
    })
}

/// Returns the file of the first namespace of a controller: `dev/nvme0n1` of `nvme/nvme0`.
fn drive(root: &Root, address: &Address) -> Option<PathBuf> {
    let entries = |folder: PathBuf| {
        let entries = std::fs::read_dir(root.path(folder)).ok()?.flatten();
        Some(entries.filter_map(|entry| entry.file_name().into_string().ok()))
    };
    let folder = address.folder().join("nvme");
    let controller = entries(folder.clone())?.min()?;
    let disk = entries(folder.join(controller))?.filter_map(|namespace| disk(&namespace)).min()?;
    Some(PathBuf::from("dev").join(disk))
}

/// Returns the disk of a namespace: `nvme0n1` has its own name. A kernel with CONFIG_NVME_MULTIPATH hides the path of
/// each controller, `nvme0c1n1`, and its disk is `nvme0n1` too (drivers/nvme/host/core.c, nvme_alloc_ns, Linux 6.12).
fn disk(namespace: &str) -> Option<String> {
    let (owner, number) = namespace.strip_prefix("nvme")?.split_once('n')?;
    let (subsystem, controller) = owner.split_once('c').unwrap_or((owner, "0"));
    let are_numbers = [subsystem, controller, number].iter().all(|part| part.parse::<u32>().is_ok());
    are_numbers.then(|| format!("nvme{subsystem}n{number}"))
}

/// Writes or reads the pattern, a piece after the other.
fn transfer(drive: &File, ask: &Transfer) -> io::Result<Transferred> {
    let Transfer { direction, bytes, seed, .. } = *ask;
    if bytes % PAGE as u64 != 0 {
        return Err(io::Error::other(format!("{bytes} bytes are not whole pages")));
    }
    let mut space = vec![0; PIECE + PAGE];
    let start = space.as_ptr().align_offset(PAGE);
    let mut first_difference = None;
    let mut offset = 0;
    while offset < bytes {
        let length = PIECE.min(usize::try_from(bytes - offset).unwrap_or(PIECE));
        let piece = space.get_mut(start..start + length);
        let piece = piece.ok_or_else(|| io::Error::other("no aligned memory"))?;
        let offsets = (offset..).step_by(WORD);
        match direction {
            Direction::Write => {
                for (word, at) in piece.chunks_exact_mut(WORD).zip(offsets) {
                    word.copy_from_slice(&pattern(seed, at).to_le_bytes());
                }
                drive.write_all_at(piece, offset)?;
            }
            Direction::Read => {
                // A transfer that does nothing leaves zeroes.
                piece.fill(0);
                drive.read_exact_at(piece, offset)?;
                let mut words = piece.chunks_exact(WORD).zip(offsets);
                let differs = words.find(|(word, at)| **word != pattern(seed, *at).to_le_bytes());
                first_difference = first_difference.or(differs.map(|(_, at)| at));
            }
        }
        offset += length as u64;
    }
    if direction == Direction::Write {
        drive.sync_data()?;
    }
    Ok(Transferred { direction, bytes, first_difference })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: u64 = 2 * PIECE as u64 + PAGE as u64;

    fn ask(direction: Direction, bytes: u64) -> Transfer {
        Transfer { address: "0000:00:10.0".into(), direction, bytes, seed: 5 }
    }

    #[test]
    fn what_is_written_is_read_and_a_difference_has_its_place() {
        let drive = tempfile::tempfile().unwrap();
        let written = transfer(&drive, &ask(Direction::Write, BYTES)).unwrap();
        assert_eq!((written.bytes, written.first_difference), (BYTES, None));
        let mut word = [0; WORD];
        drive.read_exact_at(&mut word, BYTES - 8).unwrap();
        assert_eq!(word, pattern(5, BYTES - 8).to_le_bytes());
        let read = || transfer(&drive, &ask(Direction::Read, BYTES)).unwrap().first_difference;
        assert_eq!(read(), None);
        drive.write_all_at(&[1; 1], PIECE as u64 + 17).unwrap();
        drive.write_all_at(&[1; 1], BYTES - 3).unwrap();
        assert_eq!(read(), Some(PIECE as u64 + 16));
        assert!(transfer(&drive, &ask(Direction::Read, 100)).is_err());
        assert!(
            transfer(&drive, &ask(Direction::Read, BYTES + PAGE as u64)).is_err(),
            "the drive ends before"
        );
    }

    #[test]
    fn the_drive_is_the_first_namespace_of_the_controller() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        let address = Address::parse("0000:00:10.0").unwrap();
        assert_eq!(drive(&root, &address), None);
        for name in ["nvme3", "nvme3/nvme3n2", "nvme3/nvme3n1", "nvme3/ng3n1", "nvme3/power"] {
            std::fs::create_dir_all(root.path(address.folder().join("nvme").join(name))).unwrap();
        }
        assert_eq!(drive(&root, &address), Some("dev/nvme3n1".into()));
    }

    #[test]
    fn the_disk_of_a_hidden_path_is_that_of_its_subsystem() {
        let is = |namespace: &str, of: &str| assert_eq!(disk(namespace).as_deref(), Some(of), "{namespace}");
        is("nvme0n1", "nvme0n1");
        is("nvme2c10n3", "nvme2n3");
        for other in ["ng0n1", "nvme0", "nvme0n", "nvme0c", "nvme0cn1", "nvmec0n1", "nvme0n1p1", "power"] {
            assert_eq!(disk(other), None, "{other}");
        }
    }
}
