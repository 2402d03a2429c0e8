//! Files that people give in place of an Image, by their first bytes.

/// A kind of file that is no arm64 Image.
#[derive(Debug, PartialEq, Eq)]
pub struct Foreign {
    /// With its article.
    pub(super) name: &'static str,
    /// The file to give instead.
    pub(super) hint: Option<&'static str>,
    /// The offset of these bytes.
    at: usize,
    bytes: &'static [u8],
}

const fn foreign(at: usize, bytes: &'static [u8], name: &'static str, hint: &'static str) -> Foreign {
    Foreign { name, hint: Some(hint), at, bytes }
}

const OF_ARM64: &str = "s2lab boots kernels of arm64";
const UNPACK: &str = "unpack it, and give the Image that is in it";

/// The first that fits is taken. Sources: Linux 6.1, Documentation/x86/boot.rst,
/// Documentation/riscv/boot-image-header.rst, arch/arm/boot/compressed/head.S; U-Boot 2024.01,
/// include/image.h; magic(5) of file 5.46.
const KINDS: [Foreign; 15] = [
    foreign(
        0,
        b"\x7fELF",
        "an ELF file such as vmlinux",
        "of the same build, arch/arm64/boot/Image is the file that boots",
    ),
    foreign(
        0,
        &[0x27, 0x05, 0x19, 0x56],
        "a uImage, with a header of U-Boot's",
        "give the Image that it was made of; `dumpimage -p 0 -o Image FILE` takes it out",
    ),
    foreign(
        0,
        b"!<arch>\ndebian-binary",
        "a Debian package",
        "`dpkg-deb -x FILE DIR` unpacks it: the kernel is DIR/boot/vmlinuz-*, its modules are in DIR/lib/modules",
    ),
    foreign(0, &[0xed, 0xab, 0xee, 0xdb], "an RPM package", UNPACK),
    foreign(0x202, b"HdrS", "a bzImage of x86", OF_ARM64),
    foreign(0x24, &[0x18, 0x28, 0x6f, 0x01], "a zImage of 32-bit Arm", OF_ARM64),
    foreign(56, b"RSC\x05", "an Image of RISC-V", OF_ARM64),
    foreign(0, &[0xd0, 0x0d, 0xfe, 0xed], "a device tree or a FIT image", UNPACK),
    foreign(0, b"ANDROID!", "a boot image of Android", UNPACK),
    foreign(0, b"070701", "a cpio archive such as an initramfs", UNPACK),
    foreign(257, b"ustar", "a tar archive", UNPACK),
    foreign(0, b"PK\x03\x04", "a zip archive", UNPACK),
    foreign(0, b"QFI\xfb", "an image of a disk", UNPACK),
    foreign(0, b"MZ", "an EFI program that is no Image of arm64", UNPACK),
    Foreign { name: "a text", hint: None, at: 0, bytes: b"" },
];
const EMPTY: &Foreign = &Foreign { name: "an empty file", hint: None, at: 0, bytes: b"" };
const ZEROS: &Foreign = &Foreign { name: "nothing but zeros", hint: None, at: 0, bytes: b"" };
/// The part of a text that is examined, in bytes.
const LOOKED_AT: usize = 1 << 10;

impl Foreign {
    /// `None`: nothing that is known.
    pub(super) fn find(bytes: &[u8]) -> Option<&'static Self> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Some(if bytes.is_empty() { EMPTY } else { ZEROS });
        }
        KINDS.iter().find(|kind| kind.fits(bytes))
    }

    fn fits(&self, bytes: &[u8]) -> bool {
        match self.bytes {
            [] => is_text(bytes),
            own => bytes.get(self.at..).is_some_and(|from| from.starts_with(own)),
        }
    }
}

fn is_text(bytes: &[u8]) -> bool {
    let begin = bytes.get(..LOOKED_AT).unwrap_or(bytes);
    begin.iter().all(|byte| !byte.is_ascii_control() || byte.is_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_known_by_its_bytes() {
        for kind in KINDS.iter().filter(|kind| !kind.bytes.is_empty()) {
            let mut bytes = vec![1; 600];
            bytes[kind.at..kind.at + kind.bytes.len()].copy_from_slice(kind.bytes);
            assert_eq!(Foreign::find(&bytes), Some(kind));
            bytes.truncate(kind.at + kind.bytes.len() - 1);
            assert_ne!(Foreign::find(&bytes), Some(kind), "cut");
        }
        let name = |bytes: &[u8]| Foreign::find(bytes).map(|kind| kind.name);
        assert_eq!(name(b""), Some("an empty file"));
        assert_eq!(name(&[0; 5000]), Some("nothing but zeros"));
        assert_eq!(name("version 1\nsize 5 ä\n".as_bytes()), Some("a text"));
        assert_eq!(name(&[1; 600]), None);
    }
}
