//! Frames of the agents, and what a script makes of them.

use crate::{
    Error,
    machine::Machine,
    script::{Act, Bend, Moment},
};
use s2lab_protocol::{Body, Failure, Frame, Notice, Peer, VERSION, encode};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    io::Write,
    net::Shutdown,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

/// Everybody's voice: all frames go through one channel.
#[derive(Clone)]
pub(super) struct Say {
    pub(super) machine: Arc<Machine>,
    pub(super) nonce: u64,
    pub(super) out: Arc<Mutex<Out>>,
}

pub(super) struct Out {
    pub(super) stream: UnixStream,
    pub(super) seq: BTreeMap<Peer, u64>,
}

impl Say {
    pub(super) fn say(&self, from: &Peer, body: Body) -> Result<(), Error> {
        self.bent(from, body, &[])
    }

    pub(super) fn bent(&self, from: &Peer, body: Body, bends: &[Bend]) -> Result<(), Error> {
        self.machine.wait_until_running();
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let seq = out.seq.entry(from.clone()).or_insert(0);
        let mut frame =
            Frame { version: VERSION, nonce: self.nonce, seq: *seq, from: from.clone(), to: Peer::Lab, body };
        *seq += 1;
        for bend in bends {
            match bend {
                Bend::Version(version) => frame.version = *version,
                Bend::Nonce => frame.nonce ^= 1,
                Bend::From(peer) => frame.from = peer.clone(),
                Bend::To(peer) => frame.to = peer.clone(),
                Bend::Skip(by) => {
                    frame.seq += by;
                    *seq += by;
                }
                Bend::Id(by) => {
                    if let Body::Reply { id, .. } = &mut frame.body {
                        *id += by;
                    }
                }
                _ => {}
            }
        }
        let mut bytes = encode(&frame).map_err(|why| Error::Arguments(why.to_string()))?;
        let mut close = false;
        for bend in bends {
            match bend {
                Bend::Twice => bytes = bytes.repeat(2),
                Bend::Torn => {
                    bytes.truncate(bytes.len() / 2);
                    close = true;
                }
                Bend::Half => bytes.truncate(bytes.len() / 2),
                Bend::Checksum => bytes[8] ^= 1,
                Bend::Length(length) => bytes[4..8].copy_from_slice(&length.to_le_bytes()),
                Bend::Payload(text) => bytes = enveloped(text.as_bytes()),
                _ => {}
            }
        }
        let written = out.stream.write_all(&bytes);
        if close {
            let _ = out.stream.shutdown(Shutdown::Both);
        }
        written.map_err(|why| Error::Io { what: "the agent's channel".into(), why })
    }

    fn raw(&self, bytes: &[u8]) -> Result<(), Error> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.stream.write_all(bytes).map_err(|why| Error::Io { what: "the agent's channel".into(), why })
    }

    fn close(&self) {
        let out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // Closed by the other side already is as good.
        let _ = out.stream.shutdown(Shutdown::Both);
    }

    /// Does what the script says at a moment at which `who` is about to say something.
    pub(super) fn prepare(&self, moment: &Moment, who: &Peer) -> Result<Prepared, Error> {
        let mut prepared = Prepared::default();
        for act in self.machine.trouble(moment) {
            match act {
                Act::Hang => loop {
                    thread::park();
                },
                Act::Close => self.close(),
                Act::Ignore => prepared.silent = true,
                Act::Instead(text) => {
                    self.raw(text.as_bytes())?;
                    prepared.silent = true;
                }
                Act::Before(text) => self.raw(text.as_bytes())?,
                Act::Answer(answer) => prepared.answer = Some(answer),
                Act::Bend(bend) => prepared.bends.push(bend),
                Act::Also(from, body) => self.say(&from, body)?,
                Act::Repeat(times, from, body) => {
                    (0..times).try_for_each(|_| self.say(&from, body.clone()))?
                }
                Act::GuestEnds(how) => {
                    let guest = match who {
                        Peer::Guest(name) => name.clone(),
                        _ => "g0".into(),
                    };
                    prepared.ended = Some(guest.clone());
                    self.say(&Peer::Host, Body::Notice(Notice::GuestEnded { guest, how }))?;
                    prepared.silent = true;
                }
                Act::PowerOff(ms) => prepared.power_off = Some(Duration::from_millis(ms)),
                Act::Spoil(offset) => prepared.spoil = Some(offset),
                _ => eprintln!("fake-qemu: {act:?} says nothing about an agent"),
            }
        }
        Ok(prepared)
    }
}

/// How an answer is to be given.
#[derive(Default)]
pub(super) struct Prepared {
    pub(super) answer: Option<Result<Value, Failure>>,
    pub(super) bends: Vec<Bend>,
    /// The guest that ended instead of answering.
    pub(super) ended: Option<String>,
    pub(super) spoil: Option<u64>,
    pub(super) silent: bool,
    pub(super) power_off: Option<Duration>,
}

/// A payload with a header that fits it.
fn enveloped(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let sum = crc32(payload);
    [&b"S2LF"[..], &length.to_le_bytes(), &sum.to_le_bytes(), payload].concat()
}

/// CRC-32 as zlib has it.
fn crc32(bytes: &[u8]) -> u32 {
    let round = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), round))
}
