//! The machine that s2lab runs on.

use crate::outside::{self, ReadError, kinds};
use std::{env::consts::ARCH, io, path::Path, thread};

/// The reason why the machine is not known.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    #[error("cannot count the processors: {0}")]
    Cores(#[source] io::Error),
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A machine, as far as it decides how fast s2lab is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// The processors that s2lab may use.
    pub cores: usize,
    /// The model of the first processor.
    pub cpu: String,
}

impl Machine {
    /// Returns this machine.
    pub fn this() -> Result<Self, MachineError> {
        let cores = thread::available_parallelism().map_err(MachineError::Cores)?.get();
        let cpu = cpu_model(&outside::read_text(Path::new("/proc/cpuinfo"), kinds::SYSTEM)?);
        Ok(Self { cores, cpu })
    }

    /// Returns the kind in one line: times compare only between machines of one kind. It does not
    /// name the machine itself.
    pub fn kind(&self) -> String {
        let Self { cores, cpu } = self;
        let cpus = if *cores == 1 { "CPU" } else { "CPUs" };
        format!("{ARCH}, {cores} {cpus}, {cpu}")
    }
}

/// Returns the first processor in /proc/cpuinfo: a name on x86, numbers on arm64 (Linux 6.12
/// arch/arm64/kernel/cpuinfo.c).
fn cpu_model(cpuinfo: &str) -> String {
    const TELLING: [&str; 5] = ["model name", "CPU implementer", "CPU variant", "CPU part", "CPU revision"];
    let first = cpuinfo.lines().take_while(|line| !line.trim().is_empty());
    let names = first.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        TELLING.contains(&name.trim()).then(|| value.trim())
    });
    names.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_has_a_model_on_either_architecture() {
        let intel = "processor\t: 0\nmodel\t\t: 1\nmodel name\t: A CPU @ 2 GHz\ncpu MHz\t\t: 2001.7\n\nprocessor\t: 1\nmodel name\t: B\n";
        assert_eq!(cpu_model(intel), "A CPU @ 2 GHz", "what varies is left out");
        let arm = "processor\t: 0\nBogoMIPS\t: 50.00\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x1\nCPU part\t: 0xd40\nCPU revision\t: 1\n";
        assert_eq!(cpu_model(arm), "0x41 0x1 0xd40 1");
        assert_eq!(cpu_model(""), "");
    }

    #[test]
    fn a_kind_is_one_line() {
        let of = |cores, cpu: &str| Machine { cores, cpu: cpu.into() }.kind();
        assert_eq!(of(1, "A"), format!("{ARCH}, 1 CPU, A"));
        assert_eq!(of(2, "A CPU @ 2 GHz"), format!("{ARCH}, 2 CPUs, A CPU @ 2 GHz"));
        assert!(!Machine::this().unwrap().kind().contains('\n'));
    }
}
