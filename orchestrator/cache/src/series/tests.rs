use super::*;
use proptest::prelude::*;
use std::fs;

const FROM: &str = "From 14fa26f3598335868a61a89d7425dbf907db0a07 Mon Sep 17 00:00:00 2001";

fn diff(file: &str) -> String {
    format!("diff --git a/{file} b/{file}\n--- a/{file}\n+++ b/{file}\n@@ -1 +1 @@\n-a\n+b\n")
}

fn mail(subject: &str, body: &str) -> String {
    format!("{FROM}\nFrom: A Developer <a@example.org>\nSubject: {subject}\n\n{body}\n")
}

fn patch(subject: &str, file: &str) -> String {
    mail(subject, &format!("Why.\n---\n {file} | 2 +-\n\n{}-- \n2.47\n", diff(file)))
}

fn mailbox(text: &str) -> Result<Series, Unusable> {
    Series::of_mailbox(text.as_bytes(), "x.mbox")
}

fn titles(series: &Series) -> Vec<&str> {
    series.patches.iter().map(|patch| patch.title.as_str()).collect()
}

#[test]
fn a_thread_becomes_a_series() {
    let quoted = mail("Re: [PATCH v2 1/2] mm: one", "> diff --git a/x b/x\n> --- a/x\n\nReviewed-by: B\n");
    let text = [
        mail("[PATCH v2 0/2] two changes", "What it is for.\n\n x | 2 +-\n"),
        patch("[PATCH v2 2/2] kvm: two", "y"),
        quoted,
        patch("Re: [PATCH v2 2/2] kvm: better so", "z"),
        patch("[PATCH v2 1/2] mm: one", "x"),
        patch("[PATCH v2 1/2] mm: one", "x"),
        mail("a question", "When?\n"),
    ]
    .concat();
    let series = mailbox(&text).unwrap();
    assert_eq!(titles(&series), ["mm: one", "kvm: two"]);
    assert_eq!(series.patches[0].diff, format!("{}-- \n2.47\n\n", diff("x")).as_bytes());
    let skipped: Vec<_> = series.skipped.iter().map(|s| (s.subject.as_str(), s.why)).collect();
    let expected = [
        ("two changes", "a cover letter"),
        ("mm: one", "a reply"),
        ("kvm: better so", "a reply"),
        ("a question", "it has no diff"),
    ];
    assert_eq!(skipped, expected);
}

