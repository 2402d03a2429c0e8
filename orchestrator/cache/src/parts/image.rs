//! Kernel images: a plain arm64 `Image`, or a packed one, also inside an EFI "zboot" program.

mod foreign;
mod whole;

use crate::error::{CacheError, Result};
use foreign::Foreign;
use s2lab_os::outside::{
    self, kinds,
    packed::{Member, Packing},
};
use std::{fs, path::Path};

/// `ARM\x64` at byte 56 of an Image (Linux 6.1, `Documentation/arm64/booting.rst`).
const ARM64_MAGIC: (usize, &[u8]) = (56, b"ARM\x64");
/// `zimg` at byte 4, then offset and size of the payload (32 bits each, little endian), at 24 the
/// name of the compression (Linux 6.1, `drivers/firmware/efi/libstub/zboot-header.S`).
const ZBOOT_MAGIC: (usize, &[u8]) = (4, b"zimg");
const ZBOOT_OFFSET: usize = 8;
const ZBOOT_SIZE: usize = 12;
const ZBOOT_COMPRESSION: usize = 24;
/// The marks around the configuration in an Image with CONFIG_IKCONFIG=y, which `/proc/config.gz`
/// shows (Linux 6.1, `kernel/configs.c`).
const CONFIG_MAGIC: (&[u8], &[u8]) = (b"IKCFG_ST", b"IKCFG_ED");
/// The beginning of `linux_banner`.
const BANNER: &[u8] = b"Linux version ";
/// The longest release, in characters (Linux 6.1, `include/uapi/linux/utsname.h`, __NEW_UTS_LEN).
const LONGEST_RELEASE: usize = 64;
/// The most candidates for a configuration that are unpacked. An Image has one.
const MOST_CONFIGS: usize = 8;

/// Why a file has no Image.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    #[error("it is {}, not an arm64 kernel's Image", .0.name)]
    Foreign(&'static Foreign),
    #[error("it is not an arm64 kernel's Image")]
    Unknown,
    #[error("{0}")]
    Damaged(String),
}

impl ImageError {
    /// Advice for the reader.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Foreign(foreign) => foreign.hint,
            Self::Unknown | Self::Damaged(_) => None,
        }
    }
}

impl From<String> for ImageError {
    fn from(why: String) -> Self {
        Self::Damaged(why)
    }
}

/// Writes the plain `Image` in the file `from` to `to`.
pub(crate) fn normalise(from: &Path, to: &Path) -> Result<()> {
    let raw = outside::read(from, kinds::IMAGE)?;
    let plain = plain(raw).map_err(|reason| CacheError::malformed(from.display(), reason))?;
    fs::write(to, plain).map_err(CacheError::io("cannot write", to))
}

/// The plain `Image` in what a file has: plain, packed, or packed in an EFI zboot program, which
/// may be packed too.
pub(crate) fn plain(raw: Vec<u8>) -> Result<Vec<u8>, ImageError> {
    let raw = match Packing::of(&raw) {
        Some(packing) => only_member(packing, &raw)?,
        None => raw,
    };
    match has(&raw, ZBOOT_MAGIC) {
        true => image(payload(&raw)?),
        false => image(raw),
    }
}

/// Unpacks the payload of an EFI zboot program. Its first bytes name the packing; the names in
/// headers have changed (`xzkern`, `zstd22`).
fn payload(zboot: &[u8]) -> Result<Vec<u8>, String> {
    let (start, size) = (word(zboot, ZBOOT_OFFSET)?, word(zboot, ZBOOT_SIZE)?);
    let payload = start.checked_add(size).and_then(|end| zboot.get(start..end));
    let payload = payload.ok_or("the payload lies outside the file")?;
    let Some(packing) = Packing::of(payload) else {
        let name = zboot.get(ZBOOT_COMPRESSION..).unwrap_or_default();
        let name = String::from_utf8_lossy(&name[..name.len().min(8)]).into_owned();
        let name = name.trim_end_matches('\0').escape_debug();
        return Err(format!("an EFI zboot image packed with `{name}`, which s2lab does not unpack"));
    };
    only_member(packing, payload)
}

/// Unpacks a file of one member. Zeros or other data may follow it, such as the plain size.
fn only_member(packing: Packing, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let Member { plain, rest } = packing.member(bytes, kinds::IMAGE).map_err(|why| why.to_string())?;
    match Packing::of(rest) == Some(packing) {
        true => Err(format!("it has several {packing} members, and a boot loader unpacks the first only")),
        false => Ok(plain),
    }
}

/// Returns the release of a plain `Image`, as `uname -r` prints it: the text after `Linux version `
/// in `linux_banner` (Linux 6.1, `init/version-timestamp.c`). Returns None if there is no banner,
/// or if several differ.
pub(crate) fn release(image: &[u8]) -> Option<String> {
    let mut found = releases(image);
    let first = found.next()?;
    found.all(|other| other == first).then_some(first)
}

