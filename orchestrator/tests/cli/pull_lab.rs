//! The example of a poller for KernelCI's pull labs, `docs/ci/pull-lab.py`, with s2lab itself. No host
//! boots here, so its cells are MISS.

use crate::{
    harness::{Home, S2LAB},
    served::Served,
};
use s2lab_model::hash::digest;
use serde_json::{Value, json};
use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ci/pull-lab.py");

/// A lab that polls a server of this machine.
struct Lab {
    home: Home,
    served: Served,
    python: PathBuf,
}

impl Lab {
    fn new() -> Option<Self> {
        let home = Home::new();
        // What is on PATH may be a script that needs more of it.
        let ask = ["-c", "import sys; print(sys.executable)"];
        let Ok(found) = Command::new("python3").args(ask).output() else {
            eprintln!("NOT CHECKED: the machine has no python3");
            return None;
        };
        let python = String::from_utf8(found.stdout).unwrap().trim().into();
        home.image("Image");
        let served = Served::new(&home)?;
        served.serve("Image", fs::read(home.path("Image")).unwrap());
        Some(Self { home, served, python })
    }

    /// Returns the definition of a job whose kernel has this digest.
    fn definition(&self, sha256: &str) -> Value {
        json!({
            "artifacts": {"kernel": self.served.url("Image"), "ramdisk": self.served.url("none")},
            "integrity": {"sha256": {"kernel": sha256}},
            "environment": {"platform": "qemu", "arch": "arm64"},
            "tests": [{"id": "s2lab", "type": "s2lab", "timeout_s": 300}],
        })
    }

    /// Serves these jobs as events, the oldest first.
    fn jobs(&self, jobs: &[(&str, &Value)]) {
        let event = |(at, (runtime, definition)): (usize, &(&str, &Value))| {
            let address = self.served.serve(&format!("job-{at}.json"), definition.to_string());
            json!({
                "timestamp": format!("2026-11-22T15:00:00.00000{at}"),
                "node": {"id": format!("n{at}"), "artifacts": {"job_definition": address}, "data": {"runtime": runtime}},
            })
        };
        let events: Vec<_> = jobs.iter().enumerate().map(event).collect();
        self.served.serve("latest/events", Value::from(events).to_string());
    }

    fn poll(&self) -> (Output, Vec<Value>, String) {
        let mut python = Command::new(&self.python);
        self.home.prepare(&mut python);
        let api = self.served.url("latest");
        python.arg(SCRIPT).args(["--once", "--runtime", "desk", "--api", &api, "--s2lab", S2LAB, "idle"]);
        let output =
            python.env("APT_CONFIG", self.home.path("apt.conf")).env("no_proxy", "*").output().unwrap();
        let lines = String::from_utf8(output.stdout.clone()).unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output, lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), said)
    }
}

#[test]
fn a_job_is_run_on_its_kernel_and_reported() {
    let Some(lab) = Lab::new() else { return };
    let sha256 = digest(&fs::read(lab.home.path("Image")).unwrap());
    let good = lab.definition(&sha256);
    lab.jobs(&[("another", &good), ("desk", &good)]);
    let (output, documents, said) = lab.poll();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let [document] = documents.as_slice() else { panic!("{documents:?} {said}") };
    assert_eq!(document["version"], json!({"major": 5, "minor": 3}));
    let kernel = format!("{}#sha256={sha256}", lab.served.url("Image"));
    assert_eq!(document["checkouts"][0]["misc"]["about"], format!("a file, {kernel}"));
    let test = &document["tests"][0];
    assert_eq!((&test["path"], &test["status"]), (&json!("s2lab.idle"), &json!("MISS")), "there is no QEMU");
    let asked = lab.served.asked();
    assert_eq!(asked[1..], ["/job-1.json", "/Image"], "the ramdisk is not needed");
    assert!(asked[0].starts_with("/latest/events?state=available&kind=job"), "{asked:?}");

    let (_, _, said) = lab.poll();
    let asked = lab.served.asked();
    assert!(asked[0].contains("&from=2026-11-22T15%3A00%3A00.000001"), "{asked:?} {said}");
}

/// The next job is run all the same.
#[test]
fn a_job_that_cannot_be_trusted_is_refused() {
    let Some(lab) = Lab::new() else { return };
    let good = lab.definition(&digest(&fs::read(lab.home.path("Image")).unwrap()));
    let other = lab.definition(&digest(b"another kernel"));
    let with = |pointer: &str, value: Value| {
        let mut job = good.clone();
        *job.pointer_mut(pointer).unwrap() = value;
        job
    };
    let unsigned = with("/integrity/sha256", json!({}));
    let local = with("/artifacts/kernel", json!("/etc/passwd"));
    let intel = with("/environment/arch", json!("x86_64"));
    let odd = json!(["not a job"]);
    lab.jobs(&[
        ("desk", &other),
        ("desk", &unsigned),
        ("desk", &local),
        ("desk", &intel),
        ("desk", &odd),
        ("desk", &good),
    ]);
    let (output, documents, said) = lab.poll();
    assert_eq!((output.status.code(), documents.len()), (Some(1), 1), "{said}");
    for due in [
        "nothing of it is kept\n",
        "job n0: not run: s2lab exited with 2 and printed no document\n",
        "job n1: not run: it has no SHA-256 of kernel\n",
        "job n2: not run: the address of kernel is not http or https\n",
        "job n3: not run: its architecture is 'x86_64', not arm64\n",
        "job n4: not run: ",
        "job n5: done\n",
    ] {
        assert!(said.contains(due), "{due}: {said}");
    }
    assert_eq!(lab.home.runs().len(), 1);
}