#[test]
fn what_is_no_whole_series_is_refused() {
    let refused = |mails: &[String]| mailbox(&mails.concat()).unwrap_err().to_string();
    let [one, two, four] = [1, 2, 4].map(|n| patch(&format!("[PATCH {n}/5] x{n}"), "x"));
    let other = patch("[PATCH 1/5] y", "y");
    insta::assert_snapshot!(
        [
            refused(&[one.clone(), four]),
            refused(&[one.clone(), two, other]),
            refused(&[one.clone(), patch("[PATCH] z", "z")]),
            refused(&[one.clone(), patch("[PATCH v3 1/5] x1", "x"), patch("[PATCH v10 1/5] x1", "x")]),
            refused(&[patch("[PATCH 1/2] a", "a"), mail("[PATCH 2/2] b", "forgotten\n")]),
            refused(&[mail("[PATCH 0/2] c", "c\n"), mail("Re: [PATCH 1/2] d", "d\n")]),
            refused(&[patch("[PATCH 1/4000000000] a", "a")]),
            refused(&[]),
        ]
        .join("\n"), @r"
    patches 2, 3, 5 of 5 are missing
    two different mails are patch 1 of 5
    it has more than one series: `x1` does not belong with `z`
    it has more than one revision of a series: v1, v10, v3
    patch 2 of 2, `b`, has no diff
    it contains no patch
      c: a cover letter
      d: a reply
    it has more than 2000 mails or patches
    it contains no patch
      x.mbox: it has no diff
    ");
}

#[test]
fn patches_without_numbers_stay_in_the_mailboxs_order() {
    let text = [patch("[PATCH] b", "b"), patch("[PATCH] a", "a")].concat();
    assert_eq!(titles(&mailbox(&text).unwrap()), ["b", "a"]);
}

/// `é` is two bytes in the file, whatever the mail's character set.
#[test]
fn encodings_are_undone() {
    let file = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a = é\n+b = =3D\n";
    let head = |encoding: &str| {
        format!(
            "{FROM}\nSubject: =?utf-8?q?=5BPATCH_1/1=5D_gr=C3=BC=C3=9Fe?=\nContent-Type: text/plain; charset=utf-8\n\
             Content-Transfer-Encoding: {encoding}\n\n"
        )
    };
    let quoted = file.replace('=', "=3D").replace('é', "=C3=\n=A9").replace("+++ b", "++=2B b");
    let base64 = "LS0tIGEveAorKysgYi94CkBAIC0xICsxIEBACi1hID0gw6kKK2IgPSA9M0QK\n".to_owned();
    let attached = format!(
        "{FROM}\nSubject: [PATCH 1/1] grüße\nContent-Type: multipart/mixed; boundary=\"b\"\n\n--b\nContent-Type: text/plain\n\n\
         words\n\n--b\nContent-Type: text/x-patch\nContent-Transfer-Encoding: 8bit\n\n{file}\n--b\nContent-Type: image/png\n\n\
         --- a/no\n+++ b/no\n--b--\n"
    );
    for text in [head("quoted-printable") + &quoted, head("base64") + &base64, head("8bit") + file, attached]
    {
        let series = mailbox(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(titles(&series), ["grüße"]);
        let diff = String::from_utf8_lossy(&series.patches[0].diff);
        assert_eq!(diff.trim_end(), file.trim_end(), "{text}");
    }
}

#[test]
fn line_ends_of_mail_programs_are_taken_off() {
    let text = patch("[PATCH] x", "x").replace('\n', "\r\n");
    assert_eq!(mailbox(&text).unwrap(), mailbox(&patch("[PATCH] x", "x")).unwrap());
    // A file that has them, in a mail that has not, keeps them.
    let mixed = patch("[PATCH] x", "x").replace("-a\n", "-a\r\n");
    assert!(mailbox(&mixed).unwrap().patches[0].diff.windows(4).any(|w| w == b"-a\r\n"));
}

#[test]
fn only_a_separator_parts_mails() {
    let body =
        format!("From here on it is fast.\n>From 1 Mon Sep 17 00:00:00 2001\n>>From x\n---\n{}", diff("x"));
    let series = mailbox(&mail("[PATCH] x", &body)).unwrap();
    assert_eq!((titles(&series), series.skipped.len()), (vec!["x"], 0));
    let lone = "From here\nSubject: [PATCH] y\n\n".to_owned() + &diff("y");
    assert_eq!(titles(&mailbox(&lone).unwrap()), ["y"]);
}

/// Returns one mail as a mail program saves it: no `From ` line, but all the fields of a mail.
fn saved(subject: &str, file: &str) -> String {
    format!(
        "From: A <a@x>\nTo: l@x\nSubject: {subject}\nMessage-Id: <{file}@x>\n\nWords.\n---\n{}\n\n",
        diff(file)
    )
}

#[test]
fn what_stands_before_the_first_mail_means_nothing() {
    let two = patch("[PATCH 1/2] a", "a") + &patch("[PATCH 2/2] b", "b");
    let one = patch("[PATCH 1/2] a", "a");
    for before in ["", "\n", "\r\n \n\n", "\u{feff}", "\u{feff}\n"] {
        assert_eq!(titles(&mailbox(&format!("{before}{two}")).unwrap()), ["a", "b"], "{before:?}");
        let missing = mailbox(&format!("{before}{one}")).unwrap_err();
        assert_eq!(missing.to_string(), "patch 2 of 2 is missing", "{before:?}");
    }
    // A mail without its line is still one; other text is not.
    let first = format!("{}{}", saved("[PATCH 1/2] a", "a"), patch("[PATCH 2/2] b", "b"));
    assert_eq!(titles(&mailbox(&first).unwrap()), ["a", "b"]);
    let words = mailbox(&format!("Saved from the list.\n\n{two}")).unwrap();
    assert_eq!(titles(&words), ["a", "b"]);
}

#[test]
fn mails_one_after_the_other_are_told_apart() {
    let both =
        saved("[PATCH 2/2] b", "b") + &saved("[PATCH 1/2] a", "a") + &saved("Re: [PATCH 1/2] a", "reply");
    let series = mailbox(&both).unwrap();
    assert_eq!(titles(&series), ["a", "b"]);
    assert_eq!(series.skipped.len(), 1, "what a reply suggests is not applied");
    let gap = mailbox(&saved("[PATCH 2/2] b", "b")).unwrap_err();
    assert_eq!(gap.to_string(), "patch 1 of 2 is missing");
    // The author's line and the like, which git takes from the body's beginning, do not begin a
    // mail.
    let inside =
        saved("[PATCH] a", "a").replacen("Words.", "From: B <b@x>\nSubject: other\nDate: now\n\nWords.", 1);
    assert_eq!(titles(&mailbox(&inside).unwrap()), ["a"]);
}

#[test]
fn a_mail_and_the_lists_copy_of_it_are_one() {
    let numbered = |n: usize, tag: &str, footer: &str| {
        patch(&format!("{tag}[PATCH {n}/2] t{n}"), "x").replacen(
            "\n\n",
            &format!("\nMessage-Id: <{n}@x>\n\n"),
            1,
        ) + footer
    };
    let footer = "\n_______________________________________________\nlist mailing list\n";
    let text = [
        numbered(1, "", ""),
        numbered(1, "[list] ", footer),
        numbered(2, "[list] ", footer),
        numbered(2, "", ""),
    ];
    assert_eq!(titles(&mailbox(&text.concat()).unwrap()), ["t1", "t2"]);
    // Also without numbers.
    let lone = text.map(|mail| mail.replace("1/2", "").replace("2/2", ""));
    assert_eq!(titles(&mailbox(&lone.concat()).unwrap()), ["t1", "t2"]);
    let changed = numbered(1, "", "").replace("+b", "+c");
    let twice = mailbox(&[numbered(1, "", ""), changed, numbered(2, "", "")].concat()).unwrap_err();
    assert_eq!(twice, Unusable::Twice { number: 1, total: 2 });
}

#[test]
fn what_is_attached_is_applied() {
    let attached = |names: &[&str]| {
        let parts = names.iter().map(|name| {
            format!("--b\nContent-Type: application/octet-stream; name={name}.patch\nContent-Disposition: attachment\n\n{}\n", diff(name))
        });
        let parts: String = parts.collect();
        format!(
            "{FROM}\nSubject: [PATCH] x\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\n\
             See below.\n\n{parts}--b--\n"
        )
    };
    assert_eq!(titles(&mailbox(&attached(&["a"])).unwrap()), ["x"]);
    let series = mailbox(&attached(&["a", "b"])).unwrap();
    assert_eq!(titles(&series), ["x (1 of 2)", "x (2 of 2)"]);
    assert_eq!(series.patches[1].diff, diff("b").as_bytes());
}

/// A mail that has other mails attached.
fn forward(subject: &str, attached: &[String]) -> String {
    let parts = attached.iter().map(|mail| {
        let (_, mail) = mail.split_once('\n').unwrap();
        format!("--f{}\nContent-Type: message/rfc822\n\n{mail}\n", subject.len())
    });
    let parts: String = parts.collect();
    let (boundary, more) = (subject.len(), "--f");
    format!(
        "{FROM}\nFrom: A <a@x>\nSubject: {subject}\nContent-Type: multipart/mixed; boundary=f{boundary}\n\n\
         {more}{boundary}\nContent-Type: text/plain\n\nSee below.\n{parts}{more}{boundary}--\n"
    )
}

#[test]
fn a_forwarded_patch_is_applied() {
    let [one, two] = [1, 2].map(|n| patch(&format!("[PATCH {n}/2] x{n}"), &format!("x{n}")));
    let both = mailbox(&forward("Fwd: two patches", &[two.clone(), one.clone()])).unwrap();
    assert_eq!(titles(&both), ["x1", "x2"]);
    assert!(both.patches[0].diff.starts_with(diff("x1").as_bytes()));
    let [skipped] = both.skipped.as_slice() else { panic!("{:?}", both.skipped) };
    assert!(skipped.why.starts_with("it has other mails attached"), "{skipped:?}");
    // Some mail programs put the old subject in brackets, with its number.
    let each = [one.clone(), two].map(|mail| {
        let subject = mail.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap();
        forward(&format!("[Fwd: {subject}]"), std::slice::from_ref(&mail))
    });
    assert_eq!(titles(&mailbox(&each.concat()).unwrap()), ["x1", "x2"]);
    let (_, file) = each[0].split_once('\n').unwrap();
    let alone = Series::of_part(file.as_bytes(), "x.eml").unwrap();
    assert_eq!(titles(&alone), ["x1"], "a file of one mail");
    let own =
        format!("{FROM}\nSubject: [PATCH] y\nContent-Type: message/rfc822\n\n{}", patch("[PATCH] y", "y"));
    assert_eq!(titles(&mailbox(&own).unwrap()), ["y"]);

    let deep = |depth| (0..depth).fold(one.clone(), |mail, n| forward(&"f".repeat(n + 1), &[mail]));
    assert!(mailbox::mails(deep(8).as_bytes(), "x").is_ok());
    let error = mailbox(&deep(9)).unwrap_err().to_string();
    assert!(error.contains("more than 8 mails are attached to one another"), "{error}");
}

#[test]
fn a_patch_without_a_diff_or_a_whole_number_is_named() {
    let refused = |mails: &[String]| {
        let why = mailbox(&mails.concat()).unwrap_err();
        let path = PathBuf::from("x.mbox");
        let error = SeriesError::Unusable { path, why };
        format!("{error}\n  {}", error.hint().unwrap())
    };
    let [one, three] = [1, 3].map(|n| patch(&format!("[PATCH {n}/3] t{n}"), "x"));
    let between = patch("[PATCH 1.5/3] between", "x");
    insta::assert_snapshot!([
        refused(&[one.clone(), mail("[PATCH 2/3] empty", "No change.\n---\n-- \n2.47.3\n"), three.clone()]),
        refused(&[one.clone(), mail("[PATCH 2/3] cut", "Words.\n---\n x | 2 +-\n"), three.clone()]),
        refused(&[one, between, three]),
    ].join("\n"), @r"
    `x.mbox`: patch 2 of 3, `empty`, has no diff, and its mail is whole
      its commit is empty: put the other patches into a folder, or write the series anew without it
    `x.mbox`: patch 2 of 3, `cut`, has no diff
      fetch the whole thread again; a folder of patches is taken as it is
    `x.mbox`: `between` is patch 1.5/3, which is not a whole number
      put the patches that are meant into a folder, in their order
    ");
}

/// git itself splits the same mailboxes into as many mails.
#[test]
fn mailboxes_are_parted_as_git_parts_them() {
    use std::process::Command;
    let quoted =
        "From x@y Thu Jan  1 00:00:00 1970\nSubject: q\n\n>From here on\n>>From there\nFrom now on\n\n";
    let two = patch("[PATCH 1/2] a", "a") + &patch("[PATCH 2/2] b", "b");
    for text in [two.clone(), format!("\n\n{two}"), format!("{two}{quoted}"), saved("x", "x")] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("mbox"), &text).unwrap();
        let mut git = Command::new("git");
        git.args(["mailsplit", "-b", "--mboxrd", "-o."]).arg("mbox").current_dir(dir.path());
        let parted = git.output().unwrap();
        let count: usize = String::from_utf8(parted.stdout).unwrap().trim().parse().unwrap();
        assert_eq!(mailbox::mails(text.as_bytes(), "mbox").unwrap().len(), count, "{text}");
    }
}

/// The cover letter of the patches' revision, else the first patch by its number.
#[test]
fn a_series_has_the_mail_that_stands_for_it() {
    let lead = |mails: &[&str]| mailbox(&mails.concat()).unwrap().lead;
    let with =
        |id: &str, mail: String| mail.replacen("Subject:", &format!("Message-ID: <{id}>\nSubject:"), 1);
    let cover = with("0@x", mail("[PATCH v2 0/2] both", "words\n"));
    let old = with("9@x", mail("[PATCH 0/2] both", "words\n"));
    let (one, two) = (with("1@x", patch("[PATCH v2 1/2] a", "a")), patch("[PATCH v2 2/2] b", "b"));
    let due = |subject: &str, id: Option<&str>| {
        Some(LeadMail { subject: subject.into(), message_id: id.map(str::to_owned) })
    };
    assert_eq!(lead(&[&old, &two, &cover, &one]), due("[PATCH v2 0/2] both", Some("0@x")));
    assert_eq!(lead(&[&old, &two, &one]), due("[PATCH v2 1/2] a", Some("1@x")));
    assert_eq!(lead(&[&patch("a", "a")]), due("a", None));
    assert_eq!(Series::of_mailbox(diff("a").as_bytes(), "a.patch").unwrap().lead, None, "not a mail");
}

#[test]
fn the_hash_of_a_patchset_is_that_of_sha256sum() {
    let patch = |diff: &str| Patch { title: "t".into(), diff: diff.into() };
    let patches = [patch("a\n"), patch("b\n")];
    // for f in a b; do echo $f | sha256sum | cut -c-64; done | sha256sum
    assert_eq!(patchset_hash(&patches), "7b77b1b66500ed66bdb3e5f10e78f55ab6d4b404fa676ec1bee2ab5b31346a80");
}

#[test]
fn files_and_folders() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write("0002-b.patch", &patch("[PATCH 2/7] b", "b"));
    write("0001-a.patch", &diff("a"));
    write("c.diff", &format!("Subject: c\n{}", diff("c")));
    write(".d.patch", &diff("d"));
    write("README", "no patch");
    let read = |below: &str| Series::read(&dir.path().join(below));
    let folder = read(".").unwrap();
    assert_eq!(titles(&folder), ["0001-a.patch", "b", "c"]);
    assert!(folder.patches[2].diff.starts_with(b"diff --git a/c "));

    // A single file must be whole. As a part of a folder, or gathered, it need not be.
    let alone = read("0002-b.patch").unwrap_err();
    assert!(alone.to_string().ends_with("patches 1, 3, 4, 5, 6, 7 of 7 are missing"), "{alone}");
    assert!(alone.hint().is_some());
    let parts = ["0002-b.patch", "0001-a.patch"].map(|name| dir.path().join(name));
    let gathered = Series::gather(&parts).unwrap();
    assert_eq!(titles(&gathered), ["b", "0001-a.patch"]);
    assert_ne!(gathered.digest(), folder.digest());

    write("series", "c.diff\n0001-a.patch -p1\n");
    assert_eq!(titles(&read(".").unwrap()), ["c", "0001-a.patch"]);
    write("series", "gone.patch\n");
    assert!(read(".").unwrap_err().to_string().contains("gone.patch`: No such file"));
    fs::create_dir(dir.path().join("empty")).unwrap();
    assert!(matches!(read("empty"), Err(SeriesError::Unusable { why: Unusable::NoFiles, .. })));
    assert!(matches!(read("README"), Err(SeriesError::Unusable { why: Unusable::NoPatch(_), .. })));
    assert!(matches!(read("none"), Err(SeriesError::Read(_))));
}

