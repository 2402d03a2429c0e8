//! Commands in the documents that need no machine: their output is the one that the documents show.

use crate::harness::Home;
use std::{fs, path::Path};

/// A command in a document and the part of its output that the document shows.
struct Example {
    line: usize,
    command: String,
    answer: String,
}

/// Returns the commands of all ```` ```console ```` blocks: lines that begin with `$ `, each with
/// the lines up to the next one.
fn examples(text: &str) -> Vec<Example> {
    let mut found: Vec<Example> = vec![];
    let mut inside = false;
    for (number, line) in text.lines().enumerate() {
        match (inside, line.strip_prefix("$ ")) {
            (_, _) if line.starts_with("```") => inside = line == "```console",
            (true, Some(command)) => {
                let command = command.replace("cargo run --release -- ", "s2lab ");
                found.push(Example { line: number + 1, command, answer: String::new() });
            }
            (true, None) => {
                let last =
                    found.last_mut().unwrap_or_else(|| panic!("line {}: an answer to nothing", number + 1));
                last.answer.push_str(line);
                last.answer.push('\n');
            }
            (false, _) => {}
        }
    }
    found
}

/// Returns true if a command prints the same on every machine.
fn needs_no_machine(command: &str) -> bool {
    let mut words = command.split(' ');
    words.next() == Some("s2lab")
        && match words.next() {
            Some("list" | "lint" | "explain" | "init" | "new" | "--help") => true,
            Some("run") => words.any(|word| word == "--dry-run"),
            _ => false,
        }
}

#[test]
fn what_documents_show_is_what_is_printed() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let home = Home::with_lab(repository);
    let documents = fs::read_dir(repository.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let documents = documents
        .chain([repository.join("README.md")])
        .filter(|path| path.extension().is_some_and(|e| e == "md"));
    for path in documents.filter(|path| path.exists()) {
        let text = fs::read_to_string(&path).unwrap();
        for example in examples(&text).iter().filter(|example| needs_no_machine(&example.command)) {
            let output = home.shell(&format!("{} 2>&1", example.command)).output().unwrap();
            let shown = home.stable(&String::from_utf8(output.stdout).unwrap());
            assert_eq!(shown, example.answer, "{}:{}: {}", path.display(), example.line, example.command);
        }
    }
}

#[test]
fn examples_are_found() {
    let text = "```console\n$ cargo run --release -- list\na\nb\n$ s2lab run x\nc\n```\n$ s2lab lint\n```text\n$ s2lab lint\n```\n";
    let found: Vec<_> = examples(text).into_iter().map(|e| (e.line, e.command, e.answer)).collect();
    assert_eq!(found, [(2, "s2lab list".into(), "a\nb\n".into()), (5, "s2lab run x".into(), "c\n".into())]);
    assert!(needs_no_machine("s2lab list") && needs_no_machine("s2lab run --dry-run x"));
    assert!(!needs_no_machine("s2lab run x") && !needs_no_machine("cargo run"));
}
