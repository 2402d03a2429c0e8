//! QEMU with nothing in it but the judge.

use judge::{Findings, Order, Ram, Version, compare, prepare};
use s2lab_cache::{Cache, Parts, Progress, Qemu};
use s2lab_judge_records::RAM_SIZE;
use s2lab_model::plan::QemuChoice;
use s2lab_os::{
    child::run::{self, Watch},
    private,
};
use std::{
    env,
    io::{self, Write as _},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

/// The variable with another QEMU: a word or a file, like a value of `s2lab run --qemu`.
const QEMU: &str = "S2LAB_JUDGE_QEMU";
/// The longest time of a machine. It takes two seconds.
const LIMIT: Duration = Duration::from_secs(120);

/// An emulator and the program for it.
pub(crate) struct Bench {
    qemu: Qemu,
    judge: PathBuf,
}

/// Prints the steps of the cache past the test's captured output: the first use takes minutes.
struct Steps;

impl Progress for Steps {
    fn step(&self, what: &str) {
        // A closed stderr loses only the message.
        let _ = writeln!(io::stderr(), "judge: {what}");
    }

    fn download(&self, what: &str, done: u64, total: u64) {
        if done == 0 {
            self.step(&format!("fetching {what}, {} MB", total / 1_000_000));
        }
    }
}

impl Bench {
    /// Takes both from the user's cache.
    pub(crate) fn new() -> Self {
        let folder = private::cache(|name| env::var_os(name)).unwrap();
        let cache = Cache::open(&folder, false, Arc::new(Steps)).unwrap();
        let judge = cache.judge().unwrap_or_else(|error| panic!("the judge cannot be built: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let named = env::var_os(QEMU).unwrap_or_else(|| QemuChoice::Default.word().into());
        let qemu = match named.to_str().and_then(QemuChoice::of_word) {
            Some(QemuChoice::Default) => runtime.block_on(cache.qemu()),
            Some(QemuChoice::Newest) => runtime.block_on(cache.newest_qemu()),
            None => {
                let parts = Parts { qemu: Some(PathBuf::from(named)), ..Parts::default() };
                runtime.block_on(cache.with_parts(parts).qemu())
            }
        };
        Self { qemu: qemu.unwrap_or_else(|error| panic!("no QEMU: {error}")), judge }
    }

    /// Returns QEMU's version.
    pub(crate) fn version(&self) -> Version {
        let mut numbers = self.qemu.version.split('.').map(|number| number.parse().unwrap());
        Version(numbers.next().unwrap(), numbers.next().unwrap())
    }

    /// Runs the judge on a CPU model to its end, and compares.
    pub(crate) fn judge(&self, cpu: &str, order: &Order) -> Result<Findings, String> {
        let ram = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
        prepare(ram.as_file(), order).map_err(|error| error.to_string())?;
        let mut command = self.qemu.command();
        let backend = format!("memory-backend-file,id=ram,size={RAM_SIZE},share=on,mem-path=");
        command.args(["-M", "virt,virtualization=on,memory-backend=ram", "-cpu", cpu, "-smp", "1"]);
        command.args(["-m", &format!("{}M", RAM_SIZE >> 20), "-nodefaults", "-no-reboot"]);
        command.args(["-display", "none", "-serial", "none", "-monitor", "none"]);
        command.args(["-object", &format!("{backend}{}", ram.path().display())]);
        command.args(["-device", &format!("loader,cpu-num=0,file={}", self.judge.display())]);
        let purpose = format!("judge the walk on {cpu}");
        let watch = Watch { purpose, silence: LIMIT, activity: &mut || 0, cancelled: &|| false };
        run::run(command, watch).map_err(|error| error.to_string())?;
        let ram = ram.reopen().map_err(|error| error.to_string())?;
        compare(&Ram::new(ram), self.version()).map_err(|error| error.to_string())
    }
}
