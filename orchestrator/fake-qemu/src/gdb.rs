//! The part of the gdbstub that reads registers (GDB's manual, "Remote Protocol").

use crate::{machine::Machine, script::Moment};
use data_encoding::HEXLOWER;
use std::{
    io::{BufReader, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
};

/// Registers of `aarch64-core.xml` are numbered from 0: x0 to x30, sp, pc, cpsr.
const CORE: [&str; 5] = ["x19", "x20", "sp", "pc", "cpsr"];
const CORE_NUMBERS: [u32; 5] = [19, 20, 31, 32, 33];
/// The number of the first system register. QEMU's numbers differ from CPU model to CPU model.
const FIRST_SYSTEM: u32 = 100;
const SYSTEM: [&str; 12] = [
    "HCR_EL2",
    "VTTBR_EL2",
    "VTCR_EL2",
    "TTBR0_EL1",
    "TTBR1_EL1",
    "TCR_EL1",
    "MAIR_EL1",
    "SCTLR",
    "TTBR0_EL2",
    "TCR_EL2",
    "MAIR_EL2",
    "SCTLR_EL2",
];
/// The vCPU that runs the guest, counted from 1 as the stub does.
const GUEST_THREAD: u64 = 2;
/// The cpsr of the host's own vCPU: EL2h, RW and TGE without VM.
const HOST_CPSR: u64 = 0x3c9;
/// The cpsr of a host's vCPU in protected mode: EL1h.
const EL1_CPSR: u64 = 0x3c5;
const HOST_HCR: u64 = 0x4_8800_0000;

pub(crate) fn serve(machine: &Machine, mut channel: UnixStream) {
    let Ok(reading) = channel.try_clone() else { return };
    let mut reading = BufReader::new(reading).bytes().map_while(Result::ok);
    let mut thread = 1;
    loop {
        if !reading.by_ref().any(|byte| byte == b'$') {
            return;
        }
        let request: Vec<u8> = reading.by_ref().take_while(|byte| *byte != b'#').collect();
        // The checksum.
        let _ = reading.by_ref().take(2).count();
        let request = String::from_utf8_lossy(&request).into_owned();
        let answer = answer(machine, &request, &mut thread);
        let sum = answer.bytes().fold(0u8, u8::wrapping_add);
        let text = format!("+${answer}#{sum:02x}");
        let Some(text) = machine.troubled(&Moment::Gdb(request), text) else {
            let _ = channel.shutdown(Shutdown::Both);
            return;
        };
        if channel.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

fn answer(machine: &Machine, request: &str, thread: &mut u64) -> String {
    let hex = |digits: &str| u64::from_str_radix(digits, 16).ok();
    if request.starts_with("qSupported") {
        return "PacketSize=1000;qXfer:features:read+".into();
    }
    if let Some(wanted) = request.strip_prefix("qXfer:features:read:") {
        return file(wanted).unwrap_or_else(|| "E00".into());
    }
    if let Some(number) = request.strip_prefix("Hg").and_then(hex) {
        *thread = number;
        return "OK".into();
    }
    match request.strip_prefix('p').and_then(hex) {
        Some(number) => register(machine, *thread, number as u32).unwrap_or_else(|| "E14".into()),
        None => String::new(),
    }
}

/// Returns `NAME:OFFSET,LENGTH` of the register descriptions.
fn file(wanted: &str) -> Option<String> {
    let (name, range) = wanted.rsplit_once(':')?;
    let (offset, length) = range.split_once(',')?;
    let (offset, length) = (usize::from_str_radix(offset, 16).ok()?, usize::from_str_radix(length, 16).ok()?);
    let text = match name {
        "target.xml" => "<?xml version=\"1.0\"?><target><xi:include href=\"core.xml\"/>\
                         <xi:include href=\"system.xml\"/></target>"
            .to_owned(),
        "core.xml" => describe(CORE_NUMBERS.into_iter().zip(CORE)),
        "system.xml" => describe((FIRST_SYSTEM..).zip(SYSTEM)),
        _ => return None,
    };
    let rest = text.get(offset..)?;
    Some(match rest.get(..length) {
        Some(piece) if piece.len() < rest.len() => format!("m{piece}"),
        _ => format!("l{rest}"),
    })
}

fn describe(registers: impl Iterator<Item = (u32, &'static str)>) -> String {
    let list = registers.map(|(number, name)| {
        format!("<reg name=\"{name}\" bitsize=\"{}\" regnum=\"{number}\"/>", bytes(name) * 8)
    });
    format!("<feature name=\"fake\">{}</feature>", list.collect::<String>())
}

/// Returns the size of a register. QEMU describes cpsr with 32 bits, all others with 64.
fn bytes(name: &str) -> usize {
    if name == "cpsr" { 4 } else { 8 }
}

fn register(machine: &Machine, thread: u64, number: u32) -> Option<String> {
    let core = CORE_NUMBERS.iter().zip(CORE).find(|(known, _)| **known == number).map(|(_, name)| name);
    let system = || SYSTEM.get(number.checked_sub(FIRST_SYSTEM)? as usize).copied();
    let name = core.or_else(system)?;
    let state = machine.lock();
    // The first stop finds the guest's vCPU in the host, like real stops often do. The second vCPU of a
    // guest is in it later, on the host's other vCPU.
    let is_second = thread != GUEST_THREAD;
    let passed = state.stops.saturating_sub(state.without_cpu);
    let in_guest = if is_second { state.vcpus > 1 && passed > 2 } else { passed > 1 };
    let value = match (state.held.as_ref().filter(|_| in_guest), name) {
        (Some(_), "x20") => u64::from(is_second),
        (Some(registers), name) => {
            let own = state.second_vcpu.get(name).filter(|_| is_second);
            let scripted = own.or_else(|| state.registers.get(name));
            scripted.or_else(|| registers.get(name)).copied().unwrap_or_default()
        }
        (None, "cpsr") if !state.host.is_empty() => EL1_CPSR,
        (None, name) if !state.host.is_empty() => state.host.get(name).copied().unwrap_or_default(),
        (None, "cpsr") => HOST_CPSR,
        (None, "HCR_EL2") => HOST_HCR,
        (None, _) => 0,
    };
    Some(HEXLOWER.encode(value.to_le_bytes().get(..bytes(name))?))
}
