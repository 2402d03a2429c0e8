//! The little of GDB's remote protocol that reads registers from QEMU's gdbstub.
//!
//! The stub offers system registers by name; their numbers differ from CPU model to CPU model and come from its XML
//! (QEMU 10.0 target/arm/gdbstub.c). An attached client stops the machine at start; QMP `cont` lets it run on.

use std::{collections::HashMap, io, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

/// Longest packet that the stub may send, bytes after unescaping. QEMU's own limit is 4 KiB.
const MAX_PACKET: usize = 64 * 1024;
/// Longest description of the registers that is read, bytes over all its files; QEMU 10.0 has 60 KB.
const MAX_XML: usize = 4 << 20;
/// Longest register that is read, bytes.
const REGISTER: usize = 8;

/// What the stub says of a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Register {
    number: u32,
    bits: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum GdbError {
    #[error("gdbstub channel: {0}")]
    Io(#[from] io::Error),
    #[error("the gdbstub has not answered `{request}` in {deadline:?}")]
    Silent { request: String, deadline: Duration },
    #[error("the gdbstub answers `{request}` with `{answer}`")]
    Answer { request: String, answer: String },
    #[error("the gdbstub's packet is longer than {MAX_PACKET} bytes")]
    TooLong,
    #[error("this QEMU's gdbstub offers no register {0}; QEMU 10.0 or newer does")]
    NoRegister(String),
}

/// A connection to the gdbstub.
pub struct Gdb {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
    registers: HashMap<String, Register>,
    /// The vCPU that the stub reads from.
    selected: Option<u32>,
    /// How long the stub may take for one answer.
    deadline: Duration,
}

impl Gdb {
    /// Attaches and learns the registers' numbers. Each answer of the stub may take until `deadline`.
    pub async fn connect(stream: UnixStream, deadline: Duration) -> Result<Self, GdbError> {
        let (read, write) = stream.into_split();
        let mut gdb =
            Self { read: BufReader::new(read), write, registers: HashMap::new(), selected: None, deadline };
        gdb.ask("qSupported:xmlRegisters=aarch64").await?;
        gdb.registers = gdb.describe().await?;
        Ok(gdb)
    }

    /// The value of a register of vCPU `vcpu` (from 0) that is at most 64 bits wide. The machine must be stopped.
    pub async fn register(&mut self, vcpu: u32, name: &str) -> Result<u64, GdbError> {
        let Register { number, bits } =
            *self.registers.get(name).ok_or_else(|| GdbError::NoRegister(name.into()))?;
        self.select(vcpu).await?;
        let request = format!("p{number:x}");
        let answer = self.ask(&request).await?;
        let bytes = unhex(&answer).filter(|b| b.len() * 8 == bits && b.len() <= REGISTER);
        let bytes = bytes.ok_or_else(|| unexpected(&request, &answer))?;
        Ok(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    /// Makes the connection usable after a call was dropped before its answer: what is still on its way is read past. The stub
    /// answers `vMustReplyEmpty` with nothing, as nothing else that is asked here.
    pub async fn resume_after_cancel(&mut self) -> Result<(), GdbError> {
        let mut answer = self.ask("vMustReplyEmpty").await?;
        while !answer.is_empty() {
            let packet = timeout(self.deadline, self.packet()).await;
            let silent = |_| GdbError::Silent { request: "vMustReplyEmpty".into(), deadline: self.deadline };
            answer = packet.map_err(silent)??;
        }
        self.selected = None;
        Ok(())
    }

    async fn select(&mut self, vcpu: u32) -> Result<(), GdbError> {
        if self.selected == Some(vcpu) {
            return Ok(());
        }
        // Threads of the stub count from 1.
        let request = format!("Hg{:x}", vcpu + 1);
        let answer = self.ask(&request).await?;
        if answer != b"OK" {
            return Err(unexpected(&request, &answer));
        }
        self.selected = Some(vcpu);
        Ok(())
    }

    /// Names and numbers of the registers, from `target.xml` and the files that it includes.
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
        let sum = request.bytes().fold(0u8, u8::wrapping_add);
        let deadline = self.deadline;
        let exchange = async {
            self.write.write_all(format!("${request}#{sum:02x}").as_bytes()).await?;
            let answer = self.packet().await?;
            self.write.write_all(b"+").await?;
            Ok(answer)
        };
        let silent = |_| GdbError::Silent { request: request.into(), deadline };
        timeout(deadline, exchange).await.map_err(silent)?
    }

    /// The next packet, with escapes and run lengths undone.
    async fn packet(&mut self) -> Result<Vec<u8>, GdbError> {
        while self.read.read_u8().await? != b'$' {}
        let mut packet: Vec<u8> = vec![];
        loop {
            match self.read.read_u8().await? {
                b'#' => break,
                b'}' => packet.push(self.read.read_u8().await? ^ 0x20),
                b'*' => {
                    let repeat = usize::from(self.read.read_u8().await?.saturating_sub(29));
                    let last = packet.last().copied().unwrap_or_default();
                    packet.extend(std::iter::repeat_n(last, repeat));
                }
                byte => packet.push(byte),
            }
            if packet.len() > MAX_PACKET {
                return Err(GdbError::TooLong);
            }
        }
        // A unix socket loses and changes nothing, so the checksum is read past.
        self.read.read_u16().await?;
        Ok(packet)
    }
}

fn unexpected(request: &str, answer: &[u8]) -> GdbError {
    let answer = String::from_utf8_lossy(answer).chars().take(80).collect();
    GdbError::Answer { request: request.into(), answer }
}

fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let digits = std::str::from_utf8(digits).ok().filter(|d| d.is_ascii() && d.len() % 2 == 0)?;
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).ok()).collect()
}

/// Every register of one file. A register without `regnum` follows the one before it; one without `bitsize` is none.
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

    async fn served(reply: &'static [u8]) -> (Gdb, UnixStream) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(reply).await.unwrap();
        let (read, write) = ours.into_split();
        (
            Gdb {
                read: BufReader::new(read),
                write,
                registers: HashMap::from([("r".into(), Register { number: 1, bits: 64 })]),
                selected: None,
                deadline: Duration::from_secs(10),
            },
            theirs,
        )
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
        assert!(matches!(gdb.register(0, "r").await, Err(GdbError::TooLong)));
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