#[test]
fn a_packed_mailbox_is_bounded_when_it_is_unpacked() {
    use std::io::Write;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.mbox.gz");
    let pack = |text: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        fs::write(&path, encoder.finish().unwrap()).unwrap();
    };
    pack(patch("[PATCH] x", "x").as_bytes());
    assert_eq!(titles(&Series::read(&path).unwrap()), ["x"]);
    let limit = usize::try_from(kinds::PATCHES.limit).unwrap();
    pack(&vec![b'x'; limit + 1]);
    let bomb = Series::read(&path).unwrap_err();
    assert!(bomb.to_string().ends_with("it is larger than 64 MiB, the limit of a series"), "{bomb}");
}

#[test]
fn a_packed_mailbox_may_have_members_but_not_any_number() {
    use std::io::Write;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.mbox.gz");
    let member = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let [one, two] = [1, 2].map(|n| member(&patch(&format!("[PATCH {n}/2] t{n}"), "x")));
    fs::write(&path, [one, two].concat()).unwrap();
    assert_eq!(titles(&Series::read(&path).unwrap()), ["t1", "t2"]);
    fs::write(&path, member("").repeat(MAX_MAILS + 1)).unwrap();
    let many = Series::read(&path).unwrap_err();
    assert!(many.to_string().ends_with("it has more than 2000 gzip members"), "{many}");
    fs::write(&path, [member("text"), b"more".to_vec()].concat()).unwrap();
    assert!(Series::read(&path).unwrap_err().to_string().starts_with("cannot read"));
}

