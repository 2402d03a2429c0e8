//! The frame: how a message travels on a byte stream.
//!
//! `magic "S2LF"`, payload length and CRC-32 of the payload (both u32, little endian), then the
//! payload: a [`Frame`] as JSON. There is no resynchronisation: a stream that breaks the format
//! once is not believed again.

use crate::Body;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The version as a text at compile time.
macro_rules! version {
    () => {
        8
    };
}
macro_rules! mark {
    () => {
        "s2lab-agent, protocol version "
    };
}

/// The version of the protocol. Both sides must agree exactly.
pub const VERSION: u16 = version!();
/// The mark in an agent's program, which shows its version before it runs: [`version_in`].
pub const MARK: &str = concat!(mark!(), version!(), ".");
/// The text around the version in [`MARK`].
const AROUND: (&str, char) = (mark!(), '.');
/// The longest payload in bytes. A longer one is refused before it is read.
pub const MAX_PAYLOAD: usize = 256 * 1024;
const MAGIC: [u8; 4] = *b"S2LF";
const HEADER: usize = 12;

/// Returns the version of the protocol of the agent whose program is `program`, or None if it is
/// not an agent.
pub fn version_in(program: &[u8]) -> Option<u16> {
    let (before, after) = AROUND;
    program.windows(before.len()).enumerate().filter(|(_, bytes)| *bytes == before.as_bytes()).find_map(
        |(at, _)| {
            // No number is longer.
            let rest = program.get(at + before.len()..)?.iter().take(6).map(|byte| char::from(*byte));
            rest.collect::<String>().split_once(after)?.0.parse().ok()
        },
    )
}

/// A sender or receiver of frames.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    Lab,
    Host,
    Guest(String),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Lab => f.write_str("lab"),
            Peer::Host => f.write_str("host"),
            Peer::Guest(name) => write!(f, "guest {name}"),
        }
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frame {
    pub version: u16,
    /// The cell's nonce. A frame of another run is refused.
    pub nonce: u64,
    /// The number of the sender's frame, from 0 without a gap.
    pub seq: u64,
    pub from: Peer,
    pub to: Peer,
    pub body: Body,
}

/// The reason why a byte stream is not a stream of frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FrameError {
    Magic([u8; 4]),
    TooLong(usize),
    Checksum { expected: u32, found: u32 },
    Json(String),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Magic(found) => write!(f, "no frame starts here: {found:02x?}"),
            FrameError::TooLong(n) => write!(f, "a frame of {n} bytes; at most {MAX_PAYLOAD} are allowed"),
            FrameError::Checksum { expected, found } => {
                write!(f, "frame damaged: CRC-32 {found:#010x}, expected {expected:#010x}")
            }
            FrameError::Json(why) => write!(f, "frame is not what the protocol says: {why}"),
        }
    }
}

impl std::error::Error for FrameError {}

/// Returns the bytes of a frame. Fails if the payload is longer than [`MAX_PAYLOAD`].
pub fn encode(frame: &Frame) -> Result<Vec<u8>, FrameError> {
    let payload = serde_json::to_vec(frame).map_err(|e| FrameError::Json(e.to_string()))?;
    if payload.len() > MAX_PAYLOAD {
        return Err(FrameError::TooLong(payload.len()));
    }
    let length = u32::try_from(payload.len()).map_err(|_| FrameError::TooLong(payload.len()))?;
    let mut out = Vec::with_capacity(HEADER + payload.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&crc32(&payload).to_le_bytes());
    out.extend_from_slice(&payload);
    Ok(out)
}

/// A decoder that splits a byte stream into frames. It contains at most one frame and the last
/// pushed bytes.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    broken: Option<FrameError>,
}

