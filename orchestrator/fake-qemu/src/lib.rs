//! A stand-in for QEMU with an emulated host in it. It takes the command line that s2lab gives to
//! QEMU and serves the descriptors in it: QMP, the gdbstub, the console and the host's agent. There
//! is no machine behind them, but enough of one that a run passes s2lab's own judgement: the BARs'
//! files have the stored bytes, and the RAM has valid page tables.
//!
//! It makes the mistakes of its [`script`], which a real QEMU, kernel or agent makes once in a
//! thousand runs.

mod act;
mod agent;
mod argv;
mod gdb;
mod machine;
mod memory;
mod migration;
mod plugin;
pub mod programs;
mod qmp;
pub mod real;
pub mod script;
mod tables;
pub mod vmm;
mod wire;

use machine::Machine;
use script::{Moment, Script};
use std::{io, process::ExitCode, sync::Arc, thread};

/// The variable that names the file with the script. Without it there are no mistakes.
pub const SCRIPT: &str = "FAKE_QEMU_SCRIPT";

/// The reason why there is nothing to play.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the command line: {0}")]
    Arguments(String),
    #[error("the script {path}: {why}")]
    Script { path: String, why: String },
    #[error("Could not load plugin {0}")]
    Plugin(String),
    #[error("{what}: {why}")]
    Io { what: String, why: io::Error },
}

/// Plays until it is killed, or ends by the script.
pub fn main() -> ExitCode {
    match play() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("fake-qemu: {why}");
            ExitCode::FAILURE
        }
    }
}

fn play() -> Result<(), Error> {
    let options = argv::Options::parse(std::env::args().skip(1))?;
    let script = match std::env::var(SCRIPT) {
        Ok(path) => Script::read(&path)?,
        Err(_) => Script::default(),
    };
    let machine = Arc::new(Machine::new(options, script)?);
    if !machine.options.questions {
        machine.trouble(&Moment::Start);
        let (gdb, served) = (machine.channel("gdb")?, Arc::clone(&machine));
        thread::Builder::new()
            .spawn(move || gdb::serve(&served, gdb))
            .map_err(|why| Error::Arguments(why.to_string()))?;
    }
    qmp::serve(&machine, machine.channel("qmp")?);
    // QEMU does not end when its peers have gone.
    loop {
        thread::park();
    }
}
