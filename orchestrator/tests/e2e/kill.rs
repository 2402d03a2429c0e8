//! Trials of real runs killed at random moments. They are not part of the everyday tests, because a
//! few kills take a minute; CONTRIBUTING.md has the commands.

use crate::harness::{DEADLINE, Place, checkout, left_over, scenario};
use s2lab_model::record::{LogError, Run};
use std::{
    fs,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread::sleep,
    time::{Duration, Instant, SystemTime},
};

/// The variable with the number of runs that are killed.
const KILLS: &str = "S2LAB_KILLS";
/// The variable with the seed of the moments.
const SEED: &str = "S2LAB_SEED";
/// The time after a kill in which everything must end.
const GONE: Duration = Duration::from_secs(5);
/// The time of a cell once it has its slot.
const CELL_MS: u64 = 13_000;
/// The time before the slot, with a full cache.
const PREPARE_MS: u64 = 1_500;
/// The time of the agent's build.
const BUILD_MS: u64 = 25_000;
/// Much of the time from an empty cache to the first boot.
const FILL_MS: u64 = 60_000;

/// A random enough source of moments: a linear congruential generator (Knuth's MMIX).
struct Moments(u64);

impl Moments {
    #[expect(clippy::disallowed_methods, reason = "a seed that differs from trial to trial")]
    fn new() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = std::env::var(SEED).ok().map_or(now, |seed| seed.parse().unwrap());
        println!("{SEED}={seed}");
        Self(seed)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

fn kills(otherwise: u32) -> u32 {
    std::env::var(KILLS).ok().map_or(otherwise, |kills| kills.parse().unwrap())
}

fn start(place: &Place) -> Child {
    place.start(["run", &scenario("inverted"), "--kernel", "debian-6.12"])
}

/// Kills the run, and checks that nothing remains of it but files that claim no more than is true.
fn kill(place: &Place, mut run: Child) {
    run.kill().unwrap();
    run.wait().unwrap();
    let begin = Instant::now();
    while !left_over(place).is_empty() {
        assert!(begin.elapsed() < GONE, "{:?}", left_over(place));
        sleep(Duration::from_millis(10));
    }
    let (gone, at) = (begin.elapsed(), last_event(place));
    assert_eq!(sockets(place), Vec::<String>::new());
    println!("  gone after {} ms; the log ends with {at}", gone.as_millis());
}

/// Returns the last event in the newest run's log. Whenever a run stops, its log is valid.
fn last_event(place: &Place) -> String {
    let path = place.path().join("s2lab/runs/latest/events.jsonl");
    let Ok(text) = fs::read_to_string(path) else { return "nothing".into() };
    match Run::read(&text) {
        // The cell may end before the moment comes.
        Ok(run) => {
            assert!(run.ended || run.cells.iter().all(|cell| cell.attempts.iter().all(|a| a.end.is_none())))
        }
        Err(LogError::Empty) => return "nothing".into(),
        Err(error) => panic!("{error}"),
    }
    let last = text.lines().last().unwrap();
    let event = last.split_once("\"event\":").unwrap().1;
    event.chars().take(60).collect()
}

/// Returns the sockets with a name in the run's folders, and the open ones with such a name.
fn sockets(place: &Place) -> Vec<String> {
    fn below(folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let kind = entry.file_type().unwrap();
            if kind.is_socket() {
                found.push(entry.path().display().to_string());
            } else if kind.is_dir() {
                below(&entry.path(), found);
            }
        }
    }
    let mut found = vec![];
    below(place.path(), &mut found);
    let mark = place.path().display().to_string();
    let open = fs::read_to_string("/proc/net/unix").unwrap();
    found.extend(open.lines().filter(|line| line.contains(&mark)).map(str::to_owned));
    found
}

/// Checks that each entry has a manifest, and the files that it names with their sizes. Nothing
/// half-made has an entry's name.
fn entries_are_whole(cache: &Path) -> usize {
    let mut entries = 0;
    for kind in fs::read_dir(cache.join("s2lab/objects")).into_iter().flatten().flatten() {
        let not_of_entries = ["deb", "locks"].iter().any(|name| kind.file_name() == *name);
        if not_of_entries || !kind.file_type().unwrap().is_dir() {
            continue;
        }
        for entry in fs::read_dir(kind.path()).unwrap().flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = entry.path();
            let manifest = fs::read(path.join("manifest.json")).unwrap();
            let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
            for (name, fact) in manifest["files"].as_object().unwrap() {
                let size = fs::symlink_metadata(path.join(name)).unwrap().len();
                assert_eq!(Some(size), fact["size"].as_u64(), "{}/{name}", path.display());
            }
            entries += 1;
        }
    }
    entries
}

