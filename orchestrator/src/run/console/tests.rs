use super::*;

fn console() -> (tempfile::TempDir, Console) {
    let dir = tempfile::tempdir().unwrap();
    let (log, _writer) = EventLog::create(&dir.path().join("events.jsonl"), |_, _| ()).unwrap();
    let console = Console::create(dir.path(), "host", log, AlarmSwitch::default()).unwrap();
    (dir, console)
}

#[tokio::test]
async fn an_alarm_is_seen_across_any_cut() {
    let text = b"[1.0] hello\r\n[2.0] Kernel panic - not syncing: x\r\n";
    for cut in 0..text.len() {
        let (_dir, mut console) = console();
        let first = console.push(&text[..cut]).unwrap();
        let second = console.push(&text[cut..]).unwrap();
        let line = "[2.0] Kernel panic - not syncing: x".to_owned();
        let expected = Some(ConsoleAlarm::Fatal(AlarmClass::Panic, line));
        assert_eq!(first.or(second), expected, "cut at {cut}");
    }
}

#[tokio::test]
async fn the_test_line_is_seen_once_and_for_its_nonce_only() {
    let line = |nonce| format!("[    4.1][    T1] {}\r\n", s2lab_protocol::test_line(nonce));
    for (text, due) in [
        (line(7), 1),
        (line(7) + &line(7), 1),
        (format!("{}{}", "x".repeat(MAX_LINE), line(7)), 1),
        (line(8), 0),
        ("Kernel command line: console=ttyAMA0 s2lab.nonce=0000000000000007\r\n".into(), 0),
    ] {
        let (dir, console) = console();
        let mut console = console.tested_by(s2lab_protocol::test_line(7));
        console.push(text.as_bytes()).unwrap();
        console.log.flush().await;
        let log = std::fs::read_to_string(dir.path().join("events.jsonl")).unwrap();
        assert_eq!(log.matches("\"console-tested\"").count(), due, "{text}: {log}");
    }
}

#[tokio::test]
async fn a_line_belongs_to_the_cell_in_which_it_came() {
    let (dir, mut console) = console();
    let other = dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let key = "other@k".parse().unwrap();
    let (of_first, of_second) = (console.log.cell(&"first@k".parse().unwrap()), console.log.cell(&key));
    console.log = of_first;
    console.push(b"BUG: one\nWARNING: CPU: 0 PID: 1 at x.c:1 f+0x0/0x4\nBUG: tw").unwrap();
    console.end_cell();
    console.begin_cell(&other, of_second, "after first@k").unwrap();
    let mut shown = console.expect("the end of a cell".into());
    console.push(b"o\nBUG: three\n").unwrap();
    assert!(shown.try_recv().is_err());
    console.push(b"[1.0] s2lab: the end of a cell, 7\n").unwrap();
    assert!(shown.try_recv().is_ok());
    console.log.flush().await;
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let log = read(&dir.path().join("events.jsonl"));
    let lines_of = |key: &str, kind: &str| {
        let of = |line: &&str| line.contains(&format!("\"{key}\"")) && line.contains(kind);
        log.lines().filter(of).count()
    };
    assert_eq!((lines_of("first@k", "\"alarm\""), lines_of("other@k", "\"alarm\"")), (2, 2), "{log}");
    assert_eq!(lines_of("first@k", "\"crash\""), 2, "the last ends with the cell: {log}");
    assert!(read(&dir.path().join("console.host.log")).ends_with("BUG: tw"));
    let second = read(&other.join("console.host.log"));
    assert!(second.starts_with("s2lab: after first@k\no\nBUG: three\n"), "{second}");
}

