//! Cells that share a boot of a host say what they say in a host of their own.
//!
//! It boots hosts of its own: the same cells in two orders are the subject.

use crate::harness::{Place, checkout, constant, left_over};
use std::fs;

/// The number of cells before the shipped ones in each boot.
const BEFORE: usize = 2;

#[test]
fn each_cell_is_the_same_alone_and_third_in_a_session() {
    same_alone_and_third(&["debian-6.12"]);
}

/// The same on every kernel of the list.
#[test]
#[ignore = "half an hour, with kernels that s2lab builds"]
fn each_cell_of_every_kernel_is_the_same_alone_and_third_in_a_session() {
    let kernels = fs::read_to_string(checkout().join("images/kernels.yaml")).unwrap();
    let names = kernels.lines().filter_map(|line| line.strip_prefix("  ")?.strip_suffix(':'));
    let names: Vec<_> = names.filter(|name| !name.starts_with(' ')).collect();
    assert!(names.len() > 5, "{names:?}");
    same_alone_and_third(&names);
}

fn same_alone_and_third(kernels: &[&str]) {
    let kernels: Vec<_> = kernels.iter().flat_map(|kernel| ["--kernel", kernel]).collect();
    let alone = Place::new();
    let run = alone.s2lab(["run", "--isolate"].iter().chain(&kernels));
    assert_eq!((run.code, run.signal), (Some(0), None), "{}{}", run.stdout, run.stderr);

    let third = Place::new();
    let files = tempfile::tempdir().unwrap();
    let folder = |path: &std::path::Path| path.display().to_string();
    let mut arguments = vec!["run".to_owned(), "--jobs=1".into()];
    // Cells run in the order of their scenarios' names. Cells with a guest and a device come first, one at
    // each point of the axes, which are the CPU models of the shipped scenarios.
    let template = fs::read_to_string(checkout().join("scenarios/vfio-pci-bar.yaml")).unwrap();
    for before in 0..BEFORE {
        let name = format!("a-before-{before}");
        let text = template.replace("scenario: vfio-pci-bar\n", &format!("scenario: {name}\n"));
        let path = files.path().join(format!("{name}.yaml"));
        fs::write(&path, text).unwrap();
        arguments.push(folder(&path));
    }
    for entry in fs::read_dir(checkout().join("scenarios")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            arguments.push(folder(&path));
        }
    }
    arguments.extend(kernels.iter().map(|word| (*word).to_owned()));
    let run = third.s2lab(&arguments);
    assert_eq!((run.code, run.signal), (Some(0), None), "{}{}", run.stdout, run.stderr);
    assert_eq!(left_over(&third), Vec::<String>::new());

    let reports = third.reports();
    let mut compared = 0;
    for (key, due) in alone.reports() {
        let (_, found) = reports.iter().find(|(of, _)| *of == key).unwrap();
        assert!(session(&due).ends_with("its first cell"), "{due}");
        let place = session(found);
        let number = place.split("its cell ").nth(1).and_then(|rest| rest.split(',').next());
        assert!(number.and_then(|n| n.parse::<usize>().ok()).is_some_and(|n| n > BEFORE), "{key}: {place}");
        assert_eq!(constant(found), constant(&due), "{key}, {place}");
        compared += 1;
    }
    assert!(compared >= 3, "{compared} reports");
}

fn session(report: &str) -> &str {
    report.lines().find_map(|line| line.strip_prefix("  variable session = ")).unwrap_or_default()
}
