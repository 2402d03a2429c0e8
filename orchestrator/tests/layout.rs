//! The structure of the project that no compiler checks.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking, as its tests do")]

use memchr::memmem;
use object::{
    Endianness, elf,
    read::elf::{FileHeader, ProgramHeader},
};
use std::{fs, path::Path, process::Command};

/// The crates without I/O.
const PURE: [&str; 3] = ["s2lab-mmu", "s2lab-model", "s2lab-protocol"];
/// The crates that would give them I/O.
const IMPURE: [&str; 5] = ["tokio", "rustix", "qapi", "ssh2", "libc"];

/// Returns the names of a crate and of all that it depends on, without tests.
fn dependencies(package: &str) -> Vec<String> {
    let arguments = ["tree", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}"];
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(arguments).args(["-p", package]).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")));
    let output = cargo.output().unwrap();
    let tree = String::from_utf8(output.stdout).unwrap();
    let names: Vec<_> = tree.lines().filter_map(|line| line.split(' ').next().map(str::to_owned)).collect();
    let found = names.iter().any(|name| name == package);
    assert!(found, "{tree}\n{}", String::from_utf8_lossy(&output.stderr));
    names
}

#[test]
fn the_pure_crates_have_no_io_among_their_dependencies() {
    for package in PURE {
        let names = dependencies(package);
        for impure in IMPURE {
            assert!(!names.iter().any(|name| name == impure), "{package} depends on {impure}: {names:?}");
        }
    }
}

/// The crates that only tests use.
const OF_TESTS: [&str; 4] = ["fake-qemu", "guest-tables", "judge", "readers"];

#[test]
fn the_program_needs_nothing_that_is_for_tests() {
    let names = dependencies("s2lab");
    let found: Vec<_> = names.iter().filter(|name| OF_TESTS.contains(&name.as_str())).collect();
    assert!(found.is_empty(), "s2lab depends on {found:?}");
}

/// The crates that the program is built from, the lowest first, and the own crates that each of
/// them may use.
const CRATES: [(&str, &[&str]); 3] = [
    ("s2lab-os", &[]),
    ("s2lab-cache", &["s2lab-mmu", "s2lab-model", "s2lab-os", "s2lab-protocol"]),
    ("s2lab-history", &["s2lab-mmu", "s2lab-model", "s2lab-protocol"]),
];

#[test]
fn the_crates_below_know_nothing_of_the_program() {
    for (package, allowed) in CRATES {
        let names = dependencies(package);
        let own = names.iter().filter(|name| name.starts_with("s2lab") && *name != package);
        for name in own {
            assert!(allowed.contains(&name.as_str()), "{package} depends on {name}");
        }
    }
}

/// The rooms of the program, the highest first.
const ROOMS: [&str; 9] = ["cli", "lab", "show", "run", "boot", "host", "review", "home", "runtime"];

/// Returns the rooms from which a file imports.
fn imports(text: &str) -> Vec<&str> {
    let mut found = vec![];
    for (at, path) in text.match_indices("crate::") {
        let rest = &text[at + path.len()..];
        let mut depth = 0;
        // The names after `crate::`, or those of the group that begins there.
        let end = rest.find(|c: char| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            depth == 0 && !(c.is_alphanumeric() || c == '_' || c == '}')
        });
        let group = &rest[..end.unwrap_or(rest.len())];
        let group = group.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).unwrap_or(group);
        let (mut depth, mut start) = (0, 0);
        for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
            depth += i32::from(c == '{') - i32::from(c == '}');
            if c == ',' && depth == 0 {
                found.extend(group[start..at].trim().split("::").next().filter(|name| !name.is_empty()));
                start = at + 1;
            }
        }
    }
    found
}

