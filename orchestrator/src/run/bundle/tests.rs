use super::{
    pack::{BLOCK, END, header},
    *,
};
use flate2::{Compression, GzBuilder, write::GzEncoder};
use proptest::prelude::*;
use s2lab_os::outside::kinds;
use std::io::Write;
use tar::EntryType;

const DIGEST: &str = "9f64a747e1b97f131fabb6b447296c9b6f0201e79fb3c5356e6c77e89b6a806a";

fn long_key() -> String {
    format!("scenario@{}", "k".repeat(231))
}

/// The bundle of a run with a short and a long key.
fn contents() -> Contents {
    let mut contents = Contents::new().unwrap();
    contents.add("events.jsonl", b"{}\n".to_vec()).unwrap();
    contents.add(&format!("raw/{DIGEST}"), vec![7; 4096]).unwrap();
    for key in ["a@k", &long_key()] {
        contents.add(&format!("reports/{key}.txt"), b"text".to_vec()).unwrap();
        contents.add(&format!("cells/{key}/2/console.host.log"), vec![b'x'; BLOCK]).unwrap();
    }
    contents
}

/// The refusal of an archive.
fn refused(archive: Vec<u8>) -> String {
    Bundle::of_archive(archive).map(drop).unwrap_err().to_string()
}

/// The refusal of a file.
fn refused_file(packed: &[u8]) -> String {
    Bundle::of(packed).map(drop).unwrap_err().to_string()
}

/// An archive with one entry after the version, which `change` makes wrong.
fn with(name: &str, change: impl FnOnce(&mut tar::Header)) -> Vec<u8> {
    let mut archive = Contents::new().unwrap().archive().unwrap();
    archive.truncate(archive.len() - END);
    let mut entry = header("s2lab-run/events.jsonl", 0).unwrap();
    let mut made = tar::Header::from_byte_slice(&entry).clone();
    let field = &mut made.as_old_mut().name;
    field.fill(0);
    field[..name.len()].copy_from_slice(name.as_bytes());
    change(&mut made);
    made.set_cksum();
    entry.copy_from_slice(made.as_bytes());
    archive.extend(entry);
    archive.resize(archive.len() + END, 0);
    archive
}

#[test]
fn files_come_back_by_their_names() {
    let packed = contents().pack().unwrap();
    assert_eq!(packed, contents().pack().unwrap());
    assert_eq!(packed[..GZIP.len()], GZIP);
    let bundle = Bundle::of(&packed).unwrap();
    let long = long_key();
    let mut names = vec!["bundle".into(), "cells/a@k/2/console.host.log".into()];
    names.push(format!("cells/{long}/2/console.host.log"));
    names.extend(["events.jsonl".into(), format!("raw/{DIGEST}"), "reports/a@k.txt".into()]);
    names.push(format!("reports/{long}.txt"));
    assert_eq!(bundle.names().collect::<Vec<_>>(), names);
    assert_eq!(bundle.get("events.jsonl"), Some(&b"{}\n"[..]));
    assert_eq!(bundle.get(&format!("raw/{DIGEST}")), Some(&[7; 4096][..]));
    assert_eq!(bundle.get(&format!("reports/{long}.txt")), Some(&b"text"[..]));
    assert_eq!(bundle.get("reports/b@k.txt"), None);
    assert_eq!(contents().count(), names.len());
}

/// The crate reads GNU's long names.
#[test]
fn other_programs_read_it() {
    let packed = contents().pack().unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&*packed));
    let names = archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned());
    let due: Vec<_> = Bundle::of(&packed).unwrap().names().map(|name| format!("{TOP}{name}")).collect();
    assert_eq!(names.map(|name| name.display().to_string()).collect::<Vec<_>>(), due);
}

#[test]
fn other_files_are_left_out() {
    let mut contents = contents();
    let count = contents.count();
    for name in [
        "s2lab.log",
        "run.json",
        "cells/a@k/qemu.args",
        "cells/a@k/gdb",
        "cells/a@k/.s2lab-0011223344556677",
        "cells/a@k/1/console.host.log",
        "cells/a@k/02/console.host.log",
        "cells/a@k/console..log",
        "cells/a/console.host.log",
        "raw/9f64",
        "reports/a@k",
        "events.jsonl/x",
        "",
    ] {
        contents.add(name, vec![]).unwrap();
        assert_eq!(contents.count(), count, "{name}");
    }
}

