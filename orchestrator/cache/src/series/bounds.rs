//! Bounds of a mail before it is parsed: the parser's time and memory are not linear in everything.

use mailparse::{MailHeaderMap, parse_content_type, parse_header, parse_headers};
use s2lab_os::size::Size;

/// The bytes before a mail's first empty line. Mail servers take 100 KiB (postconf(5),
/// `header_size_limit`).
const LONGEST_HEAD: usize = 256 << 10;
/// The bytes of a field that the parser decodes, in quadratic time.
const LONGEST_FIELD: usize = 2 << 10;
/// The bytes of a mail with parts. Mail servers take 10 MB (postconf(5), `message_size_limit`).
const LONGEST_WITH_PARTS: usize = 16 << 20;
/// The length of a boundary (RFC 2046, section 5.1.1). The parser compares it at every place of a
/// mail.
const LONGEST_BOUNDARY: usize = 70;

const TYPE: &str = "Content-Type";
/// The fields of a mail's head that are decoded. In a part's head it is the last two.
const DECODED: [&str; 3] = ["Subject", TYPE, "Content-Transfer-Encoding"];

/// Checks that the parser reads `mail` in a time and a memory that are linear in its size.
pub(super) fn check(mail: &[u8]) -> Result<(), String> {
    let head = head(mail);
    if head.len() > LONGEST_HEAD {
        return Err(format!("its head is longer than {}", Size(LONGEST_HEAD as u64)));
    }
    fields(head, &DECODED).try_for_each(short)?;
    if !has_parts(head) {
        return Ok(());
    }
    if mail.len() > LONGEST_WITH_PARTS {
        return Err(format!("it has parts, and is larger than {}", Size(LONGEST_WITH_PARTS as u64)));
    }
    // A part's head may begin after any line.
    fields(mail, &DECODED[1..]).try_for_each(|field| short(field).and_then(|()| short_boundary(field)))
}

/// Returns the text before the first empty line.
fn head(mail: &[u8]) -> &[u8] {
    let lines = mail.split_inclusive(|b| *b == b'\n');
    let length = lines.take_while(|line| !line.starts_with(b"\n") && !line.starts_with(b"\r"));
    mail.get(..length.map(<[u8]>::len).sum()).unwrap_or_default()
}

fn has_parts(head: &[u8]) -> bool {
    let Ok((fields, _)) = parse_headers(head) else { return false };
    let content = fields.get_first_value(TYPE);
    content.is_some_and(|content| parse_content_type(&content).mimetype.starts_with("multipart"))
}

/// Yields the fields in `text` with one of the `names`, with their continuation lines.
fn fields<'a>(text: &'a [u8], names: &[&str]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let line = rest.split_inclusive(|b| *b == b'\n').next()?;
            let (start, name) = (rest, line.split(|b| *b == b':').next().unwrap_or_default());
            rest = rest.get(line.len()..).unwrap_or_default();
            if names.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes())) {
                let more = rest.split_inclusive(|b| *b == b'\n');
                let more: usize =
                    more.take_while(|line| matches!(line.first(), Some(b' ' | b'\t'))).map(<[u8]>::len).sum();
                rest = rest.get(more..).unwrap_or_default();
                return start.get(..line.len() + more);
            }
        }
    })
}

fn short(field: &[u8]) -> Result<(), String> {
    match field.len() > LONGEST_FIELD {
        true => Err(format!("a field of its head is longer than {}", Size(LONGEST_FIELD as u64))),
        false => Ok(()),
    }
}

fn short_boundary(field: &[u8]) -> Result<(), String> {
    let Ok((field, _)) = parse_header(field) else { return Ok(()) };
    let content = parse_content_type(&field.get_value());
    match content.params.get("boundary").is_some_and(|boundary| boundary.len() > LONGEST_BOUNDARY) {
        true => Err(format!("a boundary of its parts is longer than {LONGEST_BOUNDARY} bytes")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    const PARTS: &str = "Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n";

    #[test]
    fn usual_mails_are_read() {
        let recipients = format!("Cc: a@example.org{}\nSubject: x\n\ntext", ",\n a@example.org".repeat(5000));
        let body = format!("Subject: x\n\nSubject: {}\n", "y".repeat(5000));
        let parts = format!("{PARTS}--b\ncontent-type: text/plain\n\nx\n--b--\n");
        for usual in ["", "\n", "no mail", &recipients, &body, &parts, "Subject: x\r\n y\r\n\r\n", "Subject:"]
        {
            assert_eq!(check(usual.as_bytes()), Ok(()), "{usual}");
        }
    }

    #[test]
    fn what_the_parser_takes_long_for_is_refused() {
        let long = "=?UTF-8?B?eA==?= ".repeat(130);
        let boundary = "-".repeat(LONGEST_BOUNDARY + 1);
        for (unusual, why) in [
            (format!("X: {}\n\n", "x".repeat(LONGEST_HEAD)), "its head is longer than 256 KiB"),
            (format!("From: a\nsubject: {long}\n\n"), "a field of its head is longer than 2 KiB"),
            (format!("Subject: x\n{}\n", " y\n".repeat(1000)), "a field of its head is longer than 2 KiB"),
            (format!("{PARTS}--b\nContent-Type:\n\t{long}\n"), "a field of its head is longer than 2 KiB"),
            (
                format!("{PARTS}--b\nContent-Type: multipart/mixed; boundary=\"{boundary}\"\n\n"),
                "a boundary of its parts is longer than 70 bytes",
            ),
            (format!("{PARTS}{}", "x".repeat(LONGEST_WITH_PARTS)), "it has parts, and is larger than 16 MiB"),
        ] {
            assert_eq!(check(unusual.as_bytes()), Err(why.to_owned()));
        }
    }

    #[test]
    fn the_check_is_linear() {
        let began = Instant::now();
        let fields = "Content-Type: text/plain\n\n".repeat(1 << 19);
        for mail in [format!("Subject: x\n{}", " y\n".repeat(1 << 22)), format!("{PARTS}{fields}")] {
            assert_eq!(check(mail.as_bytes()).is_ok(), mail.starts_with(PARTS));
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    }
}
