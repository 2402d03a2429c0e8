//! The parts of a mail that may have a diff, with what mail programs do to their lines undone.

use super::diff;
use mailparse::{MailHeaderMap, ParsedMail};

/// The encodings that change the text (RFC 2045, section 6.1).
const ENCODINGS: [&str; 2] = ["quoted-printable", "base64"];
/// Begins and ends a text that is signed inline (RFC 4880, section 7).
const SIGNED: (&[u8], &[u8]) = (b"-----BEGIN PGP SIGNED MESSAGE-----", b"-----BEGIN PGP SIGNATURE-----");
/// Before the version of git at the end of a mail.
pub(super) const SIGNATURE: &[u8] = b"-- ";

/// The diffs in `mail`, in order: of each part that has one. Their character set is the files'
/// business.
pub(super) fn diffs(mail: &ParsedMail<'_>) -> Result<Vec<Vec<u8>>, String> {
    if mail.subparts.is_empty() {
        let may_have_one = is_for_programs(&mail.ctype.mimetype);
        let diff = if may_have_one { diff_of(&text(mail)?) } else { Vec::new() };
        return Ok(if diff.is_empty() { vec![] } else { vec![diff] });
    }
    let mut parts = mail.subparts.iter().map(diffs);
    if mail.ctype.mimetype.eq_ignore_ascii_case("multipart/alternative") {
        // The same in several forms (RFC 2046, section 5.1.4).
        let found = parts.find(|found| found.as_ref().map_or(true, |found| !found.is_empty()));
        return found.unwrap_or(Ok(vec![]));
    }
    parts.try_fold(Vec::new(), |mut all, part| {
        all.extend(part?);
        Ok(all)
    })
}

/// Returns the mails that are attached to `mail`, such as a forwarded patch, in order. A mail in an
/// attached mail is left there.
pub(super) fn attached(mail: &ParsedMail<'_>) -> Result<Vec<Vec<u8>>, String> {
    if is_mail(mail) {
        return Ok(vec![mail.get_body_raw().map_err(|e| e.to_string())?]);
    }
    mail.subparts.iter().try_fold(Vec::new(), |mut all, part| {
        all.extend(attached(part)?);
        Ok(all)
    })
}

/// Returns true if the body of a part is a mail (RFC 2046, section 5.2.1).
fn is_mail(part: &ParsedMail<'_>) -> bool {
    part.ctype.mimetype.eq_ignore_ascii_case("message/rfc822")
}

/// Returns true if a part of this type may have a diff. Some mail programs attach a patch as the
/// file of an application.
fn is_for_programs(mime: &str) -> bool {
    let mime = mime.to_ascii_lowercase();
    (mime.starts_with("text/") && mime != "text/html") || mime.starts_with("application/")
}

/// Returns true if the text of `mail` is its body, unchanged.
pub(super) fn is_plain(mail: &ParsedMail<'_>) -> bool {
    let encoding = mail.headers.get_first_value("Content-Transfer-Encoding").unwrap_or_default();
    let is_encoded = ENCODINGS.iter().any(|encoded| encoded.eq_ignore_ascii_case(encoding.trim()));
    mail.subparts.is_empty() && !is_encoded && !is_flowed(mail) && !is_mail(mail)
}

/// A part without its transfer encoding.
fn text(part: &ParsedMail<'_>) -> Result<Vec<u8>, String> {
    let text = part.get_body_raw().map_err(|e| e.to_string())?;
    Ok(match is_flowed(part) {
        true => unflowed(&text, is_yes(part, "delsp", "yes")),
        false => text,
    })
}

fn is_flowed(part: &ParsedMail<'_>) -> bool {
    is_yes(part, "format", "flowed")
}

fn is_yes(part: &ParsedMail<'_>, parameter: &str, value: &str) -> bool {
    part.ctype.params.get(parameter).is_some_and(|found| found.eq_ignore_ascii_case(value))
}

/// Joins lines and takes their stuffing off (RFC 3676, section 4), as git does (git 2.47,
/// mailinfo.c, `handle_filter_flowed`).
fn unflowed(text: &[u8], delete_space: bool) -> Vec<u8> {
    let mut plain: Vec<u8> = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|b| *b == b'\n') {
        let end =
            line.len() - [&b"\r\n"[..], b"\n"].iter().find(|end| line.ends_with(end)).map_or(0, |e| e.len());
        let (words, end) = line.split_at(end);
        let unstuffed = words.strip_prefix(b" ").unwrap_or(words);
        match unstuffed.strip_suffix(b" ") {
            // A signature's line is one of its own.
            Some(_) if words == SIGNATURE => {
                if plain.last().is_some_and(|b| *b != b'\n') {
                    plain.push(b'\n');
                }
                plain.extend_from_slice(line);
            }
            Some(without) => plain.extend_from_slice(if delete_space { without } else { unstuffed }),
            None => plain.extend([unstuffed, end].concat()),
        }
    }
    plain
}

