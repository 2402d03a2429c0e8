//! The check that the file of a plain `Image` is whole.
//!
//! An EFI stub has a table of sections, which gives the length of the file. Without a stub the
//! header has only the size in memory, BSS included, so a whole file is shorter than that. Then the
//! content decides: the banner, and the relocations, which lead to initialised data near the end of
//! the file.

use super::{config_in, word};
use s2lab_model::kconfig::{Config, Setting};

/// Offsets in a PE file (PE Format, "COFF File Header", "Section Table"): the place of the header;
/// in it the number of sections and the size of the part between it and their table; in a section
/// its size in the file, and its beginning.
const PE_OFFSET: usize = 0x3c;
const PE_SECTIONS: usize = 6;
const PE_OPTIONAL_SIZE: usize = 20;
const PE_HEADER: usize = 24;
const SECTION_HEADER: usize = 40;
const SECTION_SIZE: usize = 16;
const SECTION_START: usize = 20;
/// `image_size` in the header, 64 bits (Linux 6.1, `Documentation/arm64/booting.rst`).
const SIZE_IN_MEMORY: usize = 16;
/// An entry of `.rela.dyn`: address, `r_info`, addend (ELF-64 Object File Format, "Relocation").
const ENTRY: usize = 24;
/// `r_info` of R_AARCH64_RELATIVE, the second word of an entry.
const RELATIVE: &[u8] = &[3, 4, 0, 0, 0, 0, 0, 0];
/// The least number of entries in a row that is a table. A table has tens of thousands.
const LEAST_ENTRIES: usize = 64;
/// The number of the lowest addresses that are not trusted: an addend may lead in front of the
/// kernel.
const STRAY: usize = 16;
/// The alignment of the kernel's virtual address (Linux 6.1, `arch/arm64/include/asm/boot.h`,
/// MIN_KIMG_ALIGN).
const ALIGNMENT: u64 = 2 << 20;

/// Checks that nothing is missing at the end of a plain `Image`, as far as that can be known.
///
/// # Errors
/// The sign that the file is cut short.
pub(super) fn check(image: &[u8]) -> Result<(), String> {
    let length = image.len();
    if let Some(size) = efi_size(image)? {
        return match size > length {
            true => Err(format!("it is cut short: its header says {size} bytes, and it has {length}")),
            false => Ok(()),
        };
    }
    // It is 0 before Linux 3.17.
    let in_memory = long(image, SIZE_IN_MEMORY).unwrap_or_default();
    if usize::try_from(in_memory).is_ok_and(|size| size <= length) {
        return Ok(());
    }
    if super::releases(image).next().is_none() {
        return Err(format!("it is cut short or no Linux: {length} bytes without `Linux version`"));
    }
    match Relocations::find(image) {
        Some(relocations) => relocations.check(image, in_memory),
        None if has_relocations(image) => {
            Err("it is cut short: its configuration has CONFIG_RELOCATABLE, and the relocations are missing"
                .to_owned())
        }
        None => Ok(()),
    }
}

/// Returns the length of the file by the sections of its EFI stub (Linux 6.1,
/// `arch/arm64/kernel/efi-header.S`), or None if it has no stub.
fn efi_size(bytes: &[u8]) -> Result<Option<usize>, String> {
    if !bytes.starts_with(b"MZ") {
        return Ok(None);
    }
    let cut = || "it is cut short: the table of its sections is missing".to_owned();
    let word = |at: Option<usize>| at.and_then(|at| word(bytes, at).ok()).ok_or_else(cut);
    let pe = word(Some(PE_OFFSET))?;
    if pe == 0 {
        return Ok(None);
    }
    let sections = word(pe.checked_add(PE_SECTIONS))? & 0xffff;
    let options = word(pe.checked_add(PE_OPTIONAL_SIZE))? & 0xffff;
    let mut end = 0;
    for section in 0..sections {
        let at = pe.checked_add(PE_HEADER + options + section * SECTION_HEADER);
        let size = word(at.and_then(|at| at.checked_add(SECTION_SIZE)))?;
        let start = word(at.and_then(|at| at.checked_add(SECTION_START)))?;
        end = end.max(start.checked_add(size).ok_or_else(cut)?);
    }
    Ok(Some(end))
}

/// Returns true if the configuration in the Image promises `.rela.dyn`. RELR has another form.
fn has_relocations(image: &[u8]) -> bool {
    let config = config_in(image).and_then(|text| Config::parse(&text).ok());
    config.is_some_and(|config| {
        let has = |option| config.setting(option) == Setting::BuiltIn;
        has("RELOCATABLE") && !has("RELR")
    })
}

