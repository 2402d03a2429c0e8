//! `s2lab doctor`: checks that this machine can run s2lab, and prints hints. It fetches nothing.

use crate::cli::{
    context::Context, exit, failure::Failure, render::say, shared::answers::AnswerArguments,
    shared::answers::answer,
};
use crate::{
    boot::{
        kernel::{
            ready::HOST_MODULES,
            resolved::{KernelRequest, wanted},
        },
        preflight,
    },
    host::{
        self,
        emulated::{factor, offered, process::Launcher},
    },
    lab::{Lab, Places},
    run::slots,
    runtime,
    show::answer::{Answer, Subject},
};
use clap::Args;
use s2lab_cache::{Cache, CacheError, Qemu, Quiet};
use s2lab_model::{escape::plain, kernel::Kernels};
use s2lab_os::{
    child::{
        self,
        run::{ask, find_on_path},
    },
    limits::memory::{Available, Bound},
    private,
    size::Size,
    whole,
};
use std::{fmt, path::Path, sync::Arc};

/// The space for a cache with two kernels, QEMU, user land and a toolchain, and half as much again.
const CACHE_SPACE: u64 = 3 << 30;

/// The width of the names that are not kernels.
const NARROWEST: usize = NEWEST_QEMU.len();
const NEWEST_QEMU: &str = "newest qemu";

/// The hint about an emulator that does not serve looks.
const ANOTHER_QEMU: &str = "bring another with --qemu FILE";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    form: AnswerArguments,
}

/// The state of one subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    /// Without it nothing runs.
    Lacks,
    /// Worth knowing.
    Note,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            State::Ok => "ok",
            State::Lacks => "missing",
            State::Note => "note",
        })
    }
}

/// The lines, printed as they are found, because some take a while.
struct Findings {
    /// The width of the column of names.
    width: usize,
    lacks: bool,
    /// The lines so far, for a document at the end. None: they are printed at once.
    kept: Option<Vec<Subject>>,
}

impl Findings {
    fn say(&mut self, state: State, what: &str, text: impl fmt::Display) -> Result<(), Failure> {
        self.lacks |= state == State::Lacks;
        let text = plain(&text.to_string()).replace('\n', " ");
        if let Some(kept) = &mut self.kept {
            kept.push(Subject { state: state.to_string(), subject: what.to_owned(), text });
            return Ok(());
        }
        say(&format!("{state:<7}  {what:<width$}  {text}", width = self.width))
    }

    /// Prints an error with its hint.
    fn error(&mut self, state: State, what: &str, error: &CacheError) -> Result<(), Failure> {
        let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
        self.say(state, what, format_args!("{error}{hint}"))
    }
}

pub(crate) fn doctor(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let kept = arguments.form.is_json().then(Vec::new);
    let findings = runtime::block_on(examine(context, kept))??;
    if let Some(subjects) = findings.kept {
        answer(&Answer::Doctor { subjects })?;
    }
    Ok(if findings.lacks { exit::LAB } else { exit::FINE })
}

async fn examine(context: &Context, kept: Option<Vec<Subject>>) -> Result<Findings, Failure> {
    let kernels = context.lab().and_then(|lab| Ok(lab.kernels()?));
    let names = kernels.iter().flat_map(Kernels::names).map(str::len);
    let width = names.chain([NARROWEST]).max().unwrap_or_default();
    let mut findings = Findings { width, lacks: false, kept };
    programs(&mut findings)?;
    let places = context.places()?;
    folder(&mut findings, "cache", &places.cache, CACHE_SPACE)?;
    folder(&mut findings, "state", &places.state, preflight::STATE_SPACE)?;
    let lab = context.lab();
    machine(&mut findings, lab.as_ref().ok())?;
    match Cache::open(&places.cache, true, Arc::new(Quiet)) {
        Ok(cache) => parts(&mut findings, &cache, lab, &places).await?,
        Err(error) => findings.error(State::Lacks, "cache", &error)?,
    }
    Ok(findings)
}

fn programs(findings: &mut Findings) -> Result<(), Failure> {
    for (program, purpose, without) in [
        ("cargo", "builds the agent", State::Lacks),
        ("rustc", "builds the agent; without it the cache's does", State::Note),
        ("apt-get", "fetches packages", State::Lacks),
        ("dpkg-deb", "unpacks packages", State::Lacks),
    ] {
        match version(program) {
            Ok(version) => findings.say(State::Ok, program, version)?,
            Err(CacheError::NoProgram { .. }) => {
                findings.say(without, program, format_args!("not on PATH; install it: it {purpose}"))?;
            }
            Err(error) => findings.error(State::Lacks, program, &error)?,
        }
    }
    Ok(())
}