#[test]
fn the_patches_of_a_folder_are_bounded_together() {
    let dir = tempfile::tempdir().unwrap();
    let half = kinds::PATCHES.limit / 2;
    for name in ["1.patch", "2.patch", "3.patch"] {
        fs::write(dir.path().join(name), diff("x")).unwrap();
        fs::OpenOptions::new()
            .write(true)
            .open(dir.path().join(name))
            .and_then(|file| file.set_len(half))
            .unwrap();
    }
    let large = Series::read(dir.path()).unwrap_err();
    assert!(large.to_string().ends_with("its patches have more than 64 MiB in all"), "{large}");
    fs::write(dir.path().join("series"), "1.patch\n".repeat(MAX_MAILS + 1)).unwrap();
    fs::write(dir.path().join("1.patch"), diff("x")).unwrap();
    let many = Series::read(dir.path()).unwrap_err();
    assert!(many.to_string().ends_with("it has more than 2000 mails or patches"), "{many}");
}

/// The parser takes minutes for each of these, or gigabytes. A patch whose subject is not decoded
/// would lose its number.
#[test]
fn mails_that_the_parser_takes_long_for_are_refused() {
    let words = "=?UTF-8?B?eA==?= ".repeat(1 << 20);
    let unreadable = |number, why: &str| Err(Unusable::Mail { number, why: why.to_owned() });
    let folded = "\n y".repeat(4 << 20);
    for subject in [&words, &folded] {
        let one = format!("From: a\nMessage-Id: x\nSubject: {subject}\n\n{}", diff("x"));
        let long = "its head is longer than 256 KiB";
        assert_eq!(mailbox(&one), unreadable(1, long));
        assert_eq!(mailbox(&format!("{}\n{FROM}\n{one}", patch("x", "x"))), unreadable(2, long));
    }
    let parts = "--b\nContent-Type: text/plain\n\n".repeat(1 << 20);
    let one = format!("{FROM}\nSubject: x\nContent-Type: multipart/mixed; boundary=b\n\n{parts}");
    assert_eq!(mailbox(&one), unreadable(1, "it has parts, and is larger than 16 MiB"));
    // A diff without an empty line has no head.
    let diff = format!("{}{}", diff("x"), "@@ -1 +1 @@\n-a\n+b\n".repeat(1 << 16));
    assert_eq!(titles(&mailbox(&diff).unwrap()), ["x.mbox"]);
}

