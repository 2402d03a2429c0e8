//! The cache with a full disk, a read-only one, a broken network, and damaged objects. Each fill is
//! a process of its own: this program, with the scripts of [`crate::archive`] in apt's place.

use crate::{
    archive::{Archive, IMAGE, SECOND},
    disk::apart,
    lab::{Checked, expect},
};
use s2lab_cache::{Cache, CacheError, DebianKernel, Progress};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The variable that names the cache that this program, started again, fills.
pub(crate) const CACHE: &str = "S2LAB_LIFECYCLE_CACHE";
/// If set, the archive is not used.
const OFFLINE: &str = "S2LAB_LIFECYCLE_OFFLINE";
/// If set, the newest QEMU is taken in place of a kernel, and its version printed.
const NEWEST: &str = "S2LAB_LIFECYCLE_NEWEST";
/// A fill takes about a second.
const DEADLINE: Duration = Duration::from_secs(60);
const OFTEN: Duration = Duration::from_millis(10);

/// Prints the cache's steps to stderr.
struct Steps;

impl Progress for Steps {
    fn step(&self, what: &str) {
        eprintln!("step: {what}");
    }
    fn download(&self, _: &str, _: u64, _: u64) {}
}

/// Takes a kernel out of the cache, in the child.
pub(crate) fn main(cache: &Path) -> ExitCode {
    let take = async {
        let cache = Cache::open(cache, std::env::var_os(OFFLINE).is_some(), Arc::new(Steps))?;
        if std::env::var_os(NEWEST).is_some() {
            let version = cache.newest_qemu().await?.version;
            eprintln!("QEMU {version}");
            return Ok(());
        }
        let kernel =
            DebianKernel { package: IMAGE.to_owned(), version: None, suites: vec!["bookworm".to_owned()] };
        cache.kernel(&kernel, &["virtio_pci"]).await.map(drop)
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(take) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let hint = CacheError::hint(&error).map(|hint| format!("hint: {hint}\n")).unwrap_or_default();
            eprint!("{error}\n{hint}");
            ExitCode::FAILURE
        }
    }
}

/// The result of a fill, and its output.
struct Answer {
    well: bool,
    said: String,
}

struct Place {
    folder: TempDir,
    archive: Archive,
}

impl Place {
    fn new() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let archive = Archive::new(folder.path())?;
        Ok(Self { folder, archive })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Runs `command`, in which this program fills the cache.
    fn fill_by(&self, mut command: Command, offline: bool) -> Result<Answer, String> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = [self.archive.programs()].into_iter().chain(std::env::split_paths(&path));
        let path = std::env::join_paths(path).map_err(|e| e.to_string())?;
        let stderr = fs::File::create(self.path("stderr")).map_err(|e| e.to_string())?;
        command.env("PATH", path).env(CACHE, self.path("cache")).env_remove(OFFLINE);
        if offline {
            command.env(OFFLINE, "1");
        }
        command.current_dir(self.folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let mut child = command.spawn().map_err(|e| e.to_string())?;
        let begin = Instant::now();
        loop {
            if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
                return Ok(Answer { well: status.success(), said: self.read("stderr") });
            }
            if begin.elapsed() > DEADLINE {
                // It has taken too long, so the result does not matter.
                let _ = (child.kill(), child.wait());
                return Err(format!("it does not end in {DEADLINE:?}: {}", self.read("stderr")));
            }
            sleep(OFTEN);
        }
    }

    fn fill(&self, offline: bool) -> Result<Answer, String> {
        self.fill_by(Command::new(own()?), offline)
    }

    /// Fills like [`Place::fill`], in a mount namespace, by a script that has this program as $1.
    fn fill_apart(&self, script: &str, argument: &str, offline: bool) -> Result<Answer, String> {
        let mut command = apart();
        command.args(["sh", "-c", script, "sh"]).arg(own()?).arg(argument);
        self.fill_by(command, offline)
    }

    /// Takes the newest QEMU.
    fn newest(&self, offline: bool) -> Result<Answer, String> {
        let mut command = Command::new(own()?);
        command.env(NEWEST, "1");
        self.fill_by(command, offline)
    }

    fn fills(&self, offline: bool) -> Checked {
        let answer = self.fill(offline)?;
        if answer.well { Ok(()) } else { Err(answer.said) }
    }

    /// Returns the names in the cache's folder `kind`. Half-made ones begin with a full stop.
    fn names(&self, kind: &str) -> Vec<String> {
        let names = fs::read_dir(self.path("cache/objects").join(kind)).into_iter().flatten().flatten();
        let mut names: Vec<_> = names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn image(&self) -> Result<PathBuf, String> {
        let kernels = self.names("kernel");
        let [name] = &kernels[..] else { return Err(format!("one kernel was expected: {kernels:?}")) };
        Ok(self.path("cache/objects/kernel").join(name).join("Image"))
    }
}