#[test]
fn an_entry_that_is_not_a_file_of_a_run_is_refused() {
    let name = "s2lab-run/events.jsonl";
    Bundle::of_archive(with(name, |_| ())).unwrap();
    for (kind, why) in [
        (EntryType::Symlink, "is a link"),
        (EntryType::Link, "is a link"),
        (EntryType::Directory, "is a folder"),
        (EntryType::Char, "is a device"),
        (EntryType::Block, "is a device"),
        (EntryType::Fifo, "is a named pipe"),
        (EntryType::GNUSparse, "is a sparse file"),
        (EntryType::XHeader, "has an extended header"),
        (EntryType::XGlobalHeader, "has an extended header"),
        (EntryType::GNULongLink, "has a long name that is not its own"),
        (EntryType::GNULongName, "is a name that no file of a run has"),
        (EntryType::Continuous, "is of an unknown type"),
    ] {
        let refused = refused(with(name, |header| header.set_entry_type(kind)));
        assert_eq!(refused, format!("`{name}` in it {why}"), "{kind:?}");
    }
    for (name, why) in [
        ("/etc/passwd", "has an absolute path"),
        ("../events.jsonl", "has a path that climbs"),
        ("s2lab-run/../../x", "has a path that climbs"),
        ("s2lab-run/cells/a@k/..", "has a path that climbs"),
        ("s2lab-run/./events.jsonl", "is not a file of a run"),
        ("s2lab-run//events.jsonl", "is not a file of a run"),
        ("events.jsonl", "is not a file of a run"),
        ("s2lab-run/cells/a@k/.bashrc", "is not a file of a run"),
    ] {
        assert_eq!(refused(with(name, |_| ())), format!("`{name}` in it {why}"));
    }
    let twice = "`bundle` in it is there twice, or in the wrong place";
    assert_eq!(refused(with("s2lab-run/bundle", |_| ())), twice);
    // Names are shown on a terminal.
    assert_eq!(refused(with("\u{1b}[2J", |_| ())), "`\\u{1b}[2J` in it is not a file of a run");
}

#[test]
fn a_header_has_one_form() {
    let name = "s2lab-run/events.jsonl";
    type Change = fn(&mut tar::Header);
    let other: [(&str, Change); 7] = [
        ("mode", |header| header.set_mode(0o4755)),
        ("owner", |header| header.set_uid(1000)),
        ("group", |header| header.set_gid(1000)),
        ("time", |header| header.set_mtime(1)),
        ("user", |header| header.as_gnu_mut().unwrap().set_username("root").unwrap()),
        ("link", |header| header.as_old_mut().linkname[0] = b'x'),
        ("old type", |header| header.as_old_mut().linkflag[0] = 0),
    ];
    for (what, change) in other {
        let why = format!("`{name}` in it has a header that s2lab does not write");
        assert_eq!(refused(with(name, change)), why, "{what}");
    }
    let mut unsound = with(name, |_| ());
    let checksum = unsound.len() - END - BLOCK + 150;
    unsound[checksum] ^= 1;
    assert!(refused(unsound).ends_with("has a header that s2lab does not write"));
    for size in [1 << 32, 1 << 40, u64::MAX >> 1] {
        assert_eq!(refused(with(name, |header| header.set_size(size))), "it is cut short");
    }
    let letters = refused(with(name, |header| header.as_old_mut().size.fill(b'z')));
    assert_eq!(letters, format!("`{name}` in it has a size that is not a number"));
    // A long name that is another in the header.
    let mut archive = contents().archive().unwrap();
    let at = archive.windows(100).position(|part| part.starts_with(b"s2lab-run/cells/scenario@")).unwrap();
    let second = at + archive[at..].windows(9).skip(1).position(|part| part == b"s2lab-run").unwrap() + 1;
    archive[second] = b'z';
    assert!(refused(archive).ends_with("has a header that s2lab does not write"));
}

