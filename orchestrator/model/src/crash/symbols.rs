//! Names for addresses that a crashed kernel printed without one: a kernel without CONFIG_KALLSYMS,
//! or the hypervisor's part of it.

use super::message;
use std::collections::BTreeMap;

/// The digits of an address as kernels print it, `%016lx`.
const DIGITS: usize = 16;
/// The text before the KASLR offset that a panicking kernel prints (Linux 6.1,
/// arch/arm64/kernel/setup.c, dump_kernel_offset).
const OFFSET: &str = "Kernel Offset: 0x";
/// The symbols at the beginning and the end of a kernel's image (Linux 6.1,
/// include/asm-generic/sections.h).
const BEGIN: &str = "_text";
const END: &str = "_end";

/// Addresses of a crash, without `0x`, each with its `function+0xoffset/0xsize`.
pub type Names = BTreeMap<String, String>;

/// The symbols of a kernel's image, from its `System.map`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symbols {
    /// The names by address. If several share one, the first counts.
    names: BTreeMap<u64, String>,
    end: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SymbolsError {
    #[error("line {0} is none of a System.map: address, type and name are expected")]
    Line(usize),
    #[error("no `{0}`, which every System.map has; Debian's packages have a stub in its place")]
    Missing(&'static str),
}

impl Symbols {
    /// Parses a `System.map`, the output of nm: `ffff800008000000 T _text`.
    ///
    /// # Errors
    /// Fails on any other kind of line, and without `_text` and `_end`.
    pub fn parse(text: &str) -> Result<Self, SymbolsError> {
        let (mut names, mut bounds) = (BTreeMap::new(), BTreeMap::new());
        for (at, line) in text.lines().enumerate() {
            // Text after the name is ignored: Debian's stub has prose there, and a copy of
            // /proc/kallsyms the module.
            let mut words = line.split_whitespace();
            let (address, name) = words
                .next()
                .and_then(|digits| u64::from_str_radix(digits, 16).ok())
                .zip(words.nth(1))
                .ok_or(SymbolsError::Line(at + 1))?;
            if [BEGIN, END].contains(&name) {
                bounds.insert(name, address);
            }
            // `$x` and `$d` mark code and data (ELF for the Arm architecture, "Mapping symbols").
            if !name.starts_with('$') {
                names.entry(address).or_insert_with(|| name.to_owned());
            }
        }
        let bound = |name| bounds.get(name).copied().ok_or(SymbolsError::Missing(name));
        let (begin, end) = (bound(BEGIN)?, bound(END)?);
        names.retain(|address, _| (begin..=end).contains(address));
        Ok(Self { names, end })
    }

    /// Returns the symbol that an address of the linked image lies in, its offset there, and its
    /// size.
    fn at(&self, address: u64) -> Option<(&str, u64, u64)> {
        let (start, name) = self.names.range(..=address).next_back()?;
        let next = self.names.range(start + 1..).next().map_or(self.end, |(next, _)| *next);
        (address < next).then(|| (name.as_str(), address - start, next - start))
    }

    /// Returns names for the addresses in the lines of a crash. Addresses outside of the image get
    /// none. With KASLR these are all addresses, unless the crash has the offset.
    pub fn names(&self, lines: &[String]) -> Names {
        let offset = lines.iter().find_map(|line| offset(line)).unwrap_or(0);
        let addresses = lines.iter().flat_map(|line| addresses(line)).map(|(_, digits)| digits);
        addresses
            .filter_map(|digits| {
                let address = u64::from_str_radix(digits, 16).ok()?.checked_sub(offset)?;
                let (name, inside, size) = self.at(address)?;
                Some((digits.to_owned(), format!("{name}+{inside:#x}/{size:#x}")))
            })
            .collect()
    }
}

/// Returns the line with a name in place of each address that has one.
pub fn named(line: &str, names: &Names) -> String {
    let (mut out, mut done) = (String::new(), 0);
    for (at, digits) in addresses(line) {
        let Some(name) = names.get(digits) else { continue };
        let before = line.get(done..at).unwrap_or_default();
        // The kernel prints names without `0x`.
        out.push_str(before.strip_suffix("0x").unwrap_or(before));
        out.push_str(name);
        done = at + digits.len();
    }
    out.push_str(line.get(done..).unwrap_or_default());
    out
}

fn offset(line: &str) -> Option<u64> {
    let digits = message(line).strip_prefix(OFFSET)?.split(' ').next()?;
    u64::from_str_radix(digits, 16).ok()
}

/// Yields the addresses of a line and the positions of their digits. An address in brackets has its
/// name behind it, `[<address>] function+offset`; a kernel without symbols repeats the address
/// there.
fn addresses(line: &str) -> impl Iterator<Item = (usize, &str)> {
    let bytes = line.as_bytes();
    let word = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let begins = (0..bytes.len()).filter(move |at| {
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        !word(before) || bytes.get(at.wrapping_sub(2)..*at) == Some(b"0x")
    });
    begins.filter_map(move |at| {
        let digits = line.get(at..at + DIGITS)?;
        let bracketed = line.get(..at).is_some_and(|before| before.ends_with("[<"));
        let whole = digits.bytes().all(|byte| byte.is_ascii_hexdigit()) && !word(bytes.get(at + DIGITS));
        (whole && !bracketed).then_some((at, digits))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crash::Crash;
    use proptest::prelude::*;

    const MAP: &str = "0000000000000000 A _kernel_flags_le_lo32\nffff800008000000 T _text\nffff800008000000 t $x\n\
        ffff800008010000 T __kvm_nvhe_handle_trap\nffff800008010040 t f.isra.0\nffff800008010080 D g\n\
        ffff800008100000 B _end\nffff8000ffffffff A beyond\n";

    fn symbols() -> Symbols {
        Symbols::parse(MAP).unwrap()
    }

    fn with_names(lines: &[&str]) -> Vec<String> {
        let lines: Vec<_> = lines.iter().map(|line| (*line).to_owned()).collect();
        let names = symbols().names(&lines);
        lines.iter().map(|line| named(line, &names)).collect()
    }

    #[test]
    fn a_kernel_without_names_gets_them() {
        let lines = [
            "[    5.4] Internal error: Oops: 96000044 [#1] SMP",
            "[    5.4] pc : 0xffff800008010044",
            "[    5.4] lr : 0xffff800008010080",
            "[    5.4] x29: ffff800008010040 x28: ffff00000800c000",
            "[    5.4] Call trace:",
            "[    5.4]  0xffff800008010044",
            "[    5.4]  0xffff800008010010 (P)",
            "[    5.4]  0xffff800078010010",
        ];
        let shown = with_names(&lines);
        assert_eq!(shown[1], "[    5.4] pc : f.isra.0+0x4/0x40");
        assert_eq!(shown[2], "[    5.4] lr : g+0x0/0xeff80");
        assert_eq!(shown[6], "[    5.4]  __kvm_nvhe_handle_trap+0x10/0x40 (P)");
        assert_eq!(shown[7], lines[7], "no address of the image");
        assert_eq!(Crash::of(&shown).unwrap().fingerprint(), "oops in f < __kvm_nvhe_handle_trap");
    }

    #[test]
    fn a_hyp_panic_keeps_its_address() {
        let line = "kvm [1]: nVHE hyp panic at: [<ffff800008010010>] ffff800008010010!";
        let expected = "kvm [1]: nVHE hyp panic at: [<ffff800008010010>] __kvm_nvhe_handle_trap+0x10/0x40!";
        assert_eq!(with_names(&[line]), [expected]);
        let with_name = "kvm [1]: nVHE hyp panic at: [<ffff800008010010>] __kvm_nvhe_handle_trap+0x10/0x40!";
        assert_eq!(with_names(&[with_name]), [with_name]);
    }

    #[test]
    fn a_kernel_that_was_moved_is_moved_back() {
        let lines = ["pc : 0xffffa00008010044", "Kernel Offset: 0x200000000000 from 0xffff800008000000"];
        assert_eq!(with_names(&lines)[0], "pc : f.isra.0+0x4/0x40");
        assert_eq!(with_names(&lines[..1])[0], lines[0], "by how far is not known");
    }

    #[test]
    fn digits_that_are_part_of_something_else_are_no_address() {
        for line in ["sha ffff800008010044ffff800008010044", "ffff800008010044x", "_ffff80000801004", "é"] {
            assert_eq!(with_names(&[line]), [line]);
        }
    }

    #[test]
    fn what_is_no_map_is_refused() {
        let stub = "ffffffffffffffff B The real System.map is in the linux-image-<version>-dbg package\n";
        assert_eq!(Symbols::parse(stub), Err(SymbolsError::Missing("_text")));
        assert_eq!(Symbols::parse("ffff800008000000 T _text\nelf\n"), Err(SymbolsError::Line(2)));
        assert_eq!(Symbols::parse(""), Err(SymbolsError::Missing("_text")));
    }

    proptest! {
        #[test]
        fn hostile_text_is_survived(
            map in "([0-9a-f]{0,17} [A-Za-z]? ?(_text|_end|[a-z]{0,3})?\n){0,9}",
            line in "(0x|\\[<)?(ffff8000080100[0-9a-f]{2}|é|[ x]){0,4}",
        ) {
            let lines = [line];
            for symbols in Symbols::parse(&map).into_iter().chain([symbols()]) {
                let names = symbols.names(&lines);
                let shown = named(&lines[0], &names);
                prop_assert!(names.is_empty() == (shown == lines[0]));
            }
        }
    }
}
