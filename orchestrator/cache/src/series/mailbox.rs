//! Decoding of a mailbox, as lore, b4 and `git format-patch --stdout` write it, to patches in their
//! order.

use super::{
    LeadMail, MAX_MAILS, Patch, Series, SkippedMail, Unusable, bounds, diff, parts,
    subject::{Subject, printable},
};
use mailparse::{MailHeaderMap, parse_mail};
use std::collections::{BTreeMap, BTreeSet};

/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// The most mails that are attached to one another.
const MAX_DEPTH: usize = 8;
/// The most lines of a mail's head that are read.
const MAX_HEAD: usize = 200;
const COVER: &str = "a cover letter";
const REPLY: &str = "a reply";
const FORWARD: &str = "it has other mails attached, which are read in its place";
const NO_DIFF: &str = "it has no diff";

/// A mail, or a file that is not a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mail {
    pub(super) subject: Subject,
    /// The subject as it is written, in one line; empty for a file that is not a mail.
    written: String,
    /// The same in all copies of a mail, however they came here.
    id: Option<String>,
    /// One for each part that has one.
    diffs: Vec<Vec<u8>>,
    /// True if it ends like a mail of `git format-patch`: then nothing of it is missing.
    is_whole: bool,
    /// True if other mails are attached to it.
    has_attached: bool,
}

/// Returns all mails in `text`. A text that is not a mailbox is one mail, several mails one after
/// the other, or a diff that is called `name`.
///
/// A byte-order mark and empty lines before the first mail are ignored (git 2.47,
/// builtin/mailsplit.c, split_mbox). Other text before the first `From ` line is a mail without
/// one, like for `git mailsplit -b`.
pub(super) fn mails(text: &[u8], name: &str) -> Result<Vec<Mail>, Unusable> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let blank =
        text.split_inclusive(|b| *b == b'\n').take_while(|line| is_blank(line)).map(<[u8]>::len).sum();
    let text = text.get(blank..).unwrap_or_default();
    let (before, raw) = split(text)?;
    let mut mails = if raw.is_empty() { one_by_one(before, name)? } else { vec![] };
    if !raw.is_empty() && !before.iter().all(u8::is_ascii_whitespace) {
        mails.extend(single(before, name).map_err(unreadable(1))?);
    }
    for (mail, number) in raw.iter().zip(mails.len() + 1..) {
        mails.extend(read(mail, 0).map_err(unreadable(number))?);
    }
    if mails.len() > MAX_MAILS { Err(Unusable::TooMany) } else { Ok(mails) }
}

