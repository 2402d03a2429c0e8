//! The part of GDB's remote protocol that reads registers from QEMU's gdbstub.
//!
//! The stub offers system registers by name; their numbers differ from CPU model to CPU model and
//! come from its XML (QEMU 10.0 target/arm/gdbstub.c). An attached client stops the machine at
//! start; QMP `cont` lets it run on.

use super::{
    commands::{Cont, Stop},
    gdb_proxy::{self, GdbProxy, is_ours},
    packets::{PacketError, Packets, plain},
    qmp::{Qmp, QmpError},
};
use crate::host::ending::Ending;
use data_encoding::HEXLOWER_PERMISSIVE;
use s2lab_model::escape;
use s2lab_os::waits::timeout;
use std::{collections::HashMap, time::Duration};
use tokio::net::{UnixListener, UnixStream};

/// The longest description of the registers, in bytes over all its files. QEMU 10.0 has 60 KB.
const MAX_XML: usize = 4 << 20;
/// The most registers that an error names.
const ALIKE: usize = 5;
/// The longest register, in bytes.
const REGISTER: usize = 8;

/// Registers that older QEMUs call by another name: the architectural name, and the older one. QEMU
/// 10.0 has `SCTLR`, 11.1 has `SCTLR_EL1` (target/arm/helper.c).
const OLDER: [(&str, &str); 1] = [("SCTLR_EL1", "SCTLR")];

