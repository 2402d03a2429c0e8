use super::super::super::bar::tests::{ADDRESS, BAR_SIZE, bar_file, fixture};
use super::*;

fn words(kind: ProbeKind, map: &str, offset: &str) -> [String; 4] {
    [kind.name(), ADDRESS, map, offset].map(str::to_owned)
}

/// The access of each kind on memory, and the bytes that it touches.
#[test]
fn an_access_stays_in_its_block() {
    for (kind, touched) in [
        (ProbeKind::Store, 4081..4089),
        (ProbeKind::Load, 0..0),
        // It zeroes what it has written.
        (ProbeKind::Zva, 0..0),
        (ProbeKind::Atomic, 4088..4096),
        (ProbeKind::Exclusive, 4088..4096),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let root = fixture(folder.path());
        let ended = in_child(&root, &words(kind, "wc", "4095"), &mut vec![]).unwrap();
        assert_eq!(ended, ProbeEnd::Ok, "{kind}");
        let file = bar_file(folder.path());
        let found: Vec<_> = (0..file.len()).filter(|at| file[*at] != 0).collect();
        assert_eq!(found, touched.collect::<Vec<_>>(), "{kind}");
        let mapped = Mapped::open(&root, "nic", ADDRESS, MapKind::Wc).unwrap();
        assert!(probe(access(kind), &mapped, BAR_SIZE).is_err(), "{kind}");
    }
}

#[test]
fn zva_leaves_zeroes_in_the_block_alone() {
    let folder = tempfile::tempdir().unwrap();
    let root = fixture(folder.path());
    let bar = folder.path().join("sys/bus/pci/devices").join(ADDRESS).join("resource2_wc");
    std::fs::write(bar, vec![0xff; BAR_SIZE as usize]).unwrap();
    assert_eq!(in_child(&root, &words(ProbeKind::Zva, "wc", "130"), &mut vec![]).unwrap(), ProbeEnd::Ok);
    let file = bar_file(folder.path());
    let zeroes: Vec<_> = (0..file.len()).filter(|at| file[*at] == 0).collect();
    assert_eq!(zeroes, (128..192).collect::<Vec<_>>());
}

#[cfg(not(target_arch = "aarch64"))]
#[test]
fn an_instruction_that_the_cpu_lacks_is_not_executed() {
    let folder = tempfile::tempdir().unwrap();
    let root = fixture(folder.path());
    let ended = in_child(&root, &words(ProbeKind::Fetch, "wc", "64"), &mut vec![]).unwrap();
    assert_eq!(ended, ProbeEnd::Unsupported);
    assert!(bar_file(folder.path()).iter().all(|byte| *byte == 0));
}

#[test]
fn words_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = fixture(folder.path());
    for (words, why) in [
        (["stroe", ADDRESS, "wc", "64"], "is not a kind of probe"),
        (["store", ADDRESS, "nc", "64"], "is no kind of mapping"),
        (["store", ADDRESS, "wc", "-1"], "offset \"-1\""),
        (["store", "../..", "wc", "64"], "../.."),
        (["zva", ADDRESS, "wc", "18446744073709551615"], "does not lie in the BAR"),
    ] {
        let failure = in_child(&root, &words.map(str::to_owned), &mut vec![]).unwrap_err();
        assert!(failure.message.contains(why), "{}", failure.message);
    }
}

/// A report that finds the BAR as it is at that moment.
struct Report<'a> {
    bar: &'a std::path::Path,
    text: Vec<u8>,
}

impl Write for Report<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        assert!(std::fs::read(self.bar)?.iter().all(|byte| *byte == 0), "accessed before the report");
        self.text.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_child_reports_what_it_has_mapped_and_then_accesses() {
    let folder = tempfile::tempdir().unwrap();
    let root = fixture(folder.path());
    let function = folder.path().join("sys/bus/pci/devices").join(ADDRESS);
    for (map, file) in [("wc", "resource2_wc"), ("device", "resource2")] {
        let bar = function.join(file);
        std::fs::write(&bar, vec![0; BAR_SIZE as usize]).unwrap();
        let mut report = Report { bar: &bar, text: vec![] };
        let ended = in_child(&root, &words(ProbeKind::Store, map, "64"), &mut report).unwrap();
        assert_eq!((ended, report.text), (ProbeEnd::Ok, format!("store {map}\n").into_bytes()));
        assert!(std::fs::read(&bar).unwrap().iter().any(|byte| *byte != 0));
    }
}

#[test]
fn the_answer_is_what_the_child_reports() {
    let of = |script: &str| {
        let output = Command::new("sh").args(["-c", script]).output().unwrap();
        reported(ADDRESS, &output).map_err(|failure| failure.message)
    };
    let done = |kind, map, outcome| Ok(ProbeDone { map, kind, outcome });
    assert_eq!(of("echo store device"), done(ProbeKind::Store, MapKind::Device, ProbeEnd::Ok));
    assert_eq!(of("echo zva wc"), done(ProbeKind::Zva, MapKind::Wc, ProbeEnd::Ok));
    assert_eq!(of("echo load wc; exit 1"), done(ProbeKind::Load, MapKind::Wc, ProbeEnd::Wrong));
    assert_eq!(of("echo atomic wc; exit 3"), done(ProbeKind::Atomic, MapKind::Wc, ProbeEnd::Unsupported));
    assert_eq!(of("echo store wc; kill -BUS $$"), done(ProbeKind::Store, MapKind::Wc, ProbeEnd::Signal(7)));
    for (script, why) in [
        ("kill -KILL $$", "before the access"),
        ("exit 0", "before the access"),
        ("echo wc", "before the access"),
        ("echo stroe wc", "before the access"),
        ("echo store nc", "before the access"),
        ("echo no such BAR >&2; exit 2", "no such BAR"),
        ("echo store wc; exit 300", "exit status: 44"),
    ] {
        let failure = of(script).unwrap_err();
        assert!(failure.contains(why), "{script}: {failure}");
    }
}
