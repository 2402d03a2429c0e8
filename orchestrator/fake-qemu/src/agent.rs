//! The host with its kernel, its agent and its guests.

use crate::{
    Error,
    machine::Machine,
    memory::{self, Memory},
    real,
    script::{Act, Bend, Moment},
    tables::{self, MappedBar},
};
use s2lab_protocol::{
    Bar, Body, BoundDevice, Decoder, Failure, FailureKind, FinalRecord, Frame, GuestEnd, Hello, Level,
    MapKind, Mapping, Notice, Peer, Reply, Request, StoreResult, StoreSpec, UnalignedOutcome, VERSION, Vma,
    encode, pattern, test_line,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

/// How often the host's agent says that it lives.
const HEARTBEAT: Duration = Duration::from_millis(200);
/// From the final record to the end of the machine.
const POWER_OFF: Duration = Duration::from_secs(2);
/// What host and guests say they run.
const RELEASE: &str = "6.12.0-fake";

/// The host boots.
pub(crate) fn boot(machine: &Arc<Machine>) {
    let nonce = machine.options.kernel_word("s2lab.nonce");
    let nonce = nonce.and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or_default();
    machine.print(b"[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x411fd401]\r\n");
    machine.print(b"[    0.420000] kvm [1]: VHE mode initialized successfully\r\n");
    let done = machine.channel("agent").and_then(|stream| {
        if let Some(root) = &machine.agent {
            return real::live(machine, root, stream);
        }
        let reading =
            stream.try_clone().map_err(|why| Error::Io { what: "the agent's channel".into(), why })?;
        let out = Arc::new(Mutex::new(Out { stream, seq: BTreeMap::new() }));
        let say = Say { machine: Arc::clone(machine), nonce, out };
        Host { say, guests: BTreeMap::new(), answered: 0 }.live(reading)
    });
    if let Err(why) = done {
        eprintln!("fake-qemu: the host: {why}");
    }
}

/// Everybody's voice: all frames go through one channel.
#[derive(Clone)]
struct Say {
    machine: Arc<Machine>,
    nonce: u64,
    out: Arc<Mutex<Out>>,
}

struct Out {
    stream: UnixStream,
    seq: BTreeMap<Peer, u64>,
}

impl Say {
    fn say(&self, from: &Peer, body: Body) -> Result<(), Error> {
        self.bent(from, body, &[])
    }

    fn bent(&self, from: &Peer, body: Body, bends: &[Bend]) -> Result<(), Error> {
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
    fn prepare(&self, moment: &Moment, who: &Peer) -> Result<Prepared, Error> {
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
struct Prepared {
    answer: Option<Result<Reply, Failure>>,
    bends: Vec<Bend>,
    /// The guest that ended instead of answering.
    ended: Option<String>,
    spoil: Option<u64>,
    silent: bool,
    power_off: Option<Duration>,
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

/// The host's agent, with the guests' behind it.
struct Host {
    say: Say,
    guests: BTreeMap<String, Guest>,
    answered: u64,
}

struct Guest {
    /// PCI address in the guest and the scenario's name of each assigned device.
    devices: BTreeMap<String, String>,
    mapped: Vec<(String, MapKind)>,
    /// Devices whose BAR stage 2 has.
    touched: BTreeSet<String>,
    /// Which of the host's guests, from 0.
    number: u64,
    ended: bool,
}

type Answer = Result<Reply, Failure>;

fn invalid(message: impl Into<String>) -> Failure {
    Failure { kind: FailureKind::Invalid, message: message.into() }
}

impl Host {
    fn live(mut self, mut stream: UnixStream) -> Result<(), Error> {
        self.hello(Peer::Host, Level::Host, &Moment::Hello)?;
        let beating = self.say.clone();
        let heart = thread::Builder::new().spawn(move || {
            let beat = || Body::Notice(Notice::Heartbeat { uptime_ms: 1, stored: 0 });
            while !beating.machine.lock().heartless && beating.say(&Peer::Host, beat()).is_ok() {
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
                self.say.machine.wait_until_running();
                if let Body::Request { id, request } = frame.body {
                    self.request(&frame.to, id, request)?;
                }
            }
        }
    }

    fn hello(&mut self, who: Peer, level: Level, moment: &Moment) -> Result<(), Error> {
        let prepared = self.say.prepare(moment, &who)?;
        self.mark_ended(&prepared);
        if level == Level::Host {
            self.say.machine.log(&test_line(self.say.nonce));
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
        self.say.bent(&who, Body::Notice(Notice::Hello(hello)), &prepared.bends)
    }

    /// What the kernel of a level has in `/proc/sys/kernel/tainted`.
    fn taint(&self, level: Level) -> Option<u64> {
        match level {
            Level::Host => self.say.machine.lock().taint,
            Level::Guest => 0,
        }
        .into()
    }

    fn request(&mut self, to: &Peer, id: u64, request: Request) -> Result<(), Error> {
        let kind = kind(&request);
        let prepared = self.say.prepare(&Moment::Request(kind), to)?;
        self.mark_ended(&prepared);
        if prepared.silent {
            return Ok(());
        }
        let last = request == Request::Finish;
        let result = match to {
            Peer::Guest(name) => self.of_guest(name, request),
            _ => {
                self.answered += 1;
                self.of_host(&request)
            }
        };
        if let Some(offset) = prepared.spoil {
            for bar in self.say.machine.bars.values() {
                bar.write(offset, &[!bar.byte(offset)?])?;
            }
        }
        // What ended the guest is its answer.
        let Some(result) = result? else { return Ok(()) };
        let started = match &result {
            Ok(Reply::GuestStarted { .. }) => self.guests.keys().next_back().cloned(),
            _ => None,
        };
        let result = prepared.answer.unwrap_or(result);
        let good = result.is_ok();
        self.say.bent(to, Body::Reply { id, result }, &prepared.bends)?;
        if let Some(name) = started.filter(|_| good) {
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

    fn mark_ended(&mut self, prepared: &Prepared) {
        if let Some(guest) = prepared.ended.as_ref().and_then(|name| self.guests.get_mut(name)) {
            guest.ended = true;
        }
    }

    fn console_of(&self, guest: &str, bytes: &[u8]) -> Result<(), Error> {
        let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.say.say(&Peer::Host, Body::Notice(Notice::Console { guest: guest.into(), hex }))
    }

    fn of_host(&mut self, request: &Request) -> Result<Option<Answer>, Error> {
        Ok(Some(match request {
            Request::Bind { device, driver, .. } => Ok(Reply::Bound(self.bound(device, driver))),
            Request::Memory => Ok(Reply::Memory(memory::host_memory())),
            Request::StartGuest(spec) => {
                let address = |slot: u8| format!("0000:00:{slot:02x}.0");
                let devices =
                    spec.devices.iter().map(|d| (address(d.guest_slot), d.device.clone())).collect();
                let number = self.guests.len() as u64;
                let (mapped, touched) = (vec![], BTreeSet::new());
                self.guests
                    .insert(spec.name.clone(), Guest { devices, mapped, touched, number, ended: false });
                Ok(Reply::GuestStarted { pid: 100, vmm: "qemu 10.0.2".into() })
            }
            Request::VmaFlags { guest } => Ok(Reply::VmaFlags { vmas: self.vmas(guest) }),
            Request::Reset { guest, device } => {
                let resets = !self.say.machine.lock().stay_mapped;
                if let Some(guest) = self.guests.get_mut(guest).filter(|_| resets) {
                    guest.touched.remove(device);
                    guest.write_tables(&self.say.machine)?;
                }
                Ok(Reply::ResetDone { method: "bus".into() })
            }
            Request::StopGuest { guest } => {
                if let Some(ended) = self.guests.get(guest).map(|guest| guest.ended) {
                    if !ended {
                        let how = GuestEnd::Exited { code: Some(0), signal: None, detail: String::new() };
                        let notice = Notice::GuestEnded { guest: guest.clone(), how };
                        self.say.say(&Peer::Host, Body::Notice(notice))?;
                    }
                    Ok(Reply::GuestStopped)
                } else {
                    Err(invalid(format!("no guest {guest}")))
                }
            }
            Request::Finish => {
                Ok(Reply::Finished(FinalRecord { answered: self.answered, taint: self.taint(Level::Host) }))
            }
            _ => Err(Failure { kind: FailureKind::Unsupported, message: "not the host's".into() }),
        }))
    }

    fn of_guest(&mut self, name: &str, request: Request) -> Result<Option<Answer>, Error> {
        let machine = Arc::clone(&self.say.machine);
        let Some(guest) = self.guests.get_mut(name) else {
            return Ok(Some(Err(invalid(format!("no guest {name}")))));
        };
        Ok(Some(match request {
            Request::Store(spec) => guest.store(&machine, &spec)?,
            Request::Hold { nonce } => guest.hold(&machine, nonce)?,
            Request::Release => {
                machine.lock().held = None;
                Ok(Reply::Released)
            }
            Request::Unaligned { .. } if machine.series => {
                Ok(Reply::Unaligned { outcome: UnalignedOutcome::Ok })
            }
            Request::Unaligned { .. } => {
                guest.ended = true;
                machine
                    .print(b"[   19.5] kvm [112]: Unsupported FSC: EC=0x24 xFSC=0x21 ESR_EL2=0x93c28061\r\n");
                let detail = "error: kvm run failed Bad address".into();
                let how = GuestEnd::Stopped { state: "internal-error".into(), detail };
                self.say.say(&Peer::Host, Body::Notice(Notice::GuestEnded { guest: name.into(), how }))?;
                return Ok(None);
            }
            _ => Err(Failure { kind: FailureKind::Unsupported, message: "not a guest's".into() }),
        }))
    }

    fn bound(&self, device: &str, driver: &str) -> BoundDevice {
        let machine = &self.say.machine;
        let index = index(machine, device);
        let size = machine.bars.get(device).map_or(0, |bar| bar.size);
        BoundDevice {
            device: device.into(),
            address: format!("0000:{:02x}:00.0", index + 1),
            vendor: 0x1af4,
            id: 0x1110,
            driver: driver.into(),
            iommu_group: index as u32,
            bars: vec![
                Bar { index: 0, start: 0x1000_0000, size: 256, prefetchable: false },
                Bar { index: 2, start: tables::bar_pa(index), size, prefetchable: true },
            ],
        }
    }

    fn vmas(&self, guest: &str) -> Vec<Vma> {
        const FLAGS: [&str; 12] = ["rd", "wr", "sh", "mr", "mw", "me", "ms", "pf", "io", "dc", "de", "dd"];
        let machine = &self.say.machine;
        let flagged = machine.series != machine.lock().other_flags;
        let flags: Vec<_> = FLAGS.into_iter().chain(flagged.then_some("??")).map(str::to_owned).collect();
        let devices = self.guests.get(guest).into_iter().flat_map(|guest| guest.devices.values());
        let size = |device: &String| machine.bars.get(device).map_or(0, |bar| bar.size);
        let vma = |(n, device): (u64, &String)| Vma {
            start: 0xffff_0000_0000 + n * tables::BAR_STRIDE,
            end: 0xffff_0000_0000 + n * tables::BAR_STRIDE + size(device),
            // VFIO's region 2.
            offset: 2 << 40,
            name: "anon_inode:[vfio-device]".into(),
            flags: flags.clone(),
        };
        (0..).zip(devices).map(vma).collect()
    }
}

impl Guest {
    fn store(&mut self, machine: &Machine, spec: &StoreSpec) -> Result<Answer, Error> {
        let Some(bar) = machine.bars.get(&spec.device) else {
            return Ok(Err(invalid(format!("no device {}", spec.device))));
        };
        let Some(end) = spec.offset.checked_add(spec.bytes).filter(|end| *end <= bar.size) else {
            return Ok(Err(invalid("beyond the BAR")));
        };
        let words = (spec.offset..end).step_by(8).flat_map(|offset| pattern(spec.seed, offset).to_le_bytes());
        bar.write(spec.offset, &words.collect::<Vec<_>>())?;
        let mapping = (spec.device.clone(), spec.map);
        if !self.mapped.contains(&mapping) {
            self.mapped.push(mapping);
        }
        self.touched.insert(spec.device.clone());
        Ok(Ok(Reply::Stored(StoreResult {
            bar: self.bar(machine, &spec.device, bar),
            stores: spec.bytes / u64::from(spec.width.clamp(8, 16)),
            nanos: 1000,
            first_difference: None,
        })))
    }

    /// The BAR as the guest sees it.
    fn bar(&self, machine: &Machine, device: &str, bar: &Memory) -> Bar {
        Bar { index: 2, start: tables::bar_ipa(index(machine, device)), size: bar.size, prefetchable: true }
    }

    fn hold(&mut self, machine: &Machine, nonce: u64) -> Result<Answer, Error> {
        let mapping = |(n, (device, map)): (u64, &(String, MapKind))| {
            let bar = self.bar(machine, device, machine.bars.get(device)?);
            Some(Mapping { device: device.clone(), map: *map, va: tables::mapping_va(n), bar })
        };
        let mappings = (0..).zip(&self.mapped).filter_map(mapping).collect();
        self.write_tables(machine)?;
        let mut state = machine.lock();
        let registers = tables::registers(self.number, nonce).into_iter();
        state.held = Some(registers.map(|(name, value)| (name.to_owned(), value)).collect());
        state.stops = 0;
        Ok(Ok(Reply::Held { pid: 1, mappings }))
    }

    /// Writes the guest's tables, as they are now, into the host's memory.
    fn write_tables(&self, machine: &Machine) -> Result<(), Error> {
        let mapped = |(device, map): &(String, MapKind)| {
            let size = machine.bars.get(device)?.size;
            let (wc, touched) = (*map == MapKind::Wc, self.touched.contains(device));
            Some(MappedBar { device: index(machine, device), size, wc, touched })
        };
        let bars: Vec<_> = self.mapped.iter().filter_map(mapped).collect();
        let ram_leaf = machine.lock().ram_leaf.unwrap_or(guest_tables::NORMAL_WB);
        let pages = tables::build(self.number, &bars, machine.bar_leaf(), ram_leaf);
        let state = machine.lock();
        if let Some(ram) = &machine.ram {
            for (address, page) in pages {
                ram.write(address, &page)?;
            }
            for (address, word) in &state.pokes {
                ram.write(*address, &word.to_le_bytes())?;
            }
        }
        Ok(())
    }
}

/// The device's place among the host's.
fn index(machine: &Machine, device: &str) -> u64 {
    machine.bars.keys().take_while(|name| *name != device).count() as u64
}

/// The request's name in the protocol.
fn kind(request: &Request) -> String {
    match serde_json::to_value(request) {
        Ok(serde_json::Value::String(name)) => name,
        Ok(serde_json::Value::Object(map)) => map.keys().next().cloned().unwrap_or_default(),
        _ => String::new(),
    }
}