/// The scenario must fail, so a cell that does shows that the lab works.
fn the_next_works(place: &Place) {
    let done = place.s2lab(["run", &scenario("inverted"), "--kernel", "debian-6.12"]);
    assert_eq!(done.code, Some(1), "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.starts_with("FAIL"), "{}", done.stdout);
}

/// Returns the half-made folders in the cache.
fn half_made(cache: &Path) -> Vec<PathBuf> {
    let kinds = fs::read_dir(cache.join("s2lab/objects")).into_iter().flatten().flatten();
    let entries = kinds.flat_map(|kind| fs::read_dir(kind.path()).into_iter().flatten().flatten());
    entries.map(|entry| entry.path()).filter(|path| path.to_string_lossy().contains("/.tmp-")).collect()
}

#[test]
#[ignore = "a trial of many minutes"]
fn killed_at_random_moments() {
    let (place, mut moments) = (Place::new(), Moments::new());
    for n in 0..kills(20) {
        let run = start(&place);
        let after = match moments.below(4) {
            0 => moments.below(PREPARE_MS),
            _ => {
                // Others may hold the slot.
                wait_for_its_slot(&place);
                moments.below(CELL_MS)
            }
        };
        sleep(Duration::from_millis(after));
        println!("{n}: after {after} ms");
        kill(&place, run);
        fs::remove_file(place.path().join("s2lab/runs/latest")).unwrap_or_default();
    }
    the_next_works(&place);
}

fn wait_for_its_slot(place: &Place) {
    let log = place.path().join("s2lab/runs/latest/events.jsonl");
    let begin = Instant::now();
    while !fs::read_to_string(&log).unwrap_or_default().contains("cell-started") {
        assert!(begin.elapsed() < DEADLINE, "no slot");
        sleep(Duration::from_millis(5));
    }
}

/// The cache is the machine's without an agent, so that each run begins to build one.
#[test]
#[ignore = "a trial of many minutes"]
fn killed_while_the_agent_is_built() {
    let cache = tempfile::tempdir_in(own_cache().parent().unwrap()).unwrap();
    let (from, to) = (own_cache().join("s2lab"), cache.path().join("s2lab"));
    fs::create_dir_all(to.join("objects")).unwrap();
    std::os::unix::fs::symlink(from.join("slots"), to.join("slots")).unwrap();
    for entry in fs::read_dir(from.join("objects")).unwrap().flatten() {
        // A lock is its file: a linked one would be the same.
        if !["agent", "locks"].iter().any(|name| entry.file_name() == *name) {
            let link = Command::new("cp").arg("-al").arg(entry.path()).arg(to.join("objects")).status();
            assert!(link.unwrap().success());
        }
    }
    killed_and_whole(cache.path(), kills(4), BUILD_MS);
}

/// The cache is empty: downloads and unpacking. Every run continues after the last kill.
#[test]
#[ignore = "a trial of many minutes, and of hundreds of megabytes from the archive"]
fn killed_while_the_cache_is_filled() {
    let cache = tempfile::tempdir_in(own_cache().parent().unwrap()).unwrap();
    killed_and_whole(cache.path(), kills(3), FILL_MS);
}

/// Returns the folder of this machine's cache. Another one fits beside it.
pub(crate) fn own_cache() -> PathBuf {
    let set = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = set.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    cache.unwrap_or_else(checkout)
}

/// Kills runs that fill `cache`, each within the given time. After each kill every entry is whole,
/// and the next run works.
fn killed_and_whole(cache: &Path, kills: u32, within_ms: u64) {
    let place = Place::with_cache(cache);
    let mut moments = Moments::new();
    for n in 0..kills {
        let run = start(&place);
        let after = moments.below(within_ms);
        sleep(Duration::from_millis(after));
        kill(&place, run);
        println!("{n}: after {after} ms, {} entries are whole", entries_are_whole(cache));
        fs::remove_file(place.path().join("s2lab/runs/latest")).unwrap_or_default();
    }
    the_next_works(&place);
    entries_are_whole(cache);
    assert_eq!(half_made(cache), Vec::<PathBuf>::new());
}
