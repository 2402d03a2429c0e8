use super::*;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::{fs, io::Write, os::unix::net::UnixListener, thread};

const FEW: Kind = Kind { name: "a test", limit: 8 << 10 };

fn why(read: Result<Vec<u8>, ReadError>) -> String {
    read.unwrap_err().why.to_string()
}

fn pipe(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

#[test]
fn a_regular_file_is_read_also_through_a_link() {
    let dir = tempfile::tempdir().unwrap();
    let (file, link) = (dir.path().join("file"), dir.path().join("link"));
    fs::write(&file, "text").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    for path in [&file, &link] {
        assert_eq!(read_text(path, FEW).unwrap(), "text");
        assert_eq!(read_named(path, FEW).unwrap(), b"text");
    }
    // The file system reports the size 0.
    assert!(!read(Path::new("/proc/self/status"), kinds::SYSTEM).unwrap().is_empty());
    assert_eq!(read_text_if_there(&dir.path().join("none"), FEW).unwrap(), None);
    assert!(read(&dir.path().join("none"), FEW).unwrap_err().is_absent());
}

#[test]
fn nothing_but_a_file_is_read_and_what_it_is_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    pipe(&at("pipe"));
    let _socket = UnixListener::bind(at("socket")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", at("zero")).unwrap();
    std::os::unix::fs::symlink("pipe", at("link")).unwrap();
    for (name, is) in [
        ("pipe", "a named pipe"),
        ("link", "a named pipe"),
        ("socket", "a socket"),
        ("zero", "a character device"),
        (".", "a folder"),
    ] {
        assert_eq!(why(read(&at(name), FEW)), format!("it is {is}, not a file"), "{name}");
    }
    assert_eq!(why(read_named(&at("zero"), FEW)), "it is a character device, not a file");
    let copied = copy(&at("pipe"), &at("copy"), FEW).unwrap_err();
    assert!(matches!(copied, CopyError::Read(_)), "{copied}");
    assert!(!at("copy").exists());
}

#[test]
fn a_file_beyond_its_limit_is_refused_before_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let (fits, large, sparse) =
        (dir.path().join("fits"), dir.path().join("large"), dir.path().join("sparse"));
    fs::write(&fits, vec![1; 8 << 10]).unwrap();
    fs::write(&large, vec![1; (8 << 10) + 1]).unwrap();
    File::create(&sparse).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(read(&fits, FEW).unwrap().len(), 8 << 10);
    for path in [&large, &sparse] {
        assert_eq!(why(read(path, FEW)), "it is larger than 8 KiB, the limit of a test");
        assert_eq!(why(read_named(path, FEW)), "it is larger than 8 KiB, the limit of a test");
    }
    // A file of /proc does not report its size.
    let few = Kind { name: "a test", limit: 8 };
    assert_eq!(
        why(read(Path::new("/proc/self/status"), few)),
        "it is larger than 0 KiB, the limit of a test"
    );
}

#[test]
fn one_that_grows_while_it_is_read_stays_within_its_limit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "small").unwrap();
    let mut open = Outside::open(&path, FEW).unwrap();
    fs::write(&path, vec![1; 9 << 10]).unwrap();
    assert_eq!(why(open.whole()), "it is larger than 8 KiB, the limit of a test");
}

#[test]
fn a_pipe_that_was_named_is_read_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    pipe(&path);
    let writer = path.clone();
    let writer = thread::Builder::new().spawn(move || {
        let mut out = OpenOptions::new().write(true).open(writer).unwrap();
        for _ in 0..3 {
            out.write_all(b"some").unwrap();
            thread::sleep(Duration::from_millis(20));
        }
        out
    });
    let read = thread::Builder::new().spawn({
        let path = path.clone();
        move || read_named(&path, FEW)
    });
    drop(writer.unwrap().join().unwrap());
    assert_eq!(read.unwrap().join().unwrap().unwrap(), b"somesomesome");

    let writer = path.clone();
    let writer = thread::Builder::new().spawn(move || {
        let mut out = OpenOptions::new().write(true).open(writer).unwrap();
        // The thread ends when the reader is gone.
        while out.write_all(&[7; 1 << 12]).is_ok() {}
    });
    assert_eq!(why(read_named(&path, FEW)), "it is larger than 8 KiB, the limit of a test");
    writer.unwrap().join().unwrap();
}

#[test]
fn what_is_no_text_is_told_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, b"one\n\xc3\xa4b\xff").unwrap();
    let error = read_text(&path, FEW).unwrap_err();
    assert!(matches!(error.why, Why::NotText { line: 2, column: 3 }), "{error}");
}

#[test]
fn a_copy_keeps_the_mode() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::write(&from, "text").unwrap();
    fs::set_permissions(&from, fs::Permissions::from_mode(0o755)).unwrap();
    copy(&from, &to, FEW).unwrap();
    assert_eq!(fs::read_to_string(&to).unwrap(), "text");
    assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o755);
}
