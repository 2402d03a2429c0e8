//! The host with its kernel, its agent and its guests.

mod bends;
mod frames;
mod guest;
mod host;
mod program;
mod saved;

use crate::{Error, machine::Machine, real, script::Moment};
use data_encoding::HEXLOWER;
use frames::{Prepared, Sender};
use guest::Guest;
pub(crate) use host::FUNCTION;
use program::Program;
use s2lab_protocol::{
    Body, Decoder, Failure, FailureKind, Hello, Level, Notice, Peer,
    ask::{Ask, HostRequest, Request},
    test_line,
};
pub(crate) use saved::{Agents, SavedAgents};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::Read,
    os::unix::{fs::FileExt, net::UnixStream},
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

/// The interval of the heartbeats of the host's agent.
const HEARTBEAT: Duration = Duration::from_millis(200);
/// From the final record to the end of the machine.
const POWER_OFF: Duration = Duration::from_secs(2);
/// The reported release of host and guests.
const RELEASE: &str = "6.12.0-fake";

/// The host boots, or goes on if it was saved.
pub(crate) fn boot(machine: &Arc<Machine>) {
    let saved = machine.lock().saved.take();
    let boots = saved.is_none();
    if boots {
        machine.print(b"[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x411fd401]\r\n");
        machine.print(b"[    0.420000] kvm [1]: VHE mode initialized successfully\r\n");
    }
    let agents = saved.unwrap_or_else(|| {
        let nonce = machine.options.kernel_word("s2lab.nonce");
        let nonce = nonce.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        SavedAgents::booting(nonce.unwrap_or_default())
    });
    let done = machine.channel("agent").and_then(|stream| {
        if let Some(root) = &machine.agent {
            return real::live(machine, root, stream);
        }
        let reading =
            stream.try_clone().map_err(|why| Error::Io { what: "the agent's channel".into(), why })?;
        Host::new(machine, stream, agents).live(reading, boots)
    });
    if let Err(why) = done {
        eprintln!("fake-qemu: the host: {why}");
    }
}

/// The host's agent, with the guests' behind it.
struct Host {
    sender: Sender,
    guests: BTreeMap<String, Guest>,
    program: Program,
    answered: u64,
}

impl Host {
    fn live(mut self, mut stream: UnixStream, boots: bool) -> Result<(), Error> {
        if boots {
            self.greet()?;
        }
        let beating = self.sender.clone();
        let heart = thread::Builder::new().spawn(move || {
            let beat = || Body::Notice(Notice::Heartbeat { uptime_ms: 1, stored: 0 });
            while !beating.machine.lock().heartless && beating.send(&Peer::Host, beat()).is_ok() {
                thread::sleep(HEARTBEAT);
            }
        });
        heart.map_err(|why| Error::Arguments(why.to_string()))?;
        let (mut decoder, mut buffer) = (Decoder::default(), vec![0; 64 * 1024]);
        loop {
            let n = stream.read(&mut buffer).unwrap_or(0);
            if n == 0 {
                return Ok(());
            }
            decoder.push(buffer.get(..n).unwrap_or_default());
            while let Some(frame) = decoder.next_frame().map_err(|why| Error::Arguments(why.to_string()))? {
                self.sender.machine.wait_until_running();
                if let Body::Request { id, request } = frame.body {
                    self.request(&frame.to, id, request)?;
                }
            }
        }
    }

    /// The host's agent says hello.
    fn greet(&mut self) -> Result<(), Error> {
        self.hello(Peer::Host, Level::Host, &Moment::Hello)
    }

    fn hello(&mut self, who: Peer, level: Level, moment: &Moment) -> Result<(), Error> {
        let prepared = self.sender.prepare(moment, &who)?;
        self.mark_ended(&prepared);
        if level == Level::Host {
            self.sender.machine.log(&test_line(self.sender.nonce.load(Ordering::SeqCst)));
        }
        if prepared.silent {
            return Ok(());
        }
        let hello = Hello {
            level,
            release: RELEASE.into(),
            page_size: 4096,
            uptime_ms: 4000,
            taint: self.taint(level),
        };
        self.sender.send_bent(&who, Body::Notice(Notice::Hello(hello)), &prepared.bends)
    }