fn unreadable(number: usize) -> impl FnOnce(String) -> Unusable {
    move |why| Unusable::Mail { number, why }
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

/// Returns the text before the first separator, and the mails of an mbox without the separators.
/// The variant is mboxrd: a `From ` in a mail is quoted by `>`, and so is that.
fn split(text: &[u8]) -> Result<(&[u8], Vec<Vec<u8>>), Unusable> {
    let mut mails: Vec<Vec<u8>> = Vec::new();
    let mut before = 0;
    for (at, line) in text.split_inclusive(|b| *b == b'\n').enumerate() {
        // The rest of the line does not matter: the first line of a mailbox is a separator.
        if is_separator(line) || (at == 0 && line.starts_with(b"From ")) {
            if mails.len() == MAX_MAILS {
                return Err(Unusable::TooMany);
            }
            mails.push(Vec::new());
        } else if let Some(mail) = mails.last_mut() {
            let quotes = line.iter().take_while(|b| **b == b'>').count();
            let quoted = quotes > 0 && line[quotes..].starts_with(b"From ");
            mail.extend_from_slice(&line[usize::from(quoted)..]);
        } else {
            before += line.len();
        }
    }
    Ok((text.get(..before).unwrap_or_default(), mails))
}

/// Returns mails that follow each other with only empty lines between, as `cat *.eml` makes them.
/// git would take all of it for one mail, and apply a diff from a reply.
fn one_by_one(text: &[u8], name: &str) -> Result<Vec<Mail>, Unusable> {
    let mut starts = vec![0];
    let (mut at, mut after_blank) = (0, false);
    for line in text.split_inclusive(|b| *b == b'\n') {
        if after_blank && begins_mail(text.get(at..).unwrap_or_default()) {
            if starts.len() == MAX_MAILS {
                return Err(Unusable::TooMany);
            }
            starts.push(at);
        }
        at += line.len();
        after_blank = is_blank(line);
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    let mails = starts.iter().zip(ends).map(|(start, end)| text.get(*start..end).unwrap_or_default());
    let read = mails.zip(1..).map(|(mail, number)| single(mail, name).map_err(unreadable(number)));
    Ok(read.collect::<Result<Vec<_>, _>>()?.concat())
}

/// Returns true if a mail's head begins here. It has an author, a subject, and a field that no head
/// inside of a body has (git takes From, Subject and Date from there; git-am(1), "Discussion").
fn begins_mail(text: &[u8]) -> bool {
    const OF_A_MAIL: [&str; 6] = ["message-id", "to", "cc", "in-reply-to", "references", "mime-version"];
    let fields = first_fields(text);
    let has = |field: &str| fields.contains(field);
    has("from") && has("subject") && OF_A_MAIL.iter().any(|field| has(field))
}

/// Returns the names of the fields with which `text` begins, in lower case.
fn first_fields(text: &[u8]) -> BTreeSet<String> {
    let mut fields = BTreeSet::new();
    for line in text.split(|b| *b == b'\n').take(MAX_HEAD) {
        match line.first() {
            Some(b' ' | b'\t') if !fields.is_empty() => continue,
            Some(first) if first.is_ascii_alphabetic() => {}
            _ => break,
        }
        let Some(colon) = line.iter().position(|b| *b == b':') else { break };
        let name = line.get(..colon).unwrap_or_default();
        if !name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-') {
            break;
        }
        fields.insert(String::from_utf8_lossy(name).to_ascii_lowercase());
    }
    fields
}

/// Returns true for `From WHO Mon Sep 17 00:00:00 2001`. Not every writer quotes a sentence that
/// begins with "From ".
fn is_separator(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(b"From ") else { return false };
    let rest = String::from_utf8_lossy(rest);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let mut after_time = rest.split_ascii_whitespace().skip_while(|word| {
        let parts: Vec<&str> = word.split(':').collect();
        !(matches!(parts.len(), 2 | 3) && parts.into_iter().all(digits))
    });
    after_time.next().is_some() && after_time.any(|word| word.len() == 4 && digits(word))
}

/// Returns the mail in `raw`, which is attached `depth` deep, and after it the mails that are
/// attached to it.
fn read(raw: &[u8], depth: usize) -> Result<Vec<Mail>, String> {
    if depth > MAX_DEPTH {
        return Err(format!("more than {MAX_DEPTH} mails are attached to one another"));
    }
    bounds::check(raw)?;
    let mail = parse_mail(raw).map_err(|e| e.to_string())?;
    let field = |name| mail.headers.get_first_value(name);
    let attached = parts::attached(&mail)?;
    let written = printable(&field("Subject").unwrap_or_default());
    let mut mails = vec![Mail {
        subject: Subject::parse(&written),
        written,
        id: field("Message-Id"),
        diffs: parts::diffs(&mail)?,
        is_whole: is_whole(raw),
        has_attached: !attached.is_empty(),
    }];
    for raw in attached {
        mails.extend(read(&raw, depth + 1)?);
    }
    Ok(mails)
}

/// Returns true if `raw` ends with a version of git below a signature's dashes.
fn is_whole(raw: &[u8]) -> bool {
    let mut words = raw.rsplit(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let is_version = |line: &[u8]| line.contains(&b'.') && line.first().is_some_and(u8::is_ascii_digit);
    words.next().is_some_and(is_version) && words.next() == Some(parts::SIGNATURE.trim_ascii())
}

/// Decodes a file that is one mail, with the mails that are attached to it, or only a diff: with a
/// tool's head, or none.
///
/// # Errors
/// If it has a head with a subject that is not a mail's head.
fn single(text: &[u8], name: &str) -> Result<Vec<Mail>, String> {
    let plain = || Some(parts::diff_of(text)).filter(|diff| !diff.is_empty()).into_iter().collect();
    let no_mail = || {
        let subject = Subject { title: name.to_owned(), ..Subject::default() };
        let (written, is_whole) = (String::new(), is_whole(text));
        vec![Mail { subject, written, id: None, diffs: plain(), is_whole, has_attached: false }]
    };
    match bounds::check(text) {
        Err(why) if first_fields(text).contains("subject") => return Err(why),
        Err(_) => return Ok(no_mail()),
        Ok(()) => {}
    }
    let (Ok(parsed), Ok(mut mails)) = (parse_mail(text), read(text, 0)) else { return Ok(no_mail()) };
    match mails.first_mut() {
        Some(mail) if !mail.subject.title.is_empty() => {
            // A mail's head need not end by an empty line. As long as nothing is encoded, no head
            // is needed.
            if parts::is_plain(&parsed) {
                mail.diffs = plain();
            }
            Ok(mails)
        }
        _ => Ok(no_mail()),
    }
}

/// Returns the patches in the order of the mails, whatever their numbers.
pub(super) fn as_it_is(mails: Vec<Mail>) -> Series {
    let covers = covers(&mails);
    let (patches, skipped) = sift(mails);
    let lead = lead(&covers, &patches);
    Series { lead, patches: patches.into_iter().flat_map(Mail::patches).collect(), skipped }
}

/// Returns the patches by their numbers, if they have numbers.
///
/// # Errors
/// If it is not one whole series.
pub(super) fn whole_series(mails: Vec<Mail>) -> Result<Series, Unusable> {
    let mails = without_copies(mails);
    let covers = covers(&mails);
    let (mut patches, skipped) = sift(mails);
    if let Some(Subject { title, odd_number: Some(number), .. }) =
        patches.iter().map(|mail| &mail.subject).find(|subject| subject.odd_number.is_some())
    {
        return Err(Unusable::Number { number: number.clone(), title: title.clone() });
    }
    let revision = |mail: &Mail| mail.subject.revision.clone().unwrap_or_else(|| "v1".to_owned());
    let revisions: BTreeSet<String> = patches.iter().map(revision).collect();
    if revisions.len() > 1 {
        return Err(Unusable::Revisions(revisions.into_iter().collect()));
    }
    let total = |mail: &Mail| mail.subject.number.map(|(_, total)| total);
    if let Some(pair) = patches.windows(2).find(|pair| total(&pair[0]) != total(&pair[1])) {
        let [one, other] = [&pair[0], &pair[1]].map(|mail| mail.subject.title.clone());
        return Err(Unusable::Mixed { one, other });
    }
    if let Some(total) = patches.first().and_then(total) {
        patches.sort_by_key(|mail| mail.subject.number);
        patches.dedup_by(|copy, mail| {
            copy.subject.number == mail.subject.number && copy.changes() == mail.changes()
        });
        check_numbers(&patches, total)?;
    }
    let lead = lead(&covers, &patches);
    Ok(Series { lead, patches: patches.into_iter().flat_map(Mail::patches).collect(), skipped })
}

/// Returns the cover letters.
fn covers(mails: &[Mail]) -> Vec<Mail> {
    let is_cover = |mail: &&Mail| !mail.subject.reply && matches!(mail.subject.number, Some((0, _)));
    mails.iter().filter(is_cover).cloned().collect()
}

/// Returns the mail that stands for the series of these patches: the cover letter of their
/// revision, else the first patch.
fn lead(covers: &[Mail], patches: &[Mail]) -> Option<LeadMail> {
    let first = patches.first()?;
    let own = |cover: &&Mail| cover.subject.revision == first.subject.revision;
    let mail = covers.iter().find(own).unwrap_or(first);
    let id = mail.id.as_deref().map(|id| printable(id.trim().trim_start_matches('<').trim_end_matches('>')));
    let message_id = id.filter(|id| !id.is_empty());
    (!mail.written.is_empty()).then(|| LeadMail { subject: mail.written.clone(), message_id })
}

/// Checks that each of 1 to `total` exists once, with a diff.
fn check_numbers(sorted: &[Mail], total: usize) -> Result<(), Unusable> {
    let number = |mail: &Mail| mail.subject.number.map_or(0, |(number, _)| number);
    if let Some(pair) = sorted.windows(2).find(|pair| number(&pair[0]) == number(&pair[1])) {
        return Err(Unusable::Twice { number: number(&pair[0]), total });
    }
    if total > MAX_MAILS {
        return Err(Unusable::TooMany);
    }
    let there: BTreeSet<usize> = sorted.iter().map(number).collect();
    let missing: Vec<usize> = (1..=total).filter(|n| !there.contains(n)).collect();
    if !missing.is_empty() {
        return Err(Unusable::Missing { missing, total });
    }
    match sorted.iter().find(|mail| mail.diffs.is_empty()) {
        Some(mail) => {
            let title = mail.subject.title.clone();
            Err(Unusable::NoDiff { number: number(mail), total, title, is_whole: mail.is_whole })
        }
        None => Ok(()),
    }
}

/// Each mail once: one's own copy and the list's, which may have a tag and a footer more, have the
/// same id.
fn without_copies(mails: Vec<Mail>) -> Vec<Mail> {
    let mut once: Vec<Mail> = Vec::with_capacity(mails.len());
    let mut seen: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for mail in mails {
        if let Some(id) = &mail.id {
            let same = seen.entry(id.clone()).or_default();
            if same.iter().filter_map(|at| once.get(*at)).any(|other| other.changes() == mail.changes()) {
                continue;
            }
            same.push(once.len());
        }
        once.push(mail);
    }
    once
}

/// Separates patches from other mails: cover letters, replies, and mails without number or diff.
fn sift(mails: Vec<Mail>) -> (Vec<Mail>, Vec<SkippedMail>) {
    let (mut patches, mut skipped) = (Vec::new(), Vec::new());
    for mail in mails {
        let why = match mail.subject.number {
            _ if mail.has_attached && mail.diffs.is_empty() => FORWARD,
            _ if mail.subject.reply => REPLY,
            Some((0, _)) => COVER,
            None if mail.diffs.is_empty() => NO_DIFF,
            _ => {
                patches.push(mail);
                continue;
            }
        };
        skipped.push(SkippedMail { subject: mail.subject.title, why });
    }
    (patches, skipped)
}

impl Mail {
    /// The changes of its diffs.
    fn changes(&self) -> Vec<&[u8]> {
        self.diffs.iter().map(|diff| diff::changes(diff)).collect()
    }

    fn patches(self) -> impl Iterator<Item = Patch> {
        let total = self.diffs.len();
        self.diffs.into_iter().zip(1..).map(move |(diff, number)| {
            let title = &self.subject.title;
            let title = if total == 1 { title.clone() } else { format!("{title} ({number} of {total})") };
            Patch { title, diff }
        })
    }
}