/// Yields the releases in the banners of a plain `Image`.
fn releases(image: &[u8]) -> impl Iterator<Item = String> {
    let after = move |at: usize| {
        let text = image.get(at + BANNER.len()..)?;
        let text = text.get(..text.len().min(LONGEST_RELEASE + 1))?;
        let word = text.split(|byte| *byte == b' ').next().filter(|word| word.len() < text.len())?;
        let is_release =
            !word.is_empty() && word.iter().all(u8::is_ascii_graphic) && word[0].is_ascii_digit();
        is_release.then(|| String::from_utf8_lossy(word).into_owned())
    };
    memchr::memmem::find_iter(image, BANNER).filter_map(after)
}

/// Returns the configuration in the plain `Image` at `path`, or None if it was built without.
pub fn embedded_config(path: &Path) -> Result<Option<String>> {
    let bytes = outside::read(path, kinds::IMAGE)?;
    Ok(config_in(&bytes))
}

fn config_in(image: &[u8]) -> Option<String> {
    let (begin, end) = CONFIG_MAGIC;
    // The marks are also in the code that looks for them. An end belongs to the last beginning
    // before it, and is looked at once, so the search is linear for any Image.
    let mut from = 0;
    let packed = memchr::memmem::find_iter(image, end).filter_map(|at| {
        let before = image.get(from..at)?;
        from = at + end.len();
        before.get(memchr::memmem::rfind(before, begin)? + begin.len()..)
    });
    let packed = packed.filter(|packed| Packing::of(packed) == Some(Packing::Gzip));
    packed
        .take(MOST_CONFIGS)
        .find_map(|packed| String::from_utf8(Packing::Gzip.member(packed, kinds::CONFIG).ok()?.plain).ok())
}

fn image(bytes: Vec<u8>) -> Result<Vec<u8>, ImageError> {
    if !has(&bytes, ARM64_MAGIC) {
        return Err(Foreign::find(&bytes).map_or(ImageError::Unknown, ImageError::Foreign));
    }
    whole::check(&bytes)?;
    Ok(bytes)
}

fn has(bytes: &[u8], (at, magic): (usize, &[u8])) -> bool {
    bytes.get(at..at + magic.len()) == Some(magic)
}

