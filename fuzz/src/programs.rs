//! Programs of the user's: any output has results, and any file is a program or is refused with a reason.

use s2lab_model::{ktap::Ktap, program};

pub(crate) fn ktap(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let ktap = Ktap::parse(&text);
    let results = text.lines().filter(|line| line.contains("ok")).count();
    assert!(ktap.tests.len() <= results);
    // A second document is read like the first.
    let header = "KTAP version 1\n";
    let twice = Ktap::parse(&format!("{header}{text}\n{header}{text}\n"));
    assert!(twice.tests.len() >= ktap.tests.len().min(1));
    drop(ktap.skips().map(str::to_owned));
}

pub(crate) fn elf(data: &[u8]) {
    if let Err(unfit) = program::check(data) {
        assert!(!unfit.to_string().is_empty() && !unfit.hint().is_empty());
    }
}