/// The digest covers the changes, and the end of each patch.
#[test]
fn digests() {
    let series = |diffs: &[&str]| {
        let patches = diffs.iter().map(|d| Patch { title: "t".into(), diff: d.as_bytes().to_vec() });
        Series { lead: None, patches: patches.collect(), skipped: vec![] }
    };
    let mut renamed = series(&["a", "b"]);
    renamed.patches[0].title = "another".into();
    assert_eq!(renamed.digest(), series(&["a", "b"]).digest());
    assert_ne!(series(&["a", "b"]).digest(), series(&["b", "a"]).digest());
    assert_ne!(series(&["ab", ""]).digest(), series(&["a", "b"]).digest());
}

proptest! {
    /// Any mailbox gives a result, and every patch in it has a diff.
    #[test]
    fn any_mailbox(
        text in "(From x Mon Sep 17 00:00:00 2001\n|Subject: \\[PATCH [0-3]/3\\] t\n|Content-Type: multipart/mixed; boundary=b\n|\
                 Content-Transfer-Encoding: (base64|quoted-printable)\n|--b\n|--b--\n|\n|>From \n|diff --git a/x b/x\n|--- a/x\n|\
                 \\+\\+\\+ b/x\n|@@ -1 \\+1 @@\n|=\n|[^\n]{0,9}\n){0,40}"
    ) {
        for found in [mailbox(&text), mailbox::mails(text.as_bytes(), "x").map(mailbox::as_it_is)].into_iter().flatten() {
            prop_assert!(found.patches.iter().all(|patch| patch.diff.ends_with(b"\n")));
        }
    }

    #[test]
    fn any_bytes(mut bytes in prop::collection::vec(any::<u8>(), 0..400), mbox in any::<bool>()) {
        if mbox {
            bytes.splice(0..0, FROM.bytes().chain(*b"\n"));
        }
        let _ = mailbox::mails(&bytes, "x");
    }

    /// The order is that of the numbers, whatever the order of delivery.
    #[test]
    fn any_order_of_the_mails(order in Just((1..=6usize).collect::<Vec<_>>()).prop_shuffle()) {
        let mails: String = order.iter().map(|n| patch(&format!("[PATCH v3 {n}/6] t{n}"), "x")).collect();
        let series = mailbox(&mails).unwrap();
        prop_assert_eq!(titles(&series), ["t1", "t2", "t3", "t4", "t5", "t6"]);
    }
}