#[test]
fn imports_go_down() {
    let group =
        "use crate::{\n    cache::{Cache, Quiet},\n    host, run::{a, b},\n};\nlet x = crate::lab::of(1);";
    assert_eq!(imports(group), ["cache", "host", "run", "lab"]);
    let place = |room: &str| ROOMS.iter().position(|known| *known == room);
    let mut seen = 0;
    for (file, text) in product() {
        let Some(path) = file.strip_prefix("src/").filter(|path| !["lib.rs", "main.rs"].contains(path))
        else {
            continue;
        };
        let room = path.split(['/', '.']).next().unwrap();
        let own = place(room).unwrap_or_else(|| panic!("{file} is in no room of ROOMS"));
        for other in imports(&text) {
            seen += 1;
            assert!(
                place(other).is_none_or(|other| other >= own),
                "{file} imports {other}, which is above it"
            );
        }
    }
    assert!(seen > 100, "{seen}");
}

/// The program's loaded segments do not name the checkout. Sections for debuggers may.
#[test]
fn the_program_does_not_know_where_its_source_was() {
    let checkout = fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap();
    let program = fs::read(env!("CARGO_BIN_EXE_s2lab")).unwrap();
    let header = elf::FileHeader64::<Endianness>::parse(&*program).unwrap();
    let endian = header.endian().unwrap();
    let segments = header.program_headers(endian, &*program).unwrap();
    let loaded: Vec<_> = segments.iter().filter(|segment| segment.p_type(endian) == elf::PT_LOAD).collect();
    assert!(!loaded.is_empty());
    // cargo's own folder in it may be named: it has generated code.
    for part in ["guest-agent", "orchestrator", "scenarios", "images", "reports", "Cargo"] {
        let path = checkout.join(part);
        for segment in &loaded {
            let bytes = segment.data(endian, &*program).unwrap();
            assert_eq!(memmem::find(bytes, path.to_str().unwrap().as_bytes()), None, "{}", path.display());
        }
    }
}

/// The folders at which a path in `docs/architecture.md` begins, and their places.
const ROOTS: [(&str, &str); 13] = [
    ("src/", "orchestrator"),
    ("readers/", "orchestrator"),
    ("cache/", "orchestrator"),
    ("history/", "orchestrator"),
    ("os/", "orchestrator"),
    ("model/", "orchestrator"),
    ("mmu/", "orchestrator"),
    ("orchestrator/", ""),
    ("guest-agent/", ""),
    ("fuzz/", ""),
    ("docs/", ""),
    ("images/", ""),
    ("scenarios/", ""),
];

#[test]
fn the_architecture_is_that_of_the_tree() {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(checkout.join("docs/architecture.md")).unwrap();
    let code: Vec<_> = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).collect();
    let mut paths = 0;
    for path in code.iter().filter(|path| !path.contains('{') && !path.contains(char::is_uppercase)) {
        let path = path.strip_prefix("…/").unwrap_or(path);
        if let Some((_, folder)) = ROOTS.iter().find(|(root, _)| path.starts_with(root)) {
            assert!(checkout.join(folder).join(path).exists(), "docs/architecture.md names {path}");
            paths += 1;
        }
    }
    assert!(paths > 40, "{paths}");
    for entry in fs::read_dir(checkout.join("orchestrator/src")).unwrap() {
        let file = entry.unwrap().file_name();
        let module = Path::new(&file).file_stem();
        let named = code.iter().any(|path| Path::new(path).file_stem() == module);
        let is_module = file != "lib.rs" && file != "main.rs";
        assert!(named || !is_module, "docs/architecture.md does not name {}", file.display());
    }
}

/// Another kind of host is another variant of `host::Host`, and nothing of a run changes.
#[test]
fn a_run_knows_no_kind_of_host() {
    let kinds = ["emulated::", "qmp", "Qmp", "qapi", "gdb::", "Gdb::", "memory::HostRam"];
    for (file, text) in product() {
        let code: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let named = |words: &[&str]| code.iter().any(|line| words.iter().any(|word| line.contains(word)));
        assert!(!file.starts_with("run/") || !named(&kinds), "{file} names a kind of host");
        let above = ["crate::run", "crate::cli", "    run::", "    cli::"];
        assert!(!file.starts_with("host/") || !named(&above), "{file} imports from above");
    }
}