fn word(bytes: &[u8], at: usize) -> Result<usize, String> {
    let word = bytes.get(at..at + 4).and_then(|w| w.try_into().ok()).ok_or("the header is cut short")?;
    usize::try_from(u32::from_le_bytes(word)).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    /// One file, packed in each way.
    const SAMPLES: [(Packing, &[u8]); 7] = [
        (Packing::Gzip, include_bytes!("../../../os/tests/packed/Image.gz")),
        (Packing::Zstd, include_bytes!("../../../os/tests/packed/Image.zst")),
        (Packing::Xz, include_bytes!("../../../os/tests/packed/Image.xz")),
        (Packing::Lz4, include_bytes!("../../../os/tests/packed/Image.lz4")),
        (Packing::OldLz4, include_bytes!("../../../os/tests/packed/Image.old.lz4")),
        (Packing::Bzip2, include_bytes!("../../../os/tests/packed/Image.bz2")),
        (Packing::Lzma, include_bytes!("../../../os/tests/packed/Image.lzma")),
    ];
    const PLAIN: &[u8] = include_bytes!("../../../os/tests/packed/Image");

    pub(super) fn sample() -> Vec<u8> {
        let mut image = vec![7; 200];
        image[16..24].fill(0);
        image[56..60].copy_from_slice(b"ARM\x64");
        image
    }

    pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        to.write_all(bytes).unwrap();
        to.finish().unwrap()
    }

    fn zboot(payload: &[u8], compression: &[u8]) -> Vec<u8> {
        let mut image = b"MZ\0\0zimg".to_vec();
        image.extend(64u32.to_le_bytes());
        image.extend(u32::try_from(payload.len()).unwrap().to_le_bytes());
        image.resize(24, 0);
        image.extend(compression);
        image.resize(64, 0);
        image.extend(payload);
        image
    }

    #[test]
    fn the_release_is_that_of_the_banner() {
        let banner = |release: &str| format!("\0Linux version {release} (x@y) (gcc) #1 SMP\n\0").into_bytes();
        let of =
            |banners: &[&str]| release(&banners.iter().map(|text| banner(text)).collect::<Vec<_>>().concat());
        assert_eq!(of(&["6.12.95+deb12-arm64"]).as_deref(), Some("6.12.95+deb12-arm64"));
        assert_eq!(of(&["6.1.0", "6.1.0"]).as_deref(), Some("6.1.0"));
        assert_eq!(of(&["6.1.0", "6.2.0"]), None, "which of the two?");
        assert_eq!(of(&[]), None);
        assert_eq!(release(b"Linux version %s (x)"), None, "a format");
        assert_eq!(release(b"Linux version 6.1.0"), None, "cut");
        assert_eq!(release(format!("Linux version 6{} ", "x".repeat(64)).as_bytes()), None, "too long");
    }

    #[test]
    fn every_wrapping_comes_off() {
        assert_eq!(plain(sample()).unwrap(), sample());
        for (packing, packed) in SAMPLES {
            let is = |bytes: Vec<u8>, what| assert!(plain(bytes) == Ok(PLAIN.to_vec()), "{packing}{what}");
            is(packed.to_vec(), "");
            // As the Makefiles of kernels before 5.19 append it.
            let size = 33_000_000_u32.to_le_bytes();
            is([packed, &size].concat(), " and a size");
            let zboot = zboot(packed, b"any\0");
            is(zboot.clone(), " in a zboot");
            is(gzip(&zboot), " in a zboot, packed");
            for length in [packed.len() / 2, packed.len() - 1] {
                let why = plain(packed[..length].to_vec()).unwrap_err().to_string();
                assert!(why.contains("cut short"), "{packing}: {why}");
            }
            // The decoder of lzma reads on behind the end.
            if packing != Packing::Lzma {
                let two = plain(packed.repeat(2)).unwrap_err().to_string();
                assert!(two.starts_with(&format!("it has several {packing} members")), "{two}");
            }
        }
    }

    #[test]
    fn a_configuration_is_found_in_its_image() {
        let packed = gzip(b"CONFIG_KVM=y\n");
        let image = |parts: &[&[u8]]| parts.concat();
        let found = image(&[b"IKCFG_ST code IKCFG_ED", &sample(), b"IKCFG_ST", &packed, b"IKCFG_ED more"]);
        assert_eq!(config_in(&found).as_deref(), Some("CONFIG_KVM=y\n"));
        let cut = image(&[b"IKCFG_ST", &packed[..packed.len() - 9], b"IKCFG_ED"]);
        for none in [sample(), image(&[b"IKCFG_ST", &packed]), cut] {
            assert_eq!(config_in(&none), None);
        }
    }

    /// Returns an Image like one with an EFI stub: two sections, 300 bytes.
    fn with_stub() -> Vec<u8> {
        let mut image = sample();
        image.resize(300, 1);
        image[..2].copy_from_slice(b"MZ");
        image[0x3c..0x40].copy_from_slice(&64_u32.to_le_bytes());
        image[70..72].copy_from_slice(&2_u16.to_le_bytes());
        image[84..86].copy_from_slice(&16_u16.to_le_bytes());
        for (at, size, start) in [(104, 46_u32, 200_u32), (144, 54, 246)] {
            image[at + 16..at + 20].copy_from_slice(&size.to_le_bytes());
            image[at + 20..at + 24].copy_from_slice(&start.to_le_bytes());
        }
        image
    }

    #[test]
    fn an_image_that_is_cut_short_is_found_by_its_header() {
        let whole = with_stub();
        assert_eq!(plain(whole.clone()).unwrap(), whole);
        for length in 60..300 {
            let why = plain(whole[..length].to_vec()).unwrap_err().to_string();
            assert!(why.starts_with("it is cut short: "), "{length}: {why}");
        }
        let members = [gzip(&whole[..250]), gzip(&whole[250..])].concat();
        assert!(plain(members).unwrap_err().to_string().contains("several gzip members"));
        let members = [gzip(&sample()), gzip(b"more")].concat();
        assert!(plain(members).unwrap_err().to_string().contains("several gzip members"));
        assert_eq!(plain([gzip(&sample()), vec![0; 512]].concat()).unwrap(), sample());
    }

    /// A quadratic search would take hours.
    #[test]
    fn a_configuration_that_begins_a_million_times_is_searched_once() {
        let began = std::time::Instant::now();
        assert_eq!(config_in(&b"IKCFG_ST".repeat(4 << 20)), None);
        let packed =
            [b"IKCFG_ST".repeat(1 << 20), gzip(b"CONFIG_KVM=y\n"), b"IKCFG_ED".repeat(1 << 20)].concat();
        assert_eq!(config_in(&packed).as_deref(), Some("CONFIG_KVM=y\n"));
        assert!(began.elapsed() < std::time::Duration::from_secs(60), "{:?}", began.elapsed());
    }

    #[test]
    fn other_files_are_refused() {
        assert!(plain(vec![0; 100]).is_err());
        assert!(plain(gzip(b"no kernel")).is_err());
        let lzo = plain(zboot(&[1; 20], b"lzo\0")).unwrap_err().to_string();
        assert_eq!(lzo, "an EFI zboot image packed with `lzo`, which s2lab does not unpack");
        let mut cut = zboot(&gzip(&sample()), b"gzip\0");
        cut.truncate(70);
        assert!(plain(cut).unwrap_err().to_string().contains("outside"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), wrap in 0..3) {
            if wrap == 1 { bytes.splice(0..0, [0x1f, 0x8b]); }
            let _ = config_in(&[b"IKCFG_ST", &bytes[..], b"IKCFG_ED"].concat());
            if wrap == 2 { bytes = zboot(&bytes, b"gzip\0"); }
            let _ = plain(bytes);
        }
    }
}
