//! Static programs for arm64 Linux, assembled here: they stand for those that a user has built.

/// The end of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It exits with this code.
    Exit(u16),
    /// It sends this signal to itself.
    Signal(u16),
    /// It waits for ever.
    Hang,
    /// It writes its text again and again.
    Flood,
}

/// The address of the file's first byte.
const BASE: u64 = 0x40_0000;
/// The bytes of the ELF header and of one program header (ELF-64 object file format, version 1.5).
const HEADERS: u64 = 64 + 56;
/// The numbers of system calls (Linux include/uapi/asm-generic/unistd.h).
const WRITE: u32 = 64;
const PPOLL: u32 = 73;
const EXIT_GROUP: u32 = 94;
const KILL: u32 = 129;
const GETPID: u32 = 172;
/// `svc #0`.
const SVC: u32 = 0xd400_0001;
/// The number of instructions that write the text.
const OF_WRITE: u32 = 6;

/// Returns a program that writes `text` to its stdout, and then ends like this.
pub fn program(text: &str, end: End) -> Vec<u8> {
    let rest = match end {
        End::Exit(code) => vec![mov(0, code.into()), mov(8, EXIT_GROUP), SVC],
        // The number of the process is in x0 then.
        End::Signal(number) => {
            vec![mov(8, GETPID), SVC, mov(1, number.into()), mov(8, KILL), SVC, branch(-1)]
        }
        End::Hang => {
            let nothing = (0..5).map(|register| mov(register, 0));
            nothing.chain([mov(8, PPOLL), SVC, branch(-1)]).collect()
        }
        End::Flood => vec![branch(-i32::try_from(OF_WRITE).unwrap_or_default())],
    };
    let code = 4 * (OF_WRITE + u32::try_from(rest.len()).unwrap_or_default());
    let length = u32::try_from(text.len()).unwrap_or_default();
    let write = [
        mov(0, 1),
        // From this instruction, the second, to the text behind the code.
        adr(1, code - 4),
        mov(2, length & 0xffff),
        movk(2, length >> 16),
        mov(8, WRITE),
        SVC,
    ];
    let size = HEADERS + u64::from(code) + u64::from(length);
    let code = write.into_iter().chain(rest).flat_map(u32::to_le_bytes);
    headers(size).into_iter().chain(code).chain(text.bytes()).collect()
}

/// `movz`, with a number of 16 bits.
fn mov(register: u32, number: u32) -> u32 {
    0xd280_0000 | (number & 0xffff) << 5 | register
}

/// `movk`, with the upper 16 bits of 32.
fn movk(register: u32, number: u32) -> u32 {
    0xf2a0_0000 | (number & 0xffff) << 5 | register
}

/// `adr`, with an offset that is a multiple of 4.
fn adr(register: u32, offset: u32) -> u32 {
    0x1000_0000 | (offset >> 2 & 0x7_ffff) << 5 | register
}

/// `b`, by so many instructions.
fn branch(by: i32) -> u32 {
    0x1400_0000 | (by.cast_unsigned() & 0x3ff_ffff)
}

/// Returns the headers of a file of `size` bytes, all of which are loaded and may be executed.
fn headers(size: u64) -> Vec<u8> {
    // 64 bits, little endian, version 1.
    let ident = [0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let halves = |halves: &[u16]| halves.iter().flat_map(|half| half.to_le_bytes()).collect::<Vec<_>>();
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
    let longs = |longs: &[u64]| longs.iter().flat_map(|long| long.to_le_bytes()).collect::<Vec<_>>();
    [
        ident.to_vec(),
        // ET_EXEC, EM_AARCH64.
        halves(&[2, 183]),
        words(&[1]),
        // The entry, the program header, no section header.
        longs(&[BASE + HEADERS, 64, 0]),
        words(&[0]),
        // The sizes of headers, and their numbers.
        halves(&[64, 56, 1, 64, 0, 0]),
        // PT_LOAD, readable and executable.
        words(&[1, 5]),
        longs(&[0, BASE, BASE, size, size, 0x1_0000]),
    ]
    .concat()
}
