//! The Ethernet frames between a virtual function and the interface of its physical function: a header, and words of
//! a pattern (see [`crate::pattern`]).

use crate::pattern;

/// A hardware address.
pub type HardwareAddress = [u8; 6];

/// The address of the physical function. It is administered locally.
pub const HOST_ADDRESS: HardwareAddress = [0x02, b's', b'2', b'l', b'a', b'h'];
/// The address that a guest gives its virtual function.
pub const GUEST_ADDRESS: HardwareAddress = [0x02, b's', b'2', b'l', b'a', b'g'];
/// The EtherType of the frames, for local experiments (IEEE 802, Local Experimental EtherType 1).
pub const FRAME_TYPE: u16 = 0x88b5;
/// Bytes of the header: both addresses, the EtherType, and the number of the frame.
pub const FRAME_HEADER: usize = 16;
/// Bytes of the pattern in a frame.
pub const FRAME_DATA: u64 = 1024;
/// Bytes of a frame, without its checksum.
pub const FRAME_LENGTH: usize = FRAME_HEADER + FRAME_DATA as usize;
/// The most frames of one request: the rings of both sides have room for them.
pub const MOST_FRAMES: u16 = 64;

const WORD: usize = size_of::<u64>();
const TYPE_AT: usize = 12;
const NUMBER_AT: usize = 14;

/// Fills a frame: the one with this number of a pattern.
pub fn fill_frame(
    frame: &mut [u8; FRAME_LENGTH],
    from: HardwareAddress,
    to: HardwareAddress,
    number: u16,
    seed: u64,
) {
    let (header, data) = frame.split_at_mut(FRAME_HEADER);
    let fields = to.into_iter().chain(from).chain(FRAME_TYPE.to_be_bytes()).chain(number.to_be_bytes());
    for (byte, value) in header.iter_mut().zip(fields) {
        *byte = value;
    }
    for (word, offset) in data.chunks_exact_mut(WORD).zip((start(number)..).step_by(WORD)) {
        word.copy_from_slice(&pattern(seed, offset).to_le_bytes());
    }
}

/// Returns true for a frame of this kind, whatever its data are.
pub fn is_frame(frame: &[u8]) -> bool {
    frame.len() >= FRAME_HEADER && frame[TYPE_AT..NUMBER_AT] == FRAME_TYPE.to_be_bytes()
}

/// Returns the offset, in the whole pattern, of the first word of a frame that differs from the frame with this
/// number. All of a frame differs that has another number, other addresses or another length.
pub fn frame_difference(
    frame: &[u8],
    from: HardwareAddress,
    to: HardwareAddress,
    number: u16,
    seed: u64,
) -> Option<u64> {
    let (header, data) = frame.split_at_checked(FRAME_HEADER).unwrap_or_default();
    let is_it = data.len() as u64 == FRAME_DATA
        && header.starts_with(&to)
        && header[to.len()..TYPE_AT] == from
        && header[NUMBER_AT..] == number.to_be_bytes();
    if !is_it {
        return Some(start(number));
    }
    let mut words = data.chunks_exact(WORD).zip((start(number)..).step_by(WORD));
    words.find(|(word, offset)| **word != pattern(seed, *offset).to_le_bytes()).map(|(_, offset)| offset)
}

/// Returns the offset in the pattern of the first word of a frame.
pub fn start(number: u16) -> u64 {
    u64::from(number) * FRAME_DATA
}

/// Returns the number of frames of so many bytes, or None if they do not fit a request.
pub fn frames_of(bytes: u64) -> Option<u16> {
    let frames = u16::try_from(bytes / FRAME_DATA).ok()?;
    (bytes % FRAME_DATA == 0 && (1..=MOST_FRAMES).contains(&frames)).then_some(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_the_one_that_was_filled() {
        let mut frame = [0; FRAME_LENGTH];
        fill_frame(&mut frame, GUEST_ADDRESS, HOST_ADDRESS, 3, 5);
        assert!(is_frame(&frame) && frame.starts_with(&HOST_ADDRESS) && frame[15] == 3);
        assert_eq!(frame[FRAME_LENGTH - 8..], pattern(5, 4 * FRAME_DATA - 8).to_le_bytes());
        let difference =
            |frame: &[u8], number| frame_difference(frame, GUEST_ADDRESS, HOST_ADDRESS, number, 5);
        assert_eq!(difference(&frame, 3), None);
        assert_eq!(difference(&frame, 4), Some(4 * FRAME_DATA), "another number");
        assert_eq!(difference(&frame[..FRAME_LENGTH - 8], 3), Some(3 * FRAME_DATA), "shorter");
        assert_eq!(difference(&frame[..9], 3), Some(3 * FRAME_DATA));
        assert_eq!(frame_difference(&frame, HOST_ADDRESS, GUEST_ADDRESS, 3, 5), Some(3 * FRAME_DATA));
        assert_eq!(frame_difference(&frame, GUEST_ADDRESS, HOST_ADDRESS, 3, 6), Some(3 * FRAME_DATA));
        frame[FRAME_HEADER + 17] ^= 1;
        assert_eq!(difference(&frame, 3), Some(3 * FRAME_DATA + 16));
        frame[TYPE_AT] = 0x08;
        assert!(!is_frame(&frame) && !is_frame(&frame[..12]));
    }

    #[test]
    fn a_request_has_whole_frames() {
        let of = [0, 1, 1024, 65536, 66560, 1536].map(frames_of);
        assert_eq!(of, [None, None, Some(1), Some(64), None, None]);
    }
}
