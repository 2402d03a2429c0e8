//! Frames: any bytes, and any valid frames. A checksum keeps a fuzzer out of the second kind, so
//! the target also makes frames from lines of JSON.

use crate::channels;
use s2lab::host::{
    ending::Ending,
    link::{AgentNotice, Link},
};
use s2lab_protocol::{Decoder, Frame, FrameError, Peer, encode};
use std::time::Duration;
use tokio::sync::mpsc;

/// The deadline of a stream that has ended, which needs no wait.
const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) fn take(data: &[u8]) {
    let whole = decode(data, data.len().max(1));
    assert_eq!(whole, decode(data, 1), "how a stream is cut makes no difference");
    let lines = data.split(|byte| *byte == b'\n');
    let frames: Vec<Frame> =
        lines.filter_map(|line| serde_json::from_slice(line).ok()).filter(is_stable).collect();
    let encoded: Vec<_> = frames.iter().map(encode).collect();
    // A string may be longer after encoding.
    let Ok(bytes) = encoded.into_iter().collect::<Result<Vec<_>, FrameError>>() else { return };
    let bytes = bytes.concat();
    assert_eq!(decode(&bytes, 7), (frames.clone(), None), "a frame comes back as it went");
    let Some(first) = frames.first() else { return };
    listen(&bytes, first.nonce);
}

/// Returns true if JSON keeps the frame. Without its feature `float_roundtrip`, serde_json may change the
/// last digit of a number with a fraction. The protocol has no such number, but a reply may hold any JSON.
fn is_stable(frame: &Frame) -> bool {
    let again = serde_json::to_vec(frame).and_then(|text| serde_json::from_slice::<Frame>(&text));
    again.is_ok_and(|again| again == *frame)
}

/// Returns all frames of a stream that comes in pieces of `piece` bytes, and the error that ended
/// it.
fn decode(data: &[u8], piece: usize) -> (Vec<Frame>, Option<FrameError>) {
    let (mut decoder, mut frames) = (Decoder::default(), vec![]);
    for piece in data.chunks(piece) {
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

/// Runs s2lab's own end of the link on the bytes.
fn listen(bytes: &[u8], nonce: u64) {
    channels::run(bytes, |stream| async move {
        let (heard, mut hearing) = mpsc::channel::<AgentNotice>(1);
        let mut link = Link::start(stream, nonce, heard, Ending::unknown());
        link.begin_cell(nonce, ["g0".to_owned()].into());
        let hears = async { while hearing.recv().await.is_some() {} };
        let asks = async {
            let _ = link.hello(&Peer::Host, DEADLINE).await;
            let _ = link.hello(&Peer::Guest("g0".into()), DEADLINE).await;
            let _ = link.guest_ended("g0");
        };
        tokio::join!(hears, asks);
    });
}