/// The longest row of relative relocations in an Image, `.rela.dyn`.
struct Relocations {
    start: usize,
    entries: usize,
}

impl Relocations {
    /// Finds the table in one pass.
    fn find(image: &[u8]) -> Option<Self> {
        let mut longest = Self { start: 0, entries: 0 };
        let mut row = Self { start: 0, entries: 0 };
        for at in memchr::memmem::find_iter(image, RELATIVE) {
            let Some(start) = at.checked_sub(RELATIVE.len()) else { continue };
            match start == row.end() {
                true => row.entries += 1,
                false => row = Self { start, entries: 1 },
            }
            if row.entries > longest.entries {
                longest = Self { ..row };
            }
        }
        (longest.entries >= LEAST_ENTRIES).then_some(longest)
    }

    fn end(&self) -> usize {
        self.start + self.entries * ENTRY
    }

    /// Checks that initialised data follow the table, and that each of its addresses lies in them
    /// or before.
    fn check(&self, image: &[u8], in_memory: u64) -> Result<(), String> {
        let length = image.len();
        if self.end().saturating_add(ENTRY) > length {
            return Err(format!("it is cut short: it ends in its relocations, after {length} bytes"));
        }
        let starts = (0..self.entries).map(|entry| self.start + entry * ENTRY);
        let (mut addresses, last) =
            starts.fold((Vec::new(), 0), |(mut addresses, last): (Vec<u64>, u64), at| {
                let to = long(image, at).unwrap_or_default();
                addresses.extend([Some(to), long(image, at + 2 * RELATIVE.len())].into_iter().flatten());
                (addresses, last.max(to))
            });
        // The kernel begins at or after the address from which its memory reaches to the last
        // relocation.
        let lowest = last.saturating_sub(in_memory);
        addresses.retain(|address| (lowest..=last).contains(address));
        if addresses.len() <= STRAY {
            return Ok(());
        }
        let (_, low, _) = addresses.select_nth_unstable(STRAY);
        let needed = (last - *low / ALIGNMENT * ALIGNMENT).saturating_add(8);
        match usize::try_from(needed) {
            Ok(needed) if needed <= length => Ok(()),
            _ if needed > in_memory => Ok(()),
            _ => Err(format!(
                "it is cut short: its relocations lead to byte {needed}, and it has {length} bytes"
            )),
        }
    }
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::image::tests::{gzip, sample};

    const BASE: u64 = 0xffff_8000_0800_0000;
    const DATA: usize = 6000;
    const LENGTH: usize = 9000;

    /// Returns an Image like one without an EFI stub: configuration, banner, 200 relocations, data.
    fn without_stub() -> Vec<u8> {
        let mut image = sample();
        image[SIZE_IN_MEMORY..SIZE_IN_MEMORY + 8].copy_from_slice(&20_000_u64.to_le_bytes());
        image.extend(b"Linux version %s");
        image.resize(400, 0);
        image.extend(
            [&b"IKCFG_ST"[..], &gzip(b"CONFIG_ARM64=y\nCONFIG_RELOCATABLE=y\n"), b"IKCFG_ED"].concat(),
        );
        image.extend(b"Linux version 6.1.0 (x) #1\n\0");
        image.resize(1000, 0);
        for entry in 0..200_u64 {
            let to = BASE + u64::try_from(DATA).unwrap() + entry * 10;
            image.extend(
                [to.to_le_bytes(), RELATIVE.try_into().unwrap(), (BASE + entry).to_le_bytes()].concat(),
            );
        }
        image.resize(LENGTH, 7);
        image
    }

    #[test]
    fn an_image_without_a_stub_is_whole_up_to_what_its_relocations_need() {
        let whole = without_stub();
        assert_eq!(check(&whole), Ok(()));
        let needed = DATA + 1990 + 8;
        assert_eq!(check(&whole[..needed]), Ok(()), "what follows cannot be known");
        for length in 64..needed {
            let why = check(&whole[..length]).unwrap_err();
            assert!(why.starts_with("it is cut short"), "{length}: {why}");
        }
    }

    #[test]
    fn nothing_is_guessed_where_nothing_is_known() {
        let whole = without_stub();
        // The kernel has RELR, or is not relocatable and has no configuration in it.
        let plain = [&whole[..400], b"Linux version 6.1.0 (x) #1\n\0"].concat();
        assert_eq!(check(&plain), Ok(()));
        // The kernel is older than Linux 3.17.
        let mut old = whole[..100].to_vec();
        old[SIZE_IN_MEMORY..SIZE_IN_MEMORY + 8].fill(0);
        assert_eq!(check(&old), Ok(()));
    }
}
