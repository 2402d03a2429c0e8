//! Frames of the agents, and the script's changes of them.

use super::bends::{Change, Sent};
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
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// Sender of the host's and of all guests' frames, which go through one channel.
#[derive(Clone)]
pub(super) struct Sender {
    pub(super) machine: Arc<Machine>,
    /// The nonce of the host's frames.
    pub(super) nonce: Arc<AtomicU64>,
    /// The nonces of the guests' frames.
    pub(super) guests: Arc<Mutex<BTreeMap<String, u64>>>,
    pub(super) out: Arc<Mutex<Out>>,
}

pub(super) struct Out {
    pub(super) stream: UnixStream,
    pub(super) seq: BTreeMap<Peer, u64>,
}

impl Sender {
    /// Begins a guest, whose frames have this nonce and are counted from 0.
    pub(super) fn begin_guest(&self, name: &str, nonce: u64) {
        let peer = Peer::Guest(name.to_owned());
        self.out.lock().unwrap_or_else(PoisonError::into_inner).seq.remove(&peer);
        self.guests.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), nonce);
    }

    fn nonce_of(&self, peer: &Peer) -> u64 {
        let guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        let of_host = || self.nonce.load(Ordering::SeqCst);
        match peer {
            Peer::Guest(name) => guests.get(name).copied().unwrap_or_else(of_host),
            _ => of_host(),
        }
    }

    pub(super) fn send(&self, from: &Peer, body: Body) -> Result<(), Error> {
        self.send_bent(from, body, &[])
    }

    pub(super) fn send_bent(&self, from: &Peer, body: Body, bends: &[Bend]) -> Result<(), Error> {
        self.machine.wait_until_running();
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let seq = out.seq.entry(from.clone()).or_insert(0);
        let nonce = self.nonce_of(from);
        let mut frame = Frame { version: VERSION, nonce, seq: *seq, from: from.clone(), to: Peer::Lab, body };
        let (mut of_frame, mut of_bytes) = (vec![], vec![]);
        for bend in bends {
            match bend.change() {
                Change::Frame(change) => of_frame.push(change),
                Change::Sent(change) => of_bytes.push(change),
            }
        }
        of_frame.into_iter().for_each(|change| change(&mut frame));
        *seq = frame.seq + 1;
        let bytes = encode(&frame).map_err(|why| Error::Arguments(why.to_string()))?;
        let mut sent = Sent { bytes, close: false };
        of_bytes.into_iter().for_each(|change| change(&mut sent));
        let written = out.stream.write_all(&sent.bytes);
        if sent.close {
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
                Act::Also(from, body) => self.send(&from, body)?,
                Act::Repeat(times, from, body) => {
                    (0..times).try_for_each(|_| self.send(&from, body.clone()))?
                }
                Act::GuestEnds(how) => {
                    let guest = match who {
                        Peer::Guest(name) => name.clone(),
                        _ => "g0".into(),
                    };
                    prepared.ended = Some(guest.clone());
                    self.send(&Peer::Host, Body::Notice(Notice::GuestEnded { guest, how }))?;
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

/// The way in which an answer is sent.
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
