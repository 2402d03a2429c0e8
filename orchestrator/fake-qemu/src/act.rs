//! The script's acts on the whole machine.

use crate::{
    machine::Machine,
    script::{Act, Moment},
    tables,
};
use rustix::process::{Signal, getpid, kill_process, setsid};
use std::{
    io::Write,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    thread::JoinHandle,
    time::Duration,
};

/// The life of a process that stays: longer than any test.
const STAYS: &str = "600";

impl Machine {
    /// Does what concerns the machine; an act that concerns the channel it comes up on is returned.
    pub(crate) fn perform(&self, act: Act) -> Option<Act> {
        match act {
            Act::Exit(code) => std::process::exit(code),
            Act::Signal(number) => {
                if let Some(signal) = Signal::from_named_raw(number) {
                    // A signal to oneself cannot be refused.
                    let _ = kill_process(getpid(), signal);
                    // Another thread may be the one that takes it: this one must not answer
                    // meanwhile.
                    loop {
                        std::thread::park();
                    }
                }
            }
            Act::IgnoreTerm => ignore_term(),
            Act::Child => stay(false),
            Act::Daemon => stay(true),
            Act::Wait(ms) => std::thread::sleep(Duration::from_millis(ms)),
            Act::Slow(ms) => self.lock().slow = Duration::from_millis(ms),
            Act::Print(text) => self.print(format!("{text}\r\n").as_bytes()),
            Act::Flood(bytes) => drop(self.flood(bytes)),
            Act::FloodFirst(bytes) => {
                if let Some(Err(_)) = self.flood(bytes).map(JoinHandle::join) {
                    eprintln!("fake-qemu: the flood panicked");
                }
            }
            Act::CloseConsole => self.close_console(),
            Act::MuteConsole => self.lock().muted = true,
            Act::StopBeating => self.lock().heartless = true,
            Act::Register(name, value) => drop(self.lock().registers.insert(name, value)),
            Act::SecondVcpu(name, value) => drop(self.lock().second_vcpu.insert(name, value)),
            Act::BarLeaf(bits) => self.lock().bar_leaf = Some(bits),
            Act::RamLeaf(bits) => self.lock().ram_leaf = Some(bits),
            Act::Poke { address, word } => self.lock().pokes.push((address, word)),
            Act::Misplace(bytes) => self.lock().misplaced = bytes,
            Act::Narrow => self.lock().narrow = true,
            Act::Taint(taint) => self.lock().taint = taint,
            Act::Unclean(why) => self.lock().unclean = Some(why),
            Act::LeakTables(kib) => self.lock().leaked = kib,
            Act::StayMapped => self.lock().stay_mapped = true,
            Act::Unsavable => self.lock().unsavable = true,
            Act::OtherFlags => self.lock().other_flags = true,
            Act::NoCpu(stops) => self.lock().without_cpu = stops,
            Act::VmmPages => self.lock().vmm_pages = true,
            Act::Protect => self.protect(),
            Act::Invalidate(all) => self.lock().invalidate = Some(all),
            Act::Trace { offset, word } => self.trace(offset, word),
            other => return Some(other),
        }
        None
    }

    /// Puts the host's own tables into its memory.
    fn protect(&self) {
        let tables = tables::host();
        let pokes = {
            let mut state = self.lock();
            state.host = tables.registers();
            state.pokes.clone()
        };
        let pokes = pokes.iter().map(|(address, word)| (*address, word.to_le_bytes().to_vec()));
        for (at, bytes) in tables.pages().into_iter().chain(pokes) {
            if let Some(Err(why)) = self.ram.as_ref().map(|ram| ram.write(at, &bytes)) {
                eprintln!("fake-qemu: the host's own tables: {why}");
            }
        }
    }

    fn trace(&self, offset: u64, word: u64) {
        let written = self.plugin.as_ref().map(|plugin| plugin.write(offset, word));
        if !matches!(written, Some(Ok(()))) {
            eprintln!("fake-qemu: the plugin's memory: {written:?}");
        }
    }

    /// Returns the bytes that the script sends at `moment` in place of `text`. None: the channel is
    /// closed then.
    pub(crate) fn troubled(&self, moment: &Moment, mut text: String) -> Option<String> {
        for act in self.trouble(moment) {
            match act {
                Act::Hang => loop {
                    std::thread::park();
                },
                Act::Close => return None,
                Act::Ignore => text.clear(),
                Act::Instead(other) => text = other,
                Act::Before(first) => text = first + &text,
                _ => eprintln!("fake-qemu: {act:?} says nothing about {moment:?}"),
            }
        }
        let slow = self.lock().slow;
        std::thread::sleep(slow);
        Some(text)
    }

    fn flood(&self, bytes: u64) -> Option<JoinHandle<()>> {
        let mut console = self.console()?;
        let flood = std::thread::Builder::new().spawn(move || {
            let line = [&[b'x'; 1023][..], b"\n"].concat().repeat(64);
            let mut left = bytes;
            while left > 0 && console.write_all(&line).is_ok() {
                left = left.saturating_sub(line.len() as u64);
            }
        });
        flood.ok()
    }
}

fn stay(leave: bool) {
    let mut command = Command::new("sleep");
    command.arg(STAYS).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if leave {
        // SAFETY: setsid is async-signal-safe.
        unsafe { command.pre_exec(|| Ok(setsid().map(drop)?)) };
    }
    if let Err(why) = command.spawn() {
        eprintln!("fake-qemu: cannot start sleep: {why}");
    }
}

fn ignore_term() {
    unsafe extern "C" {
        fn signal(number: i32, handler: usize) -> usize;
    }
    const SIG_IGN: usize = 1;
    // SAFETY: signal(2) with SIG_IGN installs no code.
    unsafe { signal(Signal::TERM.as_raw(), SIG_IGN) };
}
