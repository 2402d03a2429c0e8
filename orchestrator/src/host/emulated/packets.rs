//! Packets of GDB's remote protocol, for both sides (GDB's manual, "Remote Protocol", Overview).

use std::io;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// The longest packet, in bytes as sent. QEMU's own limit is 4 KiB.
pub(super) const MAX_PACKET: usize = 64 * 1024;
/// The byte by which a client stops a running machine.
const INTERRUPT: u8 = 3;
/// The digits of a checksum.
const CHECKSUM: usize = 2;

#[derive(Debug, thiserror::Error)]
pub enum PacketError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("a packet is longer than {MAX_PACKET} bytes")]
    TooLong,
}

/// Input from the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Input {
    /// The text between `$` and `#`, as sent: with its escapes and run lengths.
    Packet(Vec<u8>),
    Interrupt,
}

/// A connection that carries packets. Every call but [`Packets::send`] may be dropped before its
/// end, and loses nothing.
pub(super) struct Packets {
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    /// The bytes that do not make a whole packet yet.
    buffer: Vec<u8>,
}

impl Packets {
    pub(super) fn new(stream: UnixStream) -> Self {
        let (read, write) = stream.into_split();
        Self { read, write, buffer: vec![] }
    }

    pub(super) async fn send(&mut self, packet: &[u8]) -> Result<(), PacketError> {
        let sum = packet.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        let mut text = vec![b'$'];
        text.extend_from_slice(packet);
        text.extend_from_slice(format!("#{sum:02x}").as_bytes());
        Ok(self.write.write_all(&text).await?)
    }

    pub(super) async fn interrupt(&mut self) -> Result<(), PacketError> {
        Ok(self.write.write_all(&[INTERRUPT]).await?)
    }

    /// Returns the next packet, and skips an interrupt.
    pub(super) async fn packet(&mut self) -> Result<Vec<u8>, PacketError> {
        loop {
            if let Input::Packet(packet) = self.next().await? {
                return Ok(packet);
            }
        }
    }

    /// Returns the next packet or interrupt, and acknowledges a packet.
    pub(super) async fn next(&mut self) -> Result<Input, PacketError> {
        loop {
            let (input, used) = first(&self.buffer);
            self.buffer.drain(..used);
            match input {
                Some(input @ Input::Packet(_)) => {
                    // There is room for a byte, or nobody reads; then the rest of the exchange
                    // fails.
                    let _ = self.write.try_write(b"+");
                    return Ok(input);
                }
                Some(input) => return Ok(input),
                None if self.buffer.len() > MAX_PACKET => return Err(PacketError::TooLong),
                None => {}
            }
            if self.read.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }
}

/// Returns the first complete item in the buffer, and the length of it and of the text before it. A
/// unix socket loses and changes nothing, so acknowledgements and checksums are skipped.
fn first(bytes: &[u8]) -> (Option<Input>, usize) {
    let Some(begin) = bytes.iter().position(|byte| [b'$', INTERRUPT].contains(byte)) else {
        return (None, bytes.len());
    };
    let rest = bytes.get(begin + 1..).unwrap_or_default();
    if bytes.get(begin) == Some(&INTERRUPT) {
        return (Some(Input::Interrupt), begin + 1);
    }
    match rest.iter().position(|byte| *byte == b'#') {
        Some(end) if rest.len() > end + CHECKSUM => {
            let packet = rest.get(..end).unwrap_or_default().to_vec();
            (Some(Input::Packet(packet)), begin + 1 + end + 1 + CHECKSUM)
        }
        _ => (None, begin),
    }
}

/// Returns a packet with its escapes and run lengths decoded.
pub(super) fn plain(packet: &[u8]) -> Result<Vec<u8>, PacketError> {
    let mut plain: Vec<u8> = vec![];
    let mut bytes = packet.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'}' => plain.extend(bytes.next().map(|byte| byte ^ 0x20)),
            b'*' => {
                let repeat = bytes.next().map_or(0, |count| usize::from(count.saturating_sub(29)));
                let last = plain.last().copied().unwrap_or_default();
                plain.extend(std::iter::repeat_n(last, repeat));
            }
            byte => plain.push(*byte),
        }
        if plain.len() > MAX_PACKET {
            return Err(PacketError::TooLong);
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn whatever_is_cut_is_whole_in_the_end() {
        let sent = b"+$OK#9a+\x03$vCont;c#a8$}\x03*\"#00";
        let whole = [
            Input::Packet(b"OK".into()),
            Input::Interrupt,
            Input::Packet(b"vCont;c".into()),
            Input::Packet(b"}\x03*\"".into()),
        ];
        for cut in 0..sent.len() {
            let (mut found, mut buffer) = (vec![], vec![]);
            for piece in [&sent[..cut], &sent[cut..]] {
                buffer.extend_from_slice(piece);
                loop {
                    let (input, used) = first(&buffer);
                    buffer.drain(..used);
                    match input {
                        Some(input) => found.push(input),
                        None => break,
                    }
                }
            }
            assert_eq!(found, whole, "cut at {cut}");
        }
        assert_eq!(plain(b"}\x03*\"").unwrap(), b"######");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (input, used) = first(&bytes);
            prop_assert!(used <= bytes.len());
            if let Some(Input::Packet(packet)) = input {
                prop_assert!(plain(&packet).unwrap().len() <= packet.len() * 230);
            }
        }
    }
}