#[test]
fn an_archive_ends_once() {
    let whole = contents().archive().unwrap();
    for length in 0..whole.len() / BLOCK {
        let cut = refused(whole[..length * BLOCK].to_vec());
        assert!(cut == "it is cut short", "{length}: {cut}");
    }
    assert_eq!(refused([&*whole, &[0; BLOCK]].concat()), "it does not end like one");
    let mut more = whole.clone();
    *more.last_mut().unwrap() = 1;
    assert_eq!(refused(more), "it does not end like one");
    let mut padded = whole.clone();
    let padding = padded.windows(3).position(|part| part == b"{}\n").unwrap() + 3;
    padded[padding] = b'x';
    assert_eq!(refused(padded), "`events.jsonl` in it is followed by other bytes");
}

#[test]
fn a_file_is_one_whole_gzip_member() {
    let packed = contents().pack().unwrap();
    for length in [0, 5, GZIP.len(), packed.len() / 2, packed.len() - 1] {
        let cut = refused_file(&packed[..length]);
        let due = match length < GZIP.len() {
            true => cut == "it does not begin like one",
            false => cut.starts_with("it is packed with gzip, and damaged or cut short"),
        };
        assert!(due, "{length}: {cut}");
    }
    assert_eq!(refused_file(&[&*packed, b"more"].concat()), "4 bytes follow its end");
    assert_eq!(refused_file(&[&*packed, &[0; 8]].concat()), "8 bytes follow its end");
    assert_eq!(refused_file(&packed.repeat(2)), format!("{} bytes follow its end", packed.len()));
    // A name and a time in gzip's header.
    let named = GzBuilder::new().filename("x").mtime(1).write(vec![], Compression::default());
    assert_eq!(refused_file(&named.finish().unwrap()), "it does not begin like one");
    assert_eq!(refused_file(b"s2lab report 2"), "it does not begin like one");
    let mut damaged = packed.clone();
    let middle = packed.len() / 2;
    damaged[middle] ^= 0xff;
    assert!(Bundle::of(&damaged).is_err());
}

#[test]
fn a_bomb_is_refused() {
    let mut packed = GzBuilder::new().operating_system(0xff).write(vec![], Compression::default());
    let zeros = vec![0; 1 << 20];
    for _ in 0..(UNSUSPECTED >> 20) + 1 {
        packed.write_all(&zeros).unwrap();
    }
    assert_eq!(refused_file(&packed.finish().unwrap()), "it unpacks to more than 100 times its size");
    let mut many = Contents::new().unwrap();
    let digest = |n: usize| format!("raw/{n:064x}");
    for n in 1..MOST_FILES {
        many.add(&digest(n), vec![]).unwrap();
    }
    assert_eq!(Bundle::of_archive(many.archive().unwrap()).unwrap().names().count(), MOST_FILES);
    let one_more = many.add(&digest(0), vec![]).unwrap_err();
    assert_eq!(one_more.to_string(), "a bundle has at most 65536 files");
    // It has one file too many now.
    assert_eq!(refused(many.archive().unwrap()), "it has more than 65536 files");
}

#[test]
fn a_run_that_is_too_large_is_not_bundled() {
    let mut large = contents();
    large.size = kinds::BUNDLE.limit - (END + 2 * BLOCK) as u64;
    let error = large.add("cells/b@k/console.host.log", vec![0; BLOCK + 1]).unwrap_err();
    assert_eq!(error.to_string(), "a bundle has at most 1024 MiB");
}

#[test]
fn another_version_is_refused() {
    let mut archive = contents().archive().unwrap();
    let at = archive.windows(14).position(|part| part == b"s2lab bundle 1").unwrap();
    archive[at + 13] = b'2';
    assert_eq!(refused(archive), "its form is s2lab bundle 2\\n, and this s2lab reads s2lab bundle 1");
    assert_eq!(refused(vec![0; END]), "its form is \"\", and this s2lab reads s2lab bundle 1");
}

proptest! {
    #[test]
    fn any_change_is_survived(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        length in any::<prop::sample::Index>(),
    ) {
        let mut archive = contents().archive().unwrap();
        for (at, byte) in changes {
            let at = at.index(archive.len());
            archive[at] = byte;
        }
        let _ = Bundle::of_archive(archive[..length.index(archive.len() + 1)].to_vec());
        let _ = Bundle::of_archive(archive.clone());
        let mut packed = GzEncoder::new(vec![], Compression::fast());
        packed.write_all(&archive).unwrap();
        let _ = Bundle::of(&packed.finish().unwrap());
    }
}