    /// Returns `/proc/sys/kernel/tainted` of a level's kernel.
    fn taint(&self, level: Level) -> Option<u64> {
        match level {
            Level::Host => self.sender.machine.lock().taint,
            Level::Guest => 0,
        }
        .into()
    }

    fn request(&mut self, to: &Peer, id: u64, request: Request) -> Result<(), Error> {
        let kind = kind(&request);
        let prepared = self.sender.prepare(&Moment::Request(kind), to)?;
        self.mark_ended(&prepared);
        if prepared.silent {
            return Ok(());
        }
        let starts = match &request {
            Request::Host(HostRequest::StartGuest(spec)) => Some(spec.name.clone()),
            _ => None,
        };
        let last = matches!(request, Request::Host(HostRequest::Finish(_)));
        let result = self.result(to, request);
        if let Some(offset) = prepared.spoil {
            self.spoil(offset)?;
        }
        // What ended the guest is its answer.
        let Some(result) = result? else { return Ok(()) };
        let result = prepared.answer.unwrap_or(result);
        let good = result.is_ok();
        self.sender.send_bent(to, Body::Reply { id, result }, &prepared.bends)?;
        if let Some(name) = starts.filter(|_| good) {
            self.console_of(&name, b"[    0.000000] Booting Linux, the guest\r\n")?;
            self.hello(Peer::Guest(name), Level::Guest, &Moment::GuestHello)?;
        }
        if last {
            // A host powers off for seconds.
            thread::sleep(prepared.power_off.unwrap_or(POWER_OFF));
            std::process::exit(0);
        }
        Ok(())
    }

    /// Returns the answer of a level; none if its guest ended instead.
    fn result(&mut self, to: &Peer, request: Request) -> Result<Option<Answer>, Error> {
        match (to, request) {
            (Peer::Guest(name), Request::Guest(request)) => self.of_guest(name, request),
            (Peer::Host, Request::Host(request)) => {
                self.answered += 1;
                self.of_host(request).map(Some)
            }
            (_, request) => Ok(Some(Err(invalid(format!("{to} does not answer {request:?}"))))),
        }
    }

    /// Inverts the byte at `offset` of every BAR and of every drive.
    fn spoil(&self, offset: u64) -> Result<(), Error> {
        for bar in self.sender.machine.bars.values() {
            bar.write(offset, &[!bar.byte(offset)?])?;
        }
        for path in self.sender.machine.options.drives.values() {
            let invert = || {
                let drive = OpenOptions::new().read(true).write(true).open(path)?;
                let mut byte = [0];
                drive.read_exact_at(&mut byte, offset)?;
                drive.write_all_at(&[!byte[0]], offset)
            };
            invert().map_err(|why| Error::Io { what: path.clone(), why })?;
        }
        Ok(())
    }

    fn mark_ended(&mut self, prepared: &Prepared) {
        if let Some(guest) = prepared.ended.as_ref().and_then(|name| self.guests.get_mut(name)) {
            guest.ended = true;
        }
    }

    fn console_of(&self, guest: &str, bytes: &[u8]) -> Result<(), Error> {
        let hex = HEXLOWER.encode(bytes);
        self.sender.send(&Peer::Host, Body::Notice(Notice::Console { guest: guest.into(), hex }))
    }
}

/// An answer as it travels.
type Answer = Result<Value, Failure>;

fn answer<A: Ask>(answer: &A::Answer) -> Answer {
    serde_json::to_value(answer).map_err(|why| invalid(why.to_string()))
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure { kind: FailureKind::Invalid, message: message.into() }
}

/// The device's place among the host's.
fn index(machine: &Machine, device: &str) -> u64 {
    machine.bars.keys().take_while(|name| *name != device).count() as u64
}

/// The request's name in the protocol.
fn kind(request: &Request) -> String {
    let request = serde_json::to_value(request).unwrap_or_default();
    let level = request.as_object().and_then(|levels| levels.values().next());
    let kind = level.and_then(Value::as_object).and_then(|kinds| kinds.keys().next());
    let probed = level.and_then(|level| level["probe"]["kind"].as_str()).filter(|kind| *kind != "store");
    match (kind, probed) {
        (_, Some(probed)) => format!("probe-{probed}"),
        (kind, None) => kind.cloned().unwrap_or_default(),
    }
}
