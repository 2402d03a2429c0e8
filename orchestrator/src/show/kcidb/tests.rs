use super::*;
use crate::show::fixture;
use proptest::prelude::*;
use s2lab_model::{
    night::{KnownFailure, Night},
    report::Standing,
};
use std::collections::BTreeSet;

fn value(run: &RunSummary) -> Value {
    serde_json::from_str(&document(run)).unwrap()
}

/// Returns each value with its path.
fn values(value: &Value, path: &str) -> Vec<(String, Value)> {
    let below: Vec<(String, Value)> = match value {
        Value::Object(pairs) => {
            pairs.iter().flat_map(|(key, value)| values(value, &format!("{path}/{key}"))).collect()
        }
        Value::Array(all) => all.iter().flat_map(|value| values(value, path)).collect(),
        _ => vec![],
    };
    [(path.to_owned(), value.clone())].into_iter().chain(below).collect()
}

/// Returns the rules of the schema that a document breaks; the reader itself checks the rest.
fn broken(run: &RunSummary) -> Vec<String> {
    let document = value(run);
    let mut broken = vec![];
    for (path, value) in values(&document, "") {
        let text = value.as_str();
        let fine = match path.rsplit('/').next().unwrap_or_default() {
            _ if value.is_null() => false,
            "log_excerpt" => text.is_some_and(|text| !text.is_empty() && text.len() <= excerpt::LONGEST),
            "path" if path == "/tests/path" => text.is_some_and(|text| {
                let allowed = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
                text.split('.').all(|part| !part.is_empty() && part.chars().all(allowed))
            }),
            "git_commit_hash" => text.is_some_and(|text| is_hex(text, 40)),
            "patchset_hash" => text.is_some_and(|text| text.is_empty() || is_hex(text, 64)),
            "message_id" => text.is_some_and(|text| text.contains('@')),
            _ => text.is_none_or(|text| !text.contains('\0')),
        };
        if !fine {
            broken.push(format!("{path}: {value}"));
        }
    }
    let list = |name: &str| document[name].as_array().unwrap().clone();
    let ids = |name: &str| list(name).iter().map(|one| one["id"].to_string()).collect::<BTreeSet<_>>();
    let known = |from: &str, key: &str, to: &str| {
        list(from).iter().all(|one| ids(to).contains(&one[key].to_string()))
    };
    for (name, count) in [("tests", run.cells.len()), ("builds", kernels(run).len())] {
        if ids(name).len() != count {
            broken.push(format!("{name} share an id"));
        }
    }
    if !known("tests", "build_id", "builds") || !known("builds", "checkout_id", "checkouts") {
        broken.push("an id of nothing".into());
    }
    broken
}

#[test]
fn a_run() {
    let run = fixture::run();
    assert_eq!(broken(&run), Vec::<String>::new());
    insta::assert_snapshot!(document(&run));
}

#[test]
fn ids_are_those_of_the_run() {
    let run = fixture::run();
    assert_eq!(document(&run), document(&RunSummary { folder: "/elsewhere".into(), ..run.clone() }));
    let other = value(&RunSummary { started: "2026-11-22T15:00:01Z".into(), ..run.clone() });
    let ids = |of: &Value, list: &str| {
        of[list].as_array().unwrap().iter().map(|one| one["id"].clone()).collect::<Vec<_>>()
    };
    let run = value(&run);
    assert_eq!(ids(&run, "builds"), ids(&other, "builds"), "the same Images");
    assert!(ids(&run, "tests").iter().all(|id| !ids(&other, "tests").contains(id)));
}

#[test]
fn the_path_has_what_the_schema_takes() {
    let path = |key: &str| super::path(&key.parse().unwrap());
    assert_eq!(path("bar@debian-6.12"), "s2lab.bar");
    assert_eq!(path("bar@debian-6.12+mode=nvhe+page=4.5"), "s2lab.bar.mode-nvhe.page-4_5");
}

#[test]
fn each_verdict_has_the_schemas_word() {
    let status = |verdict: Option<Verdict>| {
        super::status(&CellSummary { verdict, ..fixture::cell("bar@debian-6.12") })
    };
    let stage = s2lab_model::event::Stage::Steps;
    for (verdict, word) in [
        (Verdict::PASS, "PASS"),
        (Verdict::Fail, "FAIL"),
        (Verdict::Timeout(stage), "FAIL"),
        (Verdict::Flaky, "FAIL"),
        (Verdict::Error, "ERROR"),
        (Verdict::Miss, "MISS"),
        (Verdict::Lost, "MISS"),
        (Verdict::Skip("x".into()), "SKIP"),
    ] {
        assert_eq!(status(Some(verdict)), word);
    }
    assert_eq!(status(None), "MISS");
}

