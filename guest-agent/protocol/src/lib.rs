//! What s2lab and its agents say to each other, on any byte stream.
//!
//! An agent runs as PID 1 in the host (L1) and in every guest (L2). s2lab talks to the host's agent only; a frame
//! whose [`Frame::to`] names a guest is passed on unread, and so is a guest's answer. See `docs/formats.md`.

mod console;
mod frame;
mod message;

pub use console::test_line;
pub use frame::{Decoder, Frame, FrameError, MARK, MAX_PAYLOAD, Peer, VERSION, encode, version_in};
pub use message::*;