/// Returns the first line of a program's version.
fn version(program: &str) -> Result<String, CacheError> {
    let purpose = "print its version";
    let Some(path) = find_on_path(program) else {
        return Err(CacheError::NoProgram { program: program.into(), purpose: purpose.into() });
    };
    let mut command = child::command(path, child::CARGO);
    command.arg("--version");
    let said = ask(command, purpose, &|| false)?;
    Ok(String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_owned())
}

fn folder(findings: &mut Findings, what: &str, path: &Path, needed: u64) -> Result<(), Failure> {
    let shown = path.display();
    let written = private::make(path)
        .and_then(|()| whole::new_folder(path))
        .and_then(std::fs::remove_dir)
        .and_then(|()| preflight::free(path));
    match written {
        Ok(free) if free < needed => {
            let (free, needed) = (Size(free), Size(needed));
            findings.say(State::Lacks, what, format_args!("{shown}: {free} free, {needed} wanted; make room"))
        }
        Ok(free) => findings.say(State::Ok, what, format_args!("{shown}: {} free", Size(free))),
        Err(error) => findings.say(
            State::Lacks,
            what,
            format_args!("{shown}: {error}; set XDG_{}_HOME to a folder of yours", what.to_uppercase()),
        ),
    }
}

fn machine(findings: &mut Findings, lab: Option<&Lab>) -> Result<(), Failure> {
    let cores = std::thread::available_parallelism().map_err(Failure::io("the number of cores"))?.get();
    let hosts = if cores == 1 { "one emulated host".into() } else { format!("{cores} emulated hosts") };
    findings.say(State::Ok, "cores", format_args!("{cores}: {hosts} at a time"))?;

    let files = lab.and_then(|lab| lab.scenario_files().ok()).unwrap_or_default();
    let scenarios = crate::lab::scenarios(&files).unwrap_or_default();
    let largest = scenarios.iter().map(|scenario| host::memory(&scenario.host)).max().unwrap_or_default();
    let needed = u64::try_from(cores).unwrap_or(u64::MAX).saturating_mul(largest);
    match Available::now() {
        Ok(Available { bytes, bound }) => {
            let (of, more) = match bound {
                Bound::Machine => ("", "end other programs"),
                Bound::ControlGroup => (" in the control group", "raise its `memory.max`"),
            };
            let available = format!("{} available{of}", Size(bytes));
            let (state, text) = match () {
                () if bytes < largest => {
                    (State::Lacks, format!("{available}, {} for one host; {more}", Size(largest)))
                }
                () if bytes < needed => {
                    let count = slots::count(cores, bytes, largest);
                    (State::Note, format!("{available}, {} for {hosts}: {count} at a time", Size(needed)))
                }
                () => (State::Ok, format!("{available}, {} for {hosts}", Size(needed))),
            };
            findings.say(state, "memory", text)?;
        }
        Err(error) => findings.say(State::Lacks, "memory", format_args!("{error}; mount /proc"))?,
    }
    let kvm =
        if Path::new("/dev/kvm").exists() { "available, not used" } else { "not available, not needed" };
    findings.say(State::Note, "KVM", format_args!("{kvm} (hosts are emulated)"))
}

/// The downloads of the first run.
#[derive(Debug, Default)]
struct Fetched {
    qemu: bool,
    userland: bool,
    kernels: bool,
}

impl Fetched {
    fn any(&self) -> bool {
        self.qemu || self.userland || self.kernels
    }

    /// Returns the arguments of `run` that bring the missing parts. `archive` is true if packages
    /// can be fetched, `agent` is true if the agent is out of reach.
    fn to_bring(&self, archive: bool, agent: bool) -> Vec<&'static str> {
        let lacks = [
            (!archive && self.qemu, "--qemu"),
            (!archive && self.userland, "--rootfs"),
            (agent, "--agent"),
            (!archive && self.kernels, "--guest-kernel"),
            (!archive && self.kernels, "--kernel"),
        ];
        lacks.into_iter().filter_map(|(lacks, argument)| lacks.then_some(argument)).collect()
    }
}