/// Returns the diff in `text` with plain line feeds, or nothing.
pub(super) fn diff_of(text: &[u8]) -> Vec<u8> {
    let text = unsigned(text);
    let mut diff = diff::find(&text).unwrap_or_default().to_vec();
    if !diff.is_empty() && !diff.ends_with(b"\n") {
        diff.push(b'\n');
    }
    // Mail programs end lines by two characters; a kernel's files do not.
    if diff.split_inclusive(|b| *b == b'\n').all(|line| line.ends_with(b"\r\n") || line == b"\n") {
        diff.retain(|b| *b != b'\r');
    }
    diff
}

/// Returns the signed text, without the dashes that signing puts before lines that begin with one.
fn unsigned(text: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    let (begin, end) = SIGNED;
    let lines = || text.split_inclusive(|b| *b == b'\n');
    if !lines().any(|line| line.trim_ascii_end() == begin) {
        return text.into();
    }
    let signed = lines().skip_while(|line| line.trim_ascii_end() != begin);
    let body = signed.skip_while(|line| !line.trim_ascii().is_empty());
    let body = body.take_while(|line| line.trim_ascii_end() != end);
    body.map(|line| line.strip_prefix(b"- ").unwrap_or(line)).collect::<Vec<_>>().concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{
        io::Write,
        process::{Command, Stdio},
    };

    const DIFF: &str = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n";

    fn of(mail: &str) -> Vec<String> {
        let diffs = diffs(&mailparse::parse_mail(mail.as_bytes()).unwrap()).unwrap();
        diffs.into_iter().map(|diff| String::from_utf8(diff).unwrap()).collect()
    }

    fn part(content: &str, text: &str) -> String {
        format!("--b\nContent-Type: {content}\n\n{text}\n")
    }

    fn multipart(kind: &str, parts: &[String]) -> String {
        format!("Subject: x\nContent-Type: multipart/{kind}; boundary=b\n\n{}--b--\n", parts.concat())
    }

    #[test]
    fn each_part_with_a_diff_is_a_patch() {
        let [one, two] = ["x", "y"].map(|name| DIFF.replace("/x", &format!("/{name}")));
        let parts = [
            part("text/plain", "Words.\n"),
            part("application/octet-stream; name=x.patch", &one),
            part("image/png", DIFF),
            part("text/x-diff", &two),
            part("text/plain", "____\nlist mailing list\n"),
        ];
        assert_eq!(of(&multipart("mixed", &parts)), [one, two]);
        let forms = [part("text/plain", DIFF), part("text/html", DIFF), part("text/enriched", DIFF)];
        assert_eq!(of(&multipart("alternative", &forms)).len(), 1);
        let inner = multipart("alternative", &forms).replace("--b", "--c").replace("=b", "=c");
        let inner = inner.split_once('\n').unwrap().1.to_owned();
        let nested = format!("Subject: x\nContent-Type: multipart/signed; boundary=b\n\n--b\n{inner}--b--\n");
        assert_eq!(of(&nested).len(), 1, "{nested}");
    }

    #[test]
    fn lines_of_a_part_are_plain_whatever_the_others_have() {
        let windows = DIFF.replace('\n', "\r\n");
        let parts = [part("text/plain", &windows), part("text/plain", "____\nlist\n")];
        assert_eq!(of(&multipart("mixed", &parts))[0].trim_end(), DIFF.trim_end());
    }

    #[test]
    fn a_text_that_is_signed_inline_has_its_dashes_back() {
        let dashed: String = DIFF
            .split_inclusive('\n')
            .map(|line| if line.starts_with('-') { format!("- {line}") } else { line.to_owned() })
            .collect();
        let signed = format!(
            "Subject: x\n\n-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nWords.\n\n{dashed}\n\
             -----BEGIN PGP SIGNATURE-----\n\niQ==\n-----END PGP SIGNATURE-----\n"
        );
        assert_eq!(of(&signed), [format!("{DIFF}\n")]);
    }

    /// The diff of a mail as git takes it.
    fn mailinfo(mail: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let mut git = Command::new("git");
        git.args(["mailinfo", "msg", "patch"]).current_dir(dir.path());
        let mut git = git.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        git.stdin.take().unwrap().write_all(mail.as_bytes()).unwrap();
        assert!(git.wait().unwrap().success());
        let patch = std::fs::read_to_string(dir.path().join("patch")).unwrap();
        let begin = patch.find("diff --git").unwrap_or(patch.len());
        patch[begin..].to_owned()
    }

    #[test]
    fn flowed_lines_are_joined_as_git_joins_them() {
        let body = "Words that go \non.\n---\ndiff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n  a\n  stuffed\n-b \n  more\n\
                    +c\n  d\n-- \n2.47\n";
        for parameters in ["", "; delsp=yes"] {
            for end in ["\n", "\r\n"] {
                let mail = format!(
                    "From: A <a@x>\nSubject: x\nContent-Type: text/plain; format=flowed{parameters}\n\n{}",
                    body.replace('\n', end)
                );
                let plain = of(&mail)[0].clone();
                assert_eq!(plain, mailinfo(&mail).replace('\r', ""), "{parameters}");
                assert!(plain.contains("\n a\n stuffed\n-b"), "{plain}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_text(text in prop::collection::vec(any::<u8>(), 0..200), delete_space in any::<bool>()) {
            prop_assert!(unflowed(&text, delete_space).len() <= text.len() + 1);
            let _ = diff_of(&text);
        }
    }
}