#[tokio::test]
async fn harmless_lines_hide_no_other_and_more_than_are_kept_are_told() {
    let (dir, mut console) = console();
    console.push("WARNING: Unprivileged eBPF is enabled\n".repeat(99).as_bytes()).unwrap();
    console.push(b"BUG: x\n").unwrap();
    console.log.flush().await;
    let log = std::fs::read_to_string(dir.path().join("events.jsonl")).unwrap();
    let count = |class: &str| log.matches(&format!(r#""class":"{class}""#)).count();
    assert_eq!((count("warn"), count("dropped"), count("bug")), (MAX_ALARMS, 1, 1), "{log}");
}

#[tokio::test]
async fn a_crash_is_cut_out_and_a_loop_of_them_bounded() {
    let (dir, mut console) = console();
    let oops = "Internal error: Oops: 1 [#1] SMP\r\npc : f+0x1/0x2\r\n---[ end trace 0 ]---\r\nnext\r\n";
    assert!(matches!(
        console.push(oops.repeat(9).as_bytes()),
        Ok(Some(ConsoleAlarm::Fatal(AlarmClass::Oops, _)))
    ));
    assert_eq!(console.crashes, MAX_CRASHES);
    console.log.flush().await;
    let log = std::fs::read_to_string(dir.path().join("events.jsonl")).unwrap();
    let crash = r#""lines":["Internal error: Oops: 1 [#1] SMP","pc : f+0x1/0x2","---[ end trace 0 ]---"]"#;
    assert_eq!(log.matches(crash).count(), MAX_CRASHES, "{log}");
}

#[tokio::test]
async fn a_crash_that_the_console_ends_in_is_kept() {
    let (_dir, mut console) = console();
    let begun =
        console.push(b"watchdog: BUG: soft lockup - CPU#0 stuck for 22s!\nCall trace:\n f+0x1/0x2\n g+0x");
    assert!(matches!(begun, Ok(Some(ConsoleAlarm::Stuck(AlarmClass::Stall, _)))), "{begun:?}");
    assert_eq!(console.crashes, 0);
    console.finish();
    assert_eq!(console.crashes, 1);
}

#[tokio::test]
async fn what_is_said_under_a_persons_hands_is_kept_and_does_not_count() {
    let (dir, mut console) = console();
    let begun = "WARNING: CPU: 0 PID: 1 at x.c:1 f+0x0/0x4\nCall trace:\n f+0x0/0x4\n";
    assert_eq!(console.push(begun.as_bytes()).unwrap(), None);
    console.switch.turn_off();
    assert_eq!(console.push(b"Kernel panic - not syncing: sysrq\n").unwrap(), None);
    console.finish();
    console.log.flush().await;
    let read = |name| std::fs::read_to_string(dir.path().join(name)).unwrap();
    assert!(read("console.host.log").contains("sysrq"));
    let log = read("events.jsonl");
    assert!(log.contains("f+0x0/0x4") && !log.contains("sysrq"), "{log}");
    assert_eq!(console.crashes, 1, "what had begun before is whole");
}

#[tokio::test]
async fn addresses_without_a_name_get_one() {
    let map = "ffff800008000000 T _text\nffff800008010000 t f\nffff800008100000 B _end\n";
    let (dir, console) = console();
    let mut console = console.with_symbols(Some(Arc::new(Symbols::parse(map).unwrap())));
    let oops = "Internal error: Oops: 1 [#1]\npc : 0xffff800008010004\n---[ end trace 0 ]---\nx\n";
    assert!(console.push(oops.as_bytes()).unwrap().is_some());
    console.log.flush().await;
    let log = std::fs::read_to_string(dir.path().join("events.jsonl")).unwrap();
    assert!(log.contains(r#""names":{"ffff800008010004":"f+0x4/0xf0000"}"#), "{log}");
}

#[tokio::test]
async fn an_endless_line_takes_no_memory() {
    let (_dir, mut console) = console();
    for _ in 0..100 {
        console.push(&[b'x'; 64 * 1024]).unwrap();
    }
    assert!(console.line.len() <= MAX_LINE);
}

#[tokio::test]
async fn an_alarm_far_behind_in_a_line_is_seen_once() {
    for before in (0..3 * MAX_LINE).step_by(61) {
        let (dir, mut console) = console();
        let line = format!("{}WARNING: a.c:1 at f+0x0/0x4, CPU#0: x/1\n", "y".repeat(before));
        console.push(line.as_bytes()).unwrap();
        console.log.flush().await;
        let log = std::fs::read_to_string(dir.path().join("events.jsonl")).unwrap();
        assert_eq!(log.matches("\"alarm\"").count(), 1, "behind {before} bytes: {log}");
    }
}

#[tokio::test]
async fn what_is_kept_is_bounded() {
    let (dir, mut console) = console();
    console.kept = MAX_FILE - 3;
    console.push(b"abcdef").unwrap();
    console.push(b"more").unwrap();
    let text = std::fs::read_to_string(dir.path().join("console.host.log")).unwrap();
    assert!(text.starts_with("abc\ns2lab: the console goes on"), "{text}");
    assert!(!text.contains("more"));
}