/// Prints the parts in the cache, and those that would be fetched.
async fn parts(
    findings: &mut Findings,
    cache: &Cache,
    lab: Result<Lab, Failure>,
    places: &Places,
) -> Result<(), Failure> {
    let launcher = Launcher::start().map_err(Failure::io("cannot start"))?;
    let qemu = cache.qemu().await;
    let mut fetched = Fetched {
        qemu: emulator(findings, &launcher, (State::Lacks, "qemu"), &qemu).await?,
        ..Fetched::default()
    };
    match cache.newest_qemu().await {
        Err(CacheError::Offline { .. }) => {
            findings.say(
                State::Note,
                NEWEST_QEMU,
                "not in the cache: the first run with --qemu newest fetches it",
            )?;
        }
        newest => drop(emulator(findings, &launcher, (State::Note, NEWEST_QEMU), &newest).await?),
    }
    let userland = cache.host_userland().await;
    let userland = userland.as_ref().map(|userland| format!("with QEMU {}", userland.qemu_version));
    fetched.userland = there(findings, "user land", userland)?;
    match lab.and_then(|lab| Ok((lab.kernels()?, lab))) {
        Ok((kernels, lab)) => {
            let which = if lab.is_built_in() { ", the built-in one" } else { "" };
            findings.say(State::Ok, "lab", format_args!("{}{which}", lab.root.display()))?;
            for name in kernels.names() {
                fetched.kernels |=
                    kernel(findings, cache, name, wanted(&kernels, name, &lab.images())).await?;
            }
        }
        Err(error) => {
            let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
            findings.say(State::Note, "lab", format_args!("{error}{hint}"))?;
        }
    }
    let archive = cache.archive().await;
    match &archive {
        Ok(()) => findings.say(State::Ok, "archive", "apt uses Debian's archive; keyring found")?,
        Err(error) if fetched.any() => findings.error(State::Lacks, "archive", error)?,
        Err(error) => findings.error(State::Note, "archive", error)?,
    }
    // With cargo it is built; without, the cache may have it.
    let agent = find_on_path("cargo").is_none() && cache.agent().await.is_err();
    let parts = fetched.to_bring(archive.is_ok(), agent);
    if !parts.is_empty() {
        let text = format!(
            "not to be had on this machine; bring them: {}; see `s2lab run --help`",
            parts.join(", ")
        );
        findings.say(State::Note, "parts", text)?;
    }
    let Ok(qemu) = qemu else {
        return findings.say(
            State::Note,
            "factor",
            "not measured: it takes a QEMU, which the first run fetches",
        );
    };
    match factor::of_machine(&places.cache, &launcher, &qemu, true).await {
        Ok(factor) => findings.say(
            State::Ok,
            "factor",
            format_args!("{factor} (timeouts are {factor}x those of the reference machine)"),
        ),
        Err(error) => findings.say(State::Lacks, "factor", format_args!("{error}; is this QEMU whole?")),
    }
}

/// Prints the version of an emulator, and what it lacks for a look, in the given state. Returns true if
/// it would be fetched.
async fn emulator(
    findings: &mut Findings,
    launcher: &Launcher,
    (unfit, what): (State, &str),
    qemu: &Result<Qemu, CacheError>,
) -> Result<bool, Failure> {
    let qemu = match qemu {
        Ok(qemu) => qemu,
        Err(error) => return there(findings, what, Err(error)),
    };
    let version = &qemu.version;
    match offered::check(launcher, qemu).await {
        Ok(()) => findings.say(State::Ok, what, format_args!("{version}, has the registers of a look")),
        Err(error) => findings.say(unfit, what, format_args!("{version}: {error}; {ANOTHER_QEMU}")),
    }
    .map(|()| false)
}

const NO_QUICK_GUEST: &str =
    "not built: `s2lab run --quick-guests` builds it, and cells take a third less time";

/// Prints if a run could boot it at once. Returns true if anything would be fetched. Nothing is
/// built.
async fn kernel(
    findings: &mut Findings,
    cache: &Cache,
    name: &str,
    wanted: Result<KernelRequest, CacheError>,
) -> Result<bool, Failure> {
    let found = match wanted {
        Ok(KernelRequest::Built(build)) => match cache.built_folder(&build) {
            Ok(Some(_)) => Ok("built".to_owned()),
            // Its source is not there either, and so not known.
            Ok(None) | Err(CacheError::Offline { .. }) => {
                let text = match cache.can_build() {
                    Ok(()) if name == Kernels::QUICK_GUEST => NO_QUICK_GUEST.to_owned(),
                    Ok(()) => "not built: the first run that takes it builds it".to_owned(),
                    Err(error) => format!("not built, and cannot be: {error}"),
                };
                return findings.say(State::Note, name, text).map(|()| false);
            }
            Err(error) => Err(error),
        },
        Ok(KernelRequest::Archive(debian)) => {
            cache.kernel(&debian, &HOST_MODULES).await.map(|kernel| kernel.release)
        }
        Ok(KernelRequest::File(choice)) => Ok(choice.image.display().to_string()),
        Ok(KernelRequest::Fetched(choice)) => Ok(choice.image.to_string()),
        Err(error) => Err(error),
    };
    there(findings, name, found.as_ref().map(String::clone))
}

/// Prints what the cache has. Returns true if it would be fetched.
fn there(findings: &mut Findings, what: &str, found: Result<String, &CacheError>) -> Result<bool, Failure> {
    match found {
        Ok(text) => findings.say(State::Ok, what, text).map(|()| false),
        Err(CacheError::Offline { .. }) => {
            findings.say(State::Note, what, "not in the cache: the first run fetches it").map(|()| true)
        }
        Err(error) => findings.error(State::Lacks, what, error).map(|()| false),
    }
}