fn own() -> Result<PathBuf, String> {
    std::env::current_exe().map_err(|e| e.to_string())
}

fn says(answer: &Answer, words: &[&str]) -> Checked {
    match words.iter().find(|word| !answer.said.contains(**word)) {
        None if !answer.well => Ok(()),
        missing => Err(format!("{missing:?} is not what it says, or it is well: {}", answer.said)),
    }
}

/// A script that fills a cache on a file system in memory with the options $2, and then again, with
/// room.
const TWICE: &str = r#"
mkdir -p cache && mount -t tmpfs -o "$2" tmpfs cache || exit 99
"$1" 2>first
echo $? >code
find cache -name '.tmp-*' -o -name '*.new-*' >half
mount -o remount,size=64m,nr_inodes=10000 cache || exit 98
exec "$1"
"#;

/// Every failed write is an error with a hint. The next run, with room, works.
fn sweep(options: impl Iterator<Item = String>, kinds: &[&str]) -> Checked {
    let place = Place::new()?;
    let (mut met, mut all, mut well) = (BTreeSet::<&str>::new(), String::new(), false);
    for options in options {
        let next = place.fill_apart(TWICE, &options, false)?;
        let said = place.read("first");
        if !next.well {
            return Err(format!("{options}: the next run: {}\nafter: {said}", next.said));
        }
        well = place.read("code").trim() == "0";
        let due = ["No space left on device", "hint: ", "make room"];
        if !well && due.iter().any(|words| !said.contains(words)) {
            return Err(format!("{options}: {said}"));
        }
        expect(&format!("{options}: half-made, after {said}"), place.read("half").as_str(), "")?;
        met.extend(kinds.iter().filter(|kind| said.contains(**kind)));
        all.push_str(&format!("{options}: {said}\n"));
    }
    expect("with enough room it works", well, true)?;
    let missed: Vec<_> = kinds.iter().filter(|kind| !met.contains(*kind)).collect();
    if missed.is_empty() { Ok(()) } else { Err(format!("never met: {missed:?}\n{all}")) }
}

/// Gives room for more and more 4 KiB pages.
pub(crate) fn no_room() -> Checked {
    let sizes = (1..=32).map(|pages| pages * 4).chain([256]).map(|kib| format!("size={kib}k"));
    sweep(
        sizes,
        &[
            "apt.conf",
            "resolved",
            "cannot fetch",
            "cannot unpack",
            "/Image`",
            "manifest.json",
            "modules.cpio",
        ],
    )
}

/// Gives room for more and more files and folders.
pub(crate) fn no_files() -> Checked {
    let counts =
        (2..=40).step_by(2).chain([44, 48, 52, 64]).map(|inodes| format!("size=1m,nr_inodes={inodes}"));
    sweep(counts, &["cannot create", "cannot open the lock", "cannot write"])
}

/// A filled cache is enough. A missing object is an error that names it.
pub(crate) fn read_only() -> Checked {
    const READ_ONLY: &str = r#"mkdir -p cache && mount --bind cache cache && mount -o remount,bind,ro cache || exit 99; exec "$1""#;
    let place = Place::new()?;
    for offline in [true, false] {
        let empty = place.fill_apart(READ_ONLY, "", offline)?;
        says(&empty, &["Read-only file system", "XDG_CACHE_HOME"])?;
    }
    place.fills(false)?;
    for offline in [true, false] {
        let answer = place.fill_apart(READ_ONLY, "", offline)?;
        expect(&answer.said, answer.well, true)?;
    }
    fs::remove_dir_all(place.path("cache/objects/modules")).map_err(|e| e.to_string())?;
    says(
        &place.fill_apart(READ_ONLY, "", false)?,
        &["modules 6.6", "Read-only file system", "XDG_CACHE_HOME"],
    )
}

/// One package arrives, and half of the other: the next run fetches only the other.
pub(crate) fn broken_off() -> Checked {
    let place = Place::new()?;
    place.archive.set("cut", SECOND)?;
    let cut = place.fill(false)?;
    says(&cut, &["cannot fetch", "Connection closed", "hint: is the network up?"])?;
    let packages = place.names("deb");
    expect("packages that have arrived", packages.len(), 1)?;
    expect("it is the first", packages.iter().all(|name| name.ends_with(&format!("-{IMAGE}.deb"))), true)?;
    expect("kernels", place.names("kernel"), vec![])?;
    says(&place.fill(true)?, &["offline", SECOND, "--offline"])?;
    place.archive.mend("cut")?;
    place.archive.asked();
    place.fills(false)?;
    expect("what is fetched then", place.archive.asked(), vec![SECOND.to_owned()])?;
    place.archive.set("down", "")?;
    place.fills(false)?;
    place.fills(true)
}