/// Times under emulation say nothing.
#[test]
fn a_number_is_sent_where_it_says_something() {
    let number = |head: &str, boots: &[&[u64]]| {
        let mut cell = fixture::cell("bar@debian-6.12");
        cell.report.as_mut().unwrap().numbers.lines = vec![head.parse().unwrap()];
        cell.measures = vec![fixture::measure(boots)];
        super::number(&cell)
    };
    let boots: [&[u64]; 3] = [&[9_000, 1_500_000, 2_000_000], &[7], &[1_600_000]];
    let seconds = |value: f64| Some(json!({"value": value, "unit": "s", "prefix": "metric"}));
    assert_eq!(number("never decide", &boots), seconds(0.0015), "the median boot");
    assert_eq!(number("never decide", &boots[..1]), seconds(0.0015));
    assert_eq!(number("never decide", &[]), None);
    assert_eq!(number("emulated, never decide", &boots), None);
}

#[test]
fn what_the_schema_refuses_is_left_out() {
    let mut run = fixture::run();
    for cell in &mut run.cells {
        cell.kernel.commit = Some("HEAD".into());
        cell.series = Some(SeriesOrigin {
            patches: 1,
            digest: "no digest".into(),
            subject: Some("a\0b".into()),
            message_id: Some("no address".into()),
            files: vec!["images/a\0b".into()],
        });
        cell.logs = "x".into();
    }
    let checkout = value(&run)["checkouts"][0].clone();
    for key in ["git_commit_hash", "patchset_hash", "message_id"] {
        assert_eq!(checkout.get(key), None, "{key}");
    }
    assert_eq!(checkout["comment"], "a\\u{0}b");
    assert_eq!(broken(&run), Vec::<String>::new());
}

/// The patches of an entry of images/kernels.yaml.
#[test]
fn a_checkout_names_the_files_of_its_patches() {
    let of = |files: &[&str]| {
        let mut run = fixture::run();
        for cell in &mut run.cells {
            let series = cell.series.get_or_insert_with(fixture::series);
            series.files = files.iter().map(ToString::to_string).collect();
        }
        value(&run)["checkouts"][0].clone()
    };
    let checkout = of(&["images/patches/6.1-wc", "images/x.patch"]);
    assert_eq!(checkout["misc"]["files"], json!(["images/patches/6.1-wc", "images/x.patch"]));
    assert_eq!(
        (&checkout["misc"]["patches"], &checkout["patchset_hash"]),
        (&json!(4), &json!(fixture::series().digest))
    );
    assert_eq!(of(&[])["misc"].get("files"), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_a_guest_writes(run in fixture::any_run()) {
        prop_assert_eq!(broken(&run), Vec::<String>::new());
    }
}

#[test]
fn known_failures_are_issues_with_an_incident_for_each_of_their_cells() {
    let entry = |scenario: &str, until: &str| KnownFailure {
        scenario: scenario.into(),
        kernel: "debian-*".into(),
        reason: "the BAR is Device".into(),
        link: Some("https://example.org/1".into()),
        who: "the vfio team".into(),
        until: until.parse().unwrap(),
    };
    let known = vec![entry("bar", "2026-12-24"), entry("other", "2026-12-24")];
    let mut failed = fixture::failed("bar@debian-6.12", Standing::New);
    failed.tolerated = known.first().cloned();
    let date = "2026-11-22".parse().unwrap();
    let night = Some(Night { date, known });
    let run = RunSummary { night, ..fixture::run_of(vec![failed, fixture::cell("bar@debian-6.1")]) };
    let document = value(&run);
    assert!(broken(&run).is_empty(), "{:?}", broken(&run));
    let (issues, incidents) =
        (document["issues"].as_array().unwrap(), document["incidents"].as_array().unwrap());
    assert_eq!(issues.len(), 1, "the other entry has no cell");
    assert_eq!(
        (&issues[0]["version"], &issues[0]["report_url"]),
        (&json!(20261224), &json!("https://example.org/1"))
    );
    let present: Vec<_> = incidents.iter().map(|one| one["present"].as_bool().unwrap()).collect();
    assert_eq!(present, [true, false]);
    for (incident, test) in incidents.iter().zip(document["tests"].as_array().unwrap()) {
        assert_eq!((&incident["issue_id"], &incident["test_id"]), (&issues[0]["id"], &test["id"]));
    }
    let comment = document["tests"][0]["comment"].as_str().unwrap();
    assert!(comment.ends_with("; known: the BAR is Device (https://example.org/1, until 2026-12-24)"));
    // A renewed entry is the same issue of a later version.
    let renewed = Night { date, known: vec![entry("bar", "2027-01-31")] };
    let later = value(&RunSummary { night: Some(renewed), ..run.clone() });
    assert_eq!(
        (&later["issues"][0]["id"], &later["issues"][0]["version"]),
        (&issues[0]["id"], &json!(20270131))
    );
    let none = value(&RunSummary { night: None, ..run });
    assert!(none.get("issues").is_none() && none.get("incidents").is_none());
}