impl Decoder {
    pub fn push(&mut self, bytes: &[u8]) {
        if self.broken.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Returns the next whole frame, or None if it needs more bytes. After an error it always
    /// returns the same error.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        self.take().inspect_err(|error| {
            self.broken = Some(error.clone());
            self.buffer = Vec::new();
        })
    }

    /// Returns the bytes of an unfinished frame. If they are not zero at the end of a stream, the
    /// stream was torn.
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    fn take(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some((header, rest)) = self.buffer.split_first_chunk::<HEADER>() else { return Ok(None) };
        let [m0, m1, m2, m3, l0, l1, l2, l3, c0, c1, c2, c3] = *header;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(FrameError::Magic([m0, m1, m2, m3]));
        }
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if length > MAX_PAYLOAD {
            return Err(FrameError::TooLong(length));
        }
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        let (expected, found) = (u32::from_le_bytes([c0, c1, c2, c3]), crc32(payload));
        if expected != found {
            return Err(FrameError::Checksum { expected, found });
        }
        let frame = serde_json::from_slice(payload).map_err(|e| FrameError::Json(e.to_string()))?;
        self.buffer.drain(..HEADER + length);
        Ok(Some(frame))
    }
}

/// Returns the CRC-32 (IEEE 802.3, reflected, like zlib).
fn crc32(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0xedb8_8320;
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| (c >> 1) ^ (POLYNOMIAL & 0u32.wrapping_sub(c & 1)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Notice,
        ask::{Ask, Hold},
    };
    use proptest::prelude::*;

    #[test]
    fn an_agents_program_tells_its_version() {
        assert_eq!(version_in(MARK.as_bytes()), Some(VERSION));
        let found = |text: &str| version_in(text.as_bytes());
        assert_eq!(
            found("\0s2lab-agent, protocol version \0s2lab-agent, protocol version 65535.\0"),
            Some(u16::MAX)
        );
        for none in ["", "s2lab-agent, protocol version ", "s2lab-agent, protocol version 65536.", &MARK[1..]]
        {
            assert_eq!(found(none), None, "{none}");
        }
    }

    fn frame(seq: u64, body: Body) -> Frame {
        Frame { version: VERSION, nonce: 7, seq, from: Peer::Lab, to: Peer::Guest("g0".into()), body }
    }

    #[test]
    fn crc_of_the_check_string() {
        // The check value of CRC-32/ISO-HDLC in the catalogue of parametrised CRC algorithms.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn frames_survive_any_cut() {
        let frames: Vec<_> = (0..3)
            .map(|n| {
                frame(n, Body::Request { id: n, request: Hold { nonce: u64::MAX - n }.request().into() })
            })
            .collect();
        let bytes: Vec<u8> = frames.iter().flat_map(|f| encode(f).unwrap()).collect();
        for chunk in 1..40 {
            let (mut decoder, mut seen) = (Decoder::default(), vec![]);
            for piece in bytes.chunks(chunk) {
                decoder.push(piece);
                while let Some(f) = decoder.next_frame().unwrap() {
                    seen.push(f);
                }
            }
            assert_eq!((seen, decoder.pending()), (frames.clone(), 0), "cut into {chunk}");
        }
    }

    #[test]
    fn a_flipped_bit_is_seen_and_final() {
        let mut bytes =
            encode(&frame(0, Body::Notice(Notice::Heartbeat { uptime_ms: 1, stored: 0 }))).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        assert!(matches!(decoder.next_frame(), Err(FrameError::Checksum { .. })));
        decoder
            .push(&encode(&frame(1, Body::Notice(Notice::Heartbeat { uptime_ms: 2, stored: 0 }))).unwrap());
        assert!(
            matches!(decoder.next_frame(), Err(FrameError::Checksum { .. })),
            "no frame after a damaged one"
        );
    }

    #[test]
    fn a_frame_that_claims_too_much_is_refused_from_its_header() {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&u32::MAX.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        assert_eq!(decoder.next_frame(), Err(FrameError::TooLong(u32::MAX as usize)));
    }

    #[test]
    fn a_payload_over_the_limit_is_not_sent() {
        let text = "x".repeat(MAX_PAYLOAD);
        assert!(matches!(encode(&frame(0, Body::Notice(Notice::Log { text }))), Err(FrameError::TooLong(_))));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic_or_loop(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let mut decoder = Decoder::default();
            decoder.push(&MAGIC);
            decoder.push(&bytes);
            for _ in 0..=bytes.len() {
                match decoder.next_frame() { Ok(Some(_)) => {}, _ => break }
            }
        }
    }
}