/// Even the lists cannot be fetched.
pub(crate) fn no_network() -> Checked {
    let place = Place::new()?;
    place.archive.set("down", "")?;
    says(&place.fill(false)?, &["cannot fetch the archive's package lists", "hint: is the network up?"])?;
    place.archive.mend("down")?;
    place.fills(false)
}

/// The archive has moved on since the versions were resolved.
pub(crate) fn moved_on() -> Checked {
    let place = Place::new()?;
    place.archive.set("cut", IMAGE)?;
    says(&place.fill(false)?, &["cannot fetch"])?;
    place.archive.set("moved", "2.0")?;
    let answer = place.fill(false)?;
    says(
        &answer,
        &[&format!("the archive has no {IMAGE}:arm64 1.0 in bookworm; it has 2.0"), "s2lab cache refresh"],
    )
}

/// An archive without the newest release has the newest QEMU of an older one. One that does not answer
/// leads to no older release.
pub(crate) fn older_archive() -> Checked {
    let place = Place::new()?;
    place.archive.publish_qemu("10.0.2")?;
    place.archive.set("down", "")?;
    says(&place.newest(false)?, &["cannot fetch the archive's package lists", "hint: is the network up?"])?;
    place.archive.mend("down")?;
    let takes = |offline: bool, version: &str| {
        let answer = place.newest(offline)?;
        expect(&answer.said, answer.well, true)?;
        expect(&answer.said, answer.said.ends_with(&format!("QEMU {version}\n")), true)
    };
    let suites = || {
        let resolved = place.read("cache/objects/resolved.json");
        (resolved.contains("from trixie,"), resolved.contains("from bookworm,"))
    };
    place.archive.set("old", "")?;
    takes(false, "10.0.2")?;
    expect("the suites", suites(), (false, true))?;
    // The answer is kept: nothing is asked again.
    place.archive.mend("old")?;
    place.archive.publish_qemu("11.1.3")?;
    takes(false, "10.0.2")?;
    takes(true, "10.0.2")?;
    let other = Place::new()?;
    other.archive.publish_qemu("11.1.3")?;
    let answer = other.newest(false)?;
    expect(&answer.said, answer.well, true)?;
    expect("the newest release", other.read("cache/objects/resolved.json").contains("from trixie,"), true)
}

/// The lists of the machine's architecture come with those of the host's, which are not fetched again.
pub(crate) fn both_architectures() -> Checked {
    let place = Place::new()?;
    place.archive.publish_qemu("10.0.2")?;
    place.archive.set("old", "")?;
    let answer = place.newest(false)?;
    expect(&answer.said, answer.well, true)?;
    let architectures = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64,arm64" };
    let suites = ["bookworm", "bookworm-backports", "bookworm-security", "bookworm-updates"];
    let due: Vec<_> = suites.map(|suite| format!("{architectures} {suite}")).into();
    expect("the lists", place.archive.listed(), due)?;
    place.archive.publish("1.0").map_err(|e| e.to_string())?;
    place.fills(false)?;
    expect("lists that are fetched again", place.archive.listed(), vec![])
}

/// Bytes change, the size does not.
pub(crate) fn damaged() -> Checked {
    let place = Place::new()?;
    place.fills(false)?;
    let image = place.image()?;
    let good = fs::read(&image).map_err(|e| e.to_string())?;
    let damage = || {
        let mut bad = good.clone();
        bad.iter_mut().skip(9000).take(1).for_each(|byte| *byte ^= 1);
        fs::write(&image, bad).map_err(|e| e.to_string())
    };
    let is_good = |after: &str| expect(after, fs::read(&image).is_ok_and(|found| found == good), true);
    // The packages are still there.
    for offline in [false, true] {
        damage()?;
        let answer = place.fill(offline)?;
        expect(
            "the damage is reported",
            answer.said.contains("damaged (`Image` has another content) and is made anew"),
            true,
        )?;
        expect(&answer.said, answer.well, true)?;
        is_good("made anew")?;
    }
    fs::remove_dir_all(place.path("cache/objects/deb")).map_err(|e| e.to_string())?;
    damage()?;
    says(
        &place.fill(true)?,
        &[
            "in the cache is damaged (`Image` has another content) and cannot be made anew: offline",
            "hint: run once without --offline",
        ],
    )?;
    place.fills(false)?;
    is_good("fetched and made anew")?;
    expect("half-made", place.names("kernel").len(), 1)
}
