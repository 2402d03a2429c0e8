//! Frames that are not as they should be: one wrong behaviour a row.

use crate::script::Bend;
use s2lab_protocol::{Body, Frame};

/// A frame as it goes into the channel.
pub(super) struct Sent {
    pub(super) bytes: Vec<u8>,
    /// The channel ends after the bytes.
    pub(super) close: bool,
}

/// Change of a frame.
pub(super) enum Change<'a> {
    /// Before it is encoded.
    Frame(Box<dyn FnOnce(&mut Frame) + 'a>),
    /// After it is encoded.
    Sent(Box<dyn FnOnce(&mut Sent) + 'a>),
}

impl Bend {
    pub(super) fn change(&self) -> Change<'_> {
        match self {
            Bend::Version(version) => frame(|frame| frame.version = *version),
            Bend::Nonce => frame(|frame| frame.nonce ^= 1),
            Bend::From(peer) => frame(|frame| frame.from = peer.clone()),
            Bend::To(peer) => frame(|frame| frame.to = peer.clone()),
            Bend::Skip(by) => frame(move |frame| frame.seq += by),
            Bend::Id(by) => frame(move |frame| {
                if let Body::Reply { id, .. } = &mut frame.body {
                    *id += by;
                }
            }),
            Bend::Twice => sent(|sent| sent.bytes = sent.bytes.repeat(2)),
            Bend::Half => sent(|sent| sent.bytes.truncate(sent.bytes.len() / 2)),
            Bend::Torn => sent(|sent| {
                sent.bytes.truncate(sent.bytes.len() / 2);
                sent.close = true;
            }),
            Bend::Checksum => sent(|sent| sent.bytes[8] ^= 1),
            Bend::Length(length) => sent(|sent| sent.bytes[4..8].copy_from_slice(&length.to_le_bytes())),
            Bend::Payload(text) => sent(|sent| sent.bytes = enveloped(text.as_bytes())),
        }
    }
}

fn frame<'a>(change: impl FnOnce(&mut Frame) + 'a) -> Change<'a> {
    Change::Frame(Box::new(change))
}

fn sent<'a>(change: impl FnOnce(&mut Sent) + 'a) -> Change<'a> {
    Change::Sent(Box::new(change))
}

/// Returns a payload with a header that fits it.
fn enveloped(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let sum = crc32(payload);
    [&b"S2LF"[..], &length.to_le_bytes(), &sum.to_le_bytes(), payload].concat()
}

/// Returns the CRC-32 as zlib has it.
fn crc32(bytes: &[u8]) -> u32 {
    let round = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), round))
}