/// Calls that read a file without a limit, and may wait for ever.
const UNBOUNDED: [&str; 5] = ["fs::read(", "fs::read_to_string(", "File::open(", "fs::copy(", ".read(true)"];

/// The exceptions: the file, the number of calls, and the reason.
const BOUNDED_OTHERWISE: [(&str, usize, &str); 8] = [
    ("cache/src/debian/apt/pool.rs", 2, "brings a package to the disk and notes its use, and reads nothing"),
    ("cache/src/objects/files.rs", 2, "brings a folder to the disk, and reads nothing"),
    ("cache/src/objects/inventory.rs", 1, "locks a manifest, and reads nothing"),
    ("cache/src/objects/object.rs", 1, "locks the manifest that it has just written"),
    ("os/src/lock.rs", 1, "makes and locks a file"),
    ("os/src/outside/mod.rs", 1, "the one reader"),
    ("src/run/folder.rs", 1, "locks a run's event log, and reads nothing"),
    ("src/run/slots.rs", 1, "locks a file of the cache, and reads nothing"),
];

/// Returns each file of the program and of its crates with I/O, by its path in `orchestrator/`,
/// without tests.
fn product() -> Vec<(String, String)> {
    let orchestrator = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = vec![];
    let mut folders =
        ["cache/src", "history/src", "os/src", "src"].map(|source| orchestrator.join(source)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with("tests") || path.ends_with("tests.rs") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let product = text.split("#[cfg(test)]\nmod tests").next().unwrap().to_owned();
            found.push((path.strip_prefix(orchestrator).unwrap().to_str().unwrap().to_owned(), product));
        }
    }
    found.sort();
    found
}

#[test]
fn files_from_outside_are_read_by_one_reader() {
    let times = |text: &str| UNBOUNDED.iter().map(|call| text.matches(call).count()).sum::<usize>();
    let found = product().into_iter().map(|(file, text)| (file, times(&text)));
    let found: Vec<_> = found.filter(|(_, times)| *times > 0).collect();
    let allowed = BOUNDED_OTHERWISE.map(|(file, times, _)| (file.to_owned(), times));
    assert_eq!(found, allowed, "read files by `outside`, or say here why not");
}

/// Uses of the clock that are no deadline: the file, the number of uses, and the reason.
const MEASURED: [(&str, usize, &str); 7] = [
    ("cache/src/builds/make.rs", 1, "how long a build takes"),
    ("os/src/outside/mod.rs", 1, "a read that blocks cannot look at the clock"),
    ("os/src/waits.rs", 2, "the clock of all deadlines"),
    ("src/host/emulated/factor.rs", 1, "how long QEMU takes"),
    ("src/host/emulated/look.rs", 2, "how long a look stops the machine"),
    ("src/run/log.rs", 2, "when an event came"),
    ("src/show/progress.rs", 2, "how long a stage has run, and the boots of a comparison, for people"),
];

/// A deadline that counts time in which s2lab itself was stopped blames the kernel.
#[test]
fn waits_have_one_clock() {
    let found = product().into_iter().map(|(file, text)| (file, text.matches("Instant::now()").count()));
    let found: Vec<_> = found.filter(|(_, times)| *times > 0).collect();
    let allowed = MEASURED.map(|(file, times, _)| (file.to_owned(), times));
    assert_eq!(found, allowed, "wait by `waits`, or say here why not");
    for (file, text) in product() {
        let foreign = text.contains("time::timeout") || text.contains("time::{timeout");
        assert!(!foreign, "{file} waits by tokio's clock");
    }
}

/// One place decides the environment of every program, and the configuration of git.
#[test]
fn programs_are_started_by_way_of_one_list() {
    let starts = product().into_iter().filter(|(_, text)| text.contains("Command::new("));
    assert_eq!(starts.map(|(file, _)| file).collect::<Vec<_>>(), ["os/src/child/mod.rs"]);
    let git = product().into_iter().filter(|(_, text)| text.contains("command(\"git\""));
    assert_eq!(git.map(|(file, _)| file).collect::<Vec<_>>(), ["cache/src/git.rs"]);
}
