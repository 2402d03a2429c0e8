//! The part of QEMU's command line that s2lab uses.

use crate::Error;
use std::collections::BTreeMap;

/// The options of the command line.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// `-M none`: no machine, only questions.
    pub(crate) questions: bool,
    pub(crate) cpu: String,
    /// The descriptors of the character devices, by id.
    pub(crate) channels: BTreeMap<String, i32>,
    /// The path and size of each memory backend, by id.
    pub(crate) memories: BTreeMap<String, (String, u64)>,
    /// The path of each drive, by id.
    pub(crate) drives: BTreeMap<String, String>,
    /// The PCI slots of the assigned devices' root ports, by the devices' names.
    pub(crate) devices: BTreeMap<String, u64>,
    pub(crate) kernel_arguments: String,
    /// The value of `-plugin`.
    pub(crate) plugin: Option<String>,
}

impl Options {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, Error> {
        let mut options = Self::default();
        let mut ports = BTreeMap::new();
        while let Some(option) = words.next() {
            if matches!(option.as_str(), "-nodefaults" | "-no-reboot" | "-S") {
                continue;
            }
            let value = words.next().ok_or_else(|| Error::Arguments(format!("{option} without a value")))?;
            let parts = parts(&value);
            let part = |name: &str| parts.get(name).copied();
            let need = |name: &str| {
                part(name).ok_or_else(|| Error::Arguments(format!("no {name} in {option} {value}")))
            };
            match option.as_str() {
                "-M" => options.questions = value == "none",
                "-cpu" => options.cpu = value.clone(),
                "-append" => options.kernel_arguments = value.clone(),
                "-plugin" => options.plugin = Some(value.clone()),
                "-chardev" => drop(options.channels.insert(need("id")?.into(), number(need("fd")?)? as i32)),
                "-object" => {
                    let memory = (need("mem-path")?.to_owned(), number(need("size")?)?);
                    options.memories.insert(need("id")?.into(), memory);
                }
                "-device" if value.starts_with("pcie-root-port,") => {
                    ports.insert(need("id")?.to_owned(), number(need("addr")?)?);
                }
                "-blockdev" => {
                    options.drives.insert(need("node-name")?.into(), need("file.filename")?.into());
                }
                "-device"
                    if ["ivshmem-plain,", "nvme,", "igb,"].iter().any(|model| value.starts_with(model)) =>
                {
                    let name = need("id")?.trim_start_matches("dev-").to_owned();
                    let port = ports.get(need("bus")?).copied();
                    let port = port.ok_or_else(|| Error::Arguments(format!("no port for {name}")))?;
                    options.devices.insert(name, port);
                }
                "-device" | "-accel" | "-smp" | "-m" | "-mon" | "-gdb" | "-serial" | "-kernel"
                | "-initrd" | "-display" => {}
                "-incoming" if value == "defer" => {}
                _ => return Err(Error::Arguments(format!("{option}, which s2lab does not use"))),
            }
        }
        Ok(options)
    }

    /// Returns a word `NAME=value` of the kernel's command line.
    pub(crate) fn kernel_word(&self, name: &str) -> Option<&str> {
        self.kernel_arguments.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }
}

fn parts(value: &str) -> BTreeMap<&str, &str> {
    value.split(',').filter_map(|part| part.split_once('=')).collect()
}

fn number(text: &str) -> Result<u64, Error> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| Error::Arguments(format!("{text} is not a number")))
}
