//! `docs/pull-requests.md`: its commands on the log of the real run that it shows.

use crate::harness::Home;
use std::{fs, path::Path};

/// Set to write the document's outputs instead of comparing them.
const UPDATE: &str = "S2LAB_UPDATE_DOCS";
/// The fence of commands with their outputs, which may have fences of three.
const FENCE: &str = "````";
/// The log and table pages of a real run of the kernel with the changed line, and in `accepted.txt`
/// the report that was accepted before.
const LOG: &str = "tests/cli/runs/shareability";
const ACCEPTED: &str = "reports/vfio-pci-bar/linux-6.1-wc+fwb=yes.txt";
/// The names that the run gets: the document runs the cell twice.
const NAMES: [&str; 2] = ["20261128T220207.079Z-5127", "20261128T220841.512Z-5644"];

/// Returns the document with the outputs of its commands as they are now.
fn played(text: &str, home: &Home) -> String {
    let mut names = NAMES.iter();
    let mut out = String::new();
    let mut is_console = false;
    for line in text.lines() {
        let command = line.strip_prefix("$ ").filter(|_| is_console);
        match line.strip_prefix(FENCE) {
            Some(language) => is_console = language == "console",
            None if is_console && command.is_none() => continue,
            None => {}
        }
        out.push_str(line);
        out.push('\n');
        if let Some(command) = command {
            out.push_str(&answer(command, home, &mut names));
        }
    }
    out
}

/// Returns the output of a command. A run is not carried out: it prints what `report` prints of it.
fn answer<'a>(command: &str, home: &Home, names: &mut impl Iterator<Item = &'a &'a str>) -> String {
    let command = match command.strip_prefix("s2lab run ") {
        Some(_) => {
            let name = names.next().expect("no run is left for this command");
            home.copy_run(name, &Path::new(env!("CARGO_MANIFEST_DIR")).join(LOG));
            "s2lab report"
        }
        None => command,
    };
    let output = home.shell(command).output().unwrap();
    let shown = home.stable(&String::from_utf8(output.stdout).unwrap());
    shown.replace("TMP/state/", "~/.local/state/")
}

#[test]
fn the_document_shows_what_is_printed() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let path = repository.join("docs/pull-requests.md");
    let text = fs::read_to_string(&path).unwrap();
    let home = Home::with_lab(repository);
    let accepted = Path::new(env!("CARGO_MANIFEST_DIR")).join(LOG).join("accepted.txt");
    fs::copy(accepted, home.lab().join(ACCEPTED)).unwrap();
    let played = played(&text, &home);
    if std::env::var_os(UPDATE).is_some() {
        return fs::write(&path, played).unwrap();
    }
    assert_eq!(text, played, "{UPDATE}=1 writes it");
    for due in ["--format markdown", "--format lore", "s2lab accept", "SH inner became SH outer"] {
        assert!(text.contains(due), "{due}");
    }
    let (_, last) = text.rsplit_once("$ s2lab check").expect("the second run is compared");
    assert!(last.starts_with("\nsame "), "{last}");
}

/// The README has the same story in short: each of its lines is one of the document.
#[test]
fn the_readme_shows_lines_of_the_document() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let read = |path: &str| fs::read_to_string(repository.join(path)).unwrap();
    let (readme, document) = (read("README.md"), read("docs/pull-requests.md"));
    let (_, story) = readme.split_once("<!-- story: as in docs/pull-requests.md -->\n```console\n").unwrap();
    let (story, _) = story.split_once("\n```\n").unwrap();
    for line in story.lines() {
        assert!(document.lines().any(|known| known == line), "{line}");
    }
    assert!(story.contains("$ s2lab check\n") && story.contains("same as accepted"), "{story}");
}
