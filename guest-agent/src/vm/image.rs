//! The pages of this program, which the VM executes.

use crate::fault;
use crate::root::Root;
use s2lab_protocol::Failure;

/// A mapped part of the program: code, constants or variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) write: bool,
    pub(super) execute: bool,
}

impl Segment {
    pub(super) fn size(&self) -> u64 {
        self.end - self.start
    }

    /// Returns the bytes of the segment at this moment.
    ///
    /// # Safety
    /// It is a readable part of this process, which does not change while the bytes are used.
    pub(super) unsafe fn bytes(&self) -> &'static [u8] {
        // SAFETY: the caller's.
        unsafe { std::slice::from_raw_parts(self.start as *const u8, self.size() as usize) }
    }
}

/// Returns the segments of this process's program.
pub(super) fn own(root: &Root) -> Result<Vec<Segment>, Failure> {
    let failed = |what: &str, why: std::io::Error| fault::system("read", what, why);
    let program =
        std::fs::read_link(root.path("proc/self/exe")).map_err(|why| failed("proc/self/exe", why))?;
    let maps = root.read("proc/self/maps").map_err(|why| failed("proc/self/maps", why))?;
    let found = segments(&maps, &program.to_string_lossy());
    match found.iter().any(|segment| segment.execute) {
        true => Ok(found),
        false => Err(fault::invalid(format_args!("proc/self/maps shows no code of {}", program.display()))),
    }
}

/// Returns the readable segments of `program` in the text of `/proc/self/maps`, and the pages
/// without a file that follow one: its zeroed variables.
///
/// A line is `start-end perms offset dev inode path` (Linux fs/proc/task_mmu.c, show_map_vma).
fn segments(maps: &str, program: &str) -> Vec<Segment> {
    let mut found: Vec<Segment> = vec![];
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, permissions) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let path = words.nth(3);
        let hexadecimal = |text| u64::from_str_radix(text, 16).ok();
        let range =
            range.split_once('-').and_then(|(start, end)| Some((hexadecimal(start)?, hexadecimal(end)?)));
        let Some((start, end)) = range else { continue };
        let follows = found.last().is_some_and(|last| last.end == start);
        if start < end
            && permissions.starts_with('r')
            && (path == Some(program) || (path.is_none() && follows))
        {
            let [write, execute] = ["w", "x"].map(|letter| permissions.contains(letter));
            found.push(Segment { start, end, write, execute });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn code_constants_and_variables_are_found() {
        let maps = "00400000-00500000 r-xp 00000000 00:01 7                          /init\n\
                    00510000-00520000 rw-p 00100000 00:01 7                          /init\n\
                    00520000-00524000 rw-p 00000000 00:00 0 \n\
                    00524000-00525000 ---p 00000000 00:00 0 \n\
                    3b1f0000-3b212000 rw-p 00000000 00:00 0                          [heap]\n\
                    ffff8000-ffff9000 rw-p 00000000 00:00 0 \n\
                    nonsense\n\
                    ffffa000-ffffb000 r-xp 00000000 00:00 0                          [vdso]\n";
        let segment = |start, end, write, execute| Segment { start, end, write, execute };
        let expected = [
            segment(0x40_0000, 0x50_0000, false, true),
            segment(0x51_0000, 0x52_0000, true, false),
            segment(0x52_0000, 0x52_4000, true, false),
        ];
        assert_eq!(segments(maps, "/init"), expected);
        assert_eq!(segments(maps, "/bin/init"), []);
    }

    #[test]
    fn this_programs_code_is_found() {
        let here = this_programs_code_is_found as *const () as u64;
        let found = own(&Root::machine()).unwrap();
        assert!(found.iter().any(|of| of.execute && (of.start..of.end).contains(&here)), "{found:x?}");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*|([0-9a-f]{1,17}-[0-9a-f]{1,17} r-xp 0 0 0 x\n){0,3}") {
            let _ = segments(&text, "x");
        }
    }
}