/// A register in the stub's description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Register {
    number: u32,
    bits: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum GdbError {
    #[error("gdbstub channel: {0}")]
    Channel(#[from] PacketError),
    #[error("the gdbstub has not answered `{request}` in {deadline:?}")]
    Silent { request: String, deadline: Duration },
    #[error("the gdbstub answers `{request}` with `{answer}`")]
    Answer { request: String, answer: String },
    #[error("the gdbstub describes its registers in more than {MAX_XML} bytes")]
    TooLong,
    #[error("a person's gdb holds the gdbstub")]
    NotHeld,
    #[error("the gdbstub, which a person's gdb shares, is gone")]
    Gone,
    #[error("this QEMU's gdbstub offers no register {wanted}; {alike}; QEMU 10.0 to 11.1 are known to work")]
    NoRegister {
        /// The architectural name, and an older one of QEMU's.
        wanted: String,
        /// The registers that it offers under a similar name.
        alike: String,
    },
}

/// The reason why the machine could not be stopped or resumed.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    #[error(transparent)]
    Qmp(#[from] QmpError),
    #[error(transparent)]
    Gdb(#[from] GdbError),
}

/// The user of the stub.
enum Stub {
    Own(Packets),
    /// The stub is with a person's gdb, except while s2lab borrows it.
    Shared {
        proxy: GdbProxy,
        borrowed: Option<gdb_proxy::Stub>,
    },
}

/// A connection to the gdbstub.
pub struct Gdb {
    stub: Stub,
    registers: HashMap<String, Register>,
    /// The vCPU that the stub reads from.
    selected: Option<u32>,
    /// The deadline of one answer.
    deadline: Duration,
    ending: Ending,
}

impl Gdb {
    /// Attaches and learns the registers' numbers. Each answer of the stub may take until
    /// `deadline`. `ending` is that of the QEMU behind the stub.
    pub async fn connect(stream: UnixStream, deadline: Duration, ending: Ending) -> Result<Self, GdbError> {
        let stub = Stub::Own(Packets::new(stream));
        let mut gdb = Self { stub, registers: HashMap::new(), selected: None, deadline, ending };
        gdb.ask("qSupported:xmlRegisters=aarch64").await?;
        gdb.registers = gdb.describe().await?;
        Ok(gdb)
    }

    /// Shares the stub of a machine that does not run yet with a person's gdb, which connects to
    /// `listener`. From now on gdb decides when the machine runs.
    #[must_use]
    pub fn shared(self, listener: UnixListener) -> Self {
        let stub = match self.stub {
            Stub::Own(packets) => {
                Stub::Shared { proxy: GdbProxy::new(packets, listener, self.deadline), borrowed: None }
            }
            shared @ Stub::Shared { .. } => shared,
        };
        Self { stub, ..self }
    }

    /// Starts a machine. If the stub is shared, waits until a person's gdb is there to do it.
    pub async fn begin(&mut self, qmp: &mut Qmp) -> Result<(), QmpError> {
        match &mut self.stub {
            Stub::Own(_) => qmp.execute(Cont {}).await.map(drop),
            Stub::Shared { proxy, .. } => {
                proxy.attached().await;
                Ok(())
            }
        }
    }

    /// Stops the machine. If a person has stopped it, waits until they resume it. The call may be
    /// dropped before its end, and be repeated.
    pub async fn hold(&mut self, qmp: &mut Qmp) -> Result<(), HoldError> {
        self.selected = None;
        let Stub::Shared { proxy, borrowed } = &mut self.stub else {
            return Ok(qmp.execute(Stop {}).await.map(drop)?);
        };
        loop {
            if borrowed.is_none() {
                let Some(stub) = proxy.borrow().await else {
                    self.ending.settle().await;
                    return Err(GdbError::Gone.into());
                };
                *borrowed = Some(stub);
            }
            let Some(gdb_proxy::Stub { packets, resumed_by, stop_seen }) = borrowed else { continue };
            qmp.execute(Stop {}).await?;
            if resumed_by.is_none() || *stop_seen {
                return Ok(());
            }
            let silent = |_| GdbError::Silent { request: "stop".into(), deadline: self.deadline };
            let stopped = timeout(self.deadline, packets.packet()).await.map_err(silent)?;
            let stopped = match stopped {
                Ok(stopped) => stopped,
                Err(error) => return Err(settled(&self.ending, error).await.into()),
            };
            if is_ours(&stopped) {
                *stop_seen = true;
                return Ok(());
            }
            // It has stopped for gdb in the same moment.
            if let Some(stub) = borrowed.take() {
                proxy.give_back(stub, Some(stopped)).await;
            }
        }
    }

    /// Resumes the machine after [`Gdb::hold`], or after a call that was dropped in the middle of
    /// it.
    pub async fn release(&mut self, qmp: &mut Qmp) -> Result<(), HoldError> {
        match &mut self.stub {
            Stub::Own(_) => drop(qmp.execute(Cont {}).await?),
            Stub::Shared { proxy, borrowed } => {
                if let Some(mut stub) = borrowed.take() {
                    if let Some(command) = stub.resumed_by.clone().filter(|_| stub.stop_seen) {
                        stub.stop_seen = false;
                        if let Err(error) = stub.packets.send(&command).await {
                            return Err(settled(&self.ending, error).await.into());
                        }
                    }
                    proxy.give_back(stub, None).await;
                }
            }
        }
        Ok(())
    }

    /// Makes machine and connection usable after a call was dropped in the middle of a look: the
    /// machine runs on, and no answer of an earlier request is taken for that of the next.
    pub async fn recover(&mut self, qmp: &mut Qmp) -> Result<(), HoldError> {
        if matches!(self.stub, Stub::Shared { borrowed: None, .. }) {
            // No look has begun. The machine runs or stands as the person's gdb wants it.
            return Ok(());
        }
        self.hold(qmp).await?;
        self.resume_after_cancel().await?;
        self.release(qmp).await
    }

    /// Checks that the stub offers these registers.
    pub fn offers<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<(), GdbError> {
        names.into_iter().try_for_each(|name| self.known(name).map(drop))
    }

    /// Returns the register with this architectural name.
    fn known(&self, name: &str) -> Result<Register, GdbError> {
        let older = OLDER.iter().find(|(new, _)| *new == name).map(|(_, older)| *older);
        let found = self.registers.get(name).or_else(|| self.registers.get(older?));
        found.copied().ok_or_else(|| {
            let wanted = older.map_or_else(|| name.into(), |older| format!("{name} or {older}"));
            let stem = name.split('_').next().unwrap_or(name);
            let mut alike: Vec<_> = self.registers.keys().filter(|known| known.starts_with(stem)).collect();
            alike.sort_unstable();
            let names: Vec<_> = alike.iter().map(|name| escape::line(name)).take(ALIKE).collect();
            let alike = match &names[..] {
                [] => format!("it offers {} others, none that begins with {stem}", self.registers.len()),
                names => format!("it offers {}", names.join(", ")),
            };
            GdbError::NoRegister { wanted, alike }
        })
    }

    /// Returns the value of a register of vCPU `vcpu` (from 0) that is at most 64 bits wide, by its
    /// architectural name. The machine must be stopped.
    pub async fn register(&mut self, vcpu: u32, name: &str) -> Result<u64, GdbError> {
        let Register { number, bits } = self.known(name)?;
        self.select(vcpu).await?;
        let request = format!("p{number:x}");
        let answer = self.ask(&request).await?;
        let bytes = unhex(&answer).filter(|b| b.len() * 8 == bits && b.len() <= REGISTER);
        let bytes = bytes.ok_or_else(|| unexpected(&request, &answer))?;
        Ok(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    /// Writes words of RAM at physical addresses, as they are. QEMU then drops the code that it has translated from
    /// them (QEMU 10.0 gdbstub/system.c, PhyMemMode; system/physmem.c, invalidate_and_set_dirty). The machine
    /// must be stopped.
    pub async fn rewrite(&mut self, words: &[(u64, u32)]) -> Result<(), GdbError> {
        self.order("Qqemu.PhyMemMode:1").await?;
        for (address, word) in words {
            self.order(&format!("M{address:x},4:{:08x}", word.swap_bytes())).await?;
        }
        self.order("Qqemu.PhyMemMode:0").await
    }

    async fn order(&mut self, request: &str) -> Result<(), GdbError> {
        let answer = self.ask(request).await?;
        if answer == b"OK" { Ok(()) } else { Err(unexpected(request, &answer)) }
    }

    /// Makes the connection usable after a call was dropped before its answer: reads up to the end
    /// of earlier answers. Only `vMustReplyEmpty` has an empty answer.
    pub async fn resume_after_cancel(&mut self) -> Result<(), GdbError> {
        let mut answer = self.ask("vMustReplyEmpty").await?;
        while !answer.is_empty() {
            let deadline = self.deadline;
            let packet = timeout(deadline, self.packets()?.packet()).await;
            let silent = |_| GdbError::Silent { request: "vMustReplyEmpty".into(), deadline };
            answer = match packet.map_err(silent)? {
                Ok(answer) => answer,
                Err(error) => return Err(settled(&self.ending, error).await),
            };
        }
        self.selected = None;
        Ok(())
    }

    async fn select(&mut self, vcpu: u32) -> Result<(), GdbError> {
        if self.selected == Some(vcpu) {
            return Ok(());
        }
        // The stub counts threads from 1.
        self.order(&format!("Hg{:x}", vcpu + 1)).await?;
        self.selected = Some(vcpu);
        Ok(())
    }

    /// Returns names and numbers of the registers, from `target.xml` and the files that it
    /// includes.
    async fn describe(&mut self) -> Result<HashMap<String, Register>, GdbError> {
        let target = self.file("target.xml").await?;
        let mut texts = vec![];
        let mut size = target.len();
        for file in values(&target, "<xi:include", "href") {
            let text = self.file(&file).await?;
            size += text.len();
            if size > MAX_XML {
                return Err(GdbError::TooLong);
            }
            texts.push(text);
        }
        texts.push(target);
        Ok(texts.iter().flat_map(|text| registers(text)).collect())
    }

    async fn file(&mut self, name: &str) -> Result<String, GdbError> {
        const CHUNK: usize = 2048;
        let mut text = vec![];
        loop {
            let request = format!("qXfer:features:read:{name}:{:x},{CHUNK:x}", text.len());
            let answer = self.ask(&request).await?;
            match answer.split_first() {
                Some((b'm', more)) if text.len() + more.len() <= MAX_XML && !more.is_empty() => {
                    text.extend_from_slice(more)
                }
                Some((b'l', last)) => {
                    text.extend_from_slice(last);
                    return Ok(String::from_utf8_lossy(&text).into_owned());
                }
                _ => return Err(unexpected(&request, &answer)),
            }
        }
    }

    async fn ask(&mut self, request: &str) -> Result<Vec<u8>, GdbError> {
        let deadline = self.deadline;
        let packets = self.packets()?;
        let exchange = async {
            packets.send(request.as_bytes()).await?;
            plain(&packets.packet().await?)
        };
        let silent = |_| GdbError::Silent { request: request.into(), deadline };
        match timeout(deadline, exchange).await.map_err(silent)? {
            Ok(answer) => Ok(answer),
            Err(error) => Err(settled(&self.ending, error).await),
        }
    }

    fn packets(&mut self) -> Result<&mut Packets, GdbError> {
        match &mut self.stub {
            Stub::Own(packets) => Ok(packets),
            Stub::Shared { borrowed, .. } => Ok(&mut borrowed.as_mut().ok_or(GdbError::NotHeld)?.packets),
        }
    }
}

/// The error of a channel. One that has closed gives the machine's end time to become known.
async fn settled(ending: &Ending, error: PacketError) -> GdbError {
    if matches!(error, PacketError::Io(_)) {
        ending.settle().await;
    }
    error.into()
}

fn unexpected(request: &str, answer: &[u8]) -> GdbError {
    let answer = String::from_utf8_lossy(answer).chars().take(80).collect();
    GdbError::Answer { request: request.into(), answer }
}

fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    HEXLOWER_PERMISSIVE.decode(digits).ok()
}

/// Returns every register of one file. A register without `regnum` follows the one before it; one
/// without `bitsize` is left out.
fn registers(xml: &str) -> Vec<(String, Register)> {
    let mut next = 0u32;
    let mut found = vec![];
    for element in elements(xml, "<reg ") {
        let number = attribute(element, "regnum").and_then(|n| n.parse().ok()).unwrap_or(next);
        let bits = attribute(element, "bitsize").and_then(|bits| bits.parse().ok());
        if let (Some(name), Some(bits)) = (attribute(element, "name"), bits) {
            found.push((name.to_owned(), Register { number, bits }));
        }
        next = number.saturating_add(1);
    }
    found
}

fn elements<'a>(xml: &'a str, tag: &'a str) -> impl Iterator<Item = &'a str> {
    xml.split(tag).skip(1).filter_map(|rest| rest.split('>').next())
}

fn values(xml: &str, tag: &str, name: &str) -> Vec<String> {
    elements(xml, tag).filter_map(|e| attribute(e, name)).map(str::to_owned).collect()
}

fn attribute<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    // A name begins after white space: `num` must not match inside of `regnum`.
    element.match_indices(name).find_map(|(at, _)| {
        let begins = at == 0 || element[..at].ends_with(char::is_whitespace);
        element[at + name.len()..].strip_prefix("=\"").filter(|_| begins)?.split('"').next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    #[test]
    fn registers_count_on_from_the_last_number() {
        let xml = r#"<feature name="a"><reg name="x0" bitsize="64"/><reg name="x1" bitsize="64"/>
            <reg name="VTTBR_EL2" bitsize="64" regnum="127" group="cp_regs"/>
            <reg name="none"/><reg name="after" bitsize="32"/></feature>"#;
        let expected = [("x0", 0), ("x1", 1), ("VTTBR_EL2", 127)].map(|(n, i)| (n, i, 64));
        let expected = expected.into_iter().chain([("after", 129, 32)]);
        let expected = expected.map(|(name, number, bits)| (name.to_owned(), Register { number, bits }));
        assert_eq!(registers(xml), expected.collect::<Vec<_>>());
    }

    #[test]
    fn an_attribute_is_not_found_inside_of_another() {
        assert_eq!(attribute(r#"regnum="7" num="3""#, "num"), Some("3"));
        assert_eq!(attribute(r#"regnum="7""#, "num"), None);
    }

    #[tokio::test]
    async fn words_are_written_at_their_physical_addresses() {
        let (stub, qemu) = UnixStream::pair().unwrap();
        let mut gdb = Gdb {
            stub: Stub::Own(Packets::new(stub)),
            registers: HashMap::new(),
            selected: None,
            deadline: Duration::from_secs(5),
            ending: Ending::unknown(),
        };
        let mut qemu = Packets::new(qemu);
        let mut asked = vec![];
        let answering = async {
            while asked.len() < 3 {
                asked.push(String::from_utf8(qemu.packet().await.unwrap()).unwrap());
                qemu.send(b"OK").await.unwrap();
            }
            // A QEMU without the request for physical addresses.
            qemu.packet().await.unwrap();
            qemu.send(b"").await.unwrap();
        };
        let rewriting = async {
            gdb.rewrite(&[(0x4020_1004, 0xd50c_8021)]).await.unwrap();
            gdb.rewrite(&[(0x4020_1004, 0xd50c_8021)]).await.unwrap_err().to_string()
        };
        let (error, ()) = tokio::join!(rewriting, answering);
        assert_eq!(asked, ["Qqemu.PhyMemMode:1", "M40201004,4:21800cd5", "Qqemu.PhyMemMode:0"]);
        assert!(error.contains("Qqemu.PhyMemMode:1"), "{error}");
    }

    #[test]
    fn a_register_has_its_name_of_each_qemu() {
        let gdb = |names: &[&str]| {
            let registers =
                names.iter().zip(7..).map(|(name, number)| (name.to_string(), Register { number, bits: 64 }));
            Gdb {
                stub: Stub::Own(Packets::new(UnixStream::pair().unwrap().0)),
                registers: registers.collect(),
                selected: None,
                deadline: Duration::ZERO,
                ending: Ending::unknown(),
            }
        };
        let number =
            |gdb: &Gdb, name| gdb.known(name).map(|register| register.number).map_err(|e| e.to_string());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let _guard = runtime.enter();
        // The names of QEMU 10.0.2 and of 11.1.3 with -cpu max.
        let older = gdb(&["HCR_EL2", "SCTLR", "SCTLR_EL2"]);
        let newer = gdb(&["SCTLR2_EL1", "SCTLR_EL1", "SCTLR_EL2", "HCR_EL2"]);
        assert_eq!(number(&older, "SCTLR_EL1"), Ok(8));
        assert_eq!(number(&newer, "SCTLR_EL1"), Ok(8));
        assert!(older.offers(["HCR_EL2", "SCTLR_EL1"]).is_ok() && newer.offers(["SCTLR_EL1"]).is_ok());
        let none = gdb(&["HCR_EL2", "SCTLR_EL2", "SCTLR2_EL1"]);
        assert_eq!(
            number(&none, "SCTLR_EL1").unwrap_err(),
            "this QEMU's gdbstub offers no register SCTLR_EL1 or SCTLR; it offers SCTLR2_EL1, SCTLR_EL2; \
             QEMU 10.0 to 11.1 are known to work"
        );
        assert_eq!(
            none.offers(["HCR_EL2", "MAIR_EL1"]).unwrap_err().to_string(),
            "this QEMU's gdbstub offers no register MAIR_EL1; it offers 3 others, none that begins with MAIR; \
             QEMU 10.0 to 11.1 are known to work"
        );
    }

    async fn served(reply: &'static [u8]) -> (Gdb, UnixStream) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(reply).await.unwrap();
        let registers = HashMap::from([("r".into(), Register { number: 1, bits: 64 })]);
        let stub = Stub::Own(Packets::new(ours));
        let deadline = Duration::from_secs(10);
        (Gdb { stub, registers, selected: None, deadline, ending: Ending::unknown() }, theirs)
    }

    #[tokio::test]
    async fn a_register_is_little_endian_and_run_lengths_are_undone() {
        // `0*"` is 0 and five more: 29 + 5 = '"'.
        let (mut gdb, _peer) = served(b"+$OK#9a+$1234560*\"0000#00").await;
        assert_eq!(gdb.register(0, "r").await.unwrap(), 0x56_3412);
    }

    #[tokio::test]
    async fn an_error_answer_is_an_error() {
        let (mut gdb, _peer) = served(b"+$OK#9a+$E14#00").await;
        assert!(matches!(gdb.register(0, "r").await, Err(GdbError::Answer { .. })));
    }

    #[tokio::test]
    async fn a_register_that_is_too_short_is_no_value() {
        let (mut gdb, _peer) = served(b"+$OK#9a+$00000000#00").await;
        assert!(matches!(gdb.register(0, "r").await, Err(GdbError::Answer { .. })));
    }

    #[tokio::test]
    async fn an_endless_packet_is_refused() {
        let (mut gdb, mut peer) = served(b"$").await;
        let flood = tokio::spawn(async move { while peer.write_all(&[b'0'; 4096]).await.is_ok() {} });
        assert!(matches!(gdb.register(0, "r").await, Err(GdbError::Channel(PacketError::TooLong))));
        drop(gdb);
        flood.await.unwrap();
    }

    proptest! {
        #[test]
        fn any_xml_is_survived(xml in "(<reg |name=|\"|regnum=|[0-9]|>|é|[a-z ])*") {
            registers(&xml);
        }
    }
}
