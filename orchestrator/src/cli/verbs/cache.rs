//! `s2lab cache`: lists, verifies and cleans the cache.

use crate::boot::kernel::resolved::{KernelRequest, wanted};
use crate::cli::{
    context::Context,
    exit,
    failure::Failure,
    render::complain,
    render::say,
    shared::answers::{AnswerArguments, answer},
};
use crate::show::answer::{self, Answer};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use s2lab_cache::{Cache, CacheError, Item, KernelSource, Quiet};
use s2lab_model::escape::plain;
use s2lab_os::clock;
use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// The exit code if something is damaged or missing.
const NOT_WHOLE: u8 = 3;
const DAY: u64 = 24 * 60 * 60;
/// The days after which `gc` removes what was not used, and the time for a night, which does the
/// same.
const UNUSED_DAYS: u16 = 30;
pub(crate) const UNUSED: Duration = Duration::from_secs(UNUSED_DAYS as u64 * DAY);
/// The digits of a digest that distinguish objects of one name.
const DIGITS: usize = 12;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: CacheVerb,
}

#[derive(Debug, Subcommand)]
enum CacheVerb {
    /// List objects: kind, name, size, last use, digest, and what uses them
    List(AnswerArguments),
    /// Print the folder of an object, of several the one used last; exit 3 if there is none
    Path {
        /// A kind (`qemu`), an object's name, or a kernel of images/kernels.yaml
        #[arg(value_name = "KIND|NAME|KERNEL")]
        what: String,
        #[command(flatten)]
        form: AnswerArguments,
    },
    /// Read everything and hold it against its digest; exit 3 if something is damaged
    Verify(AnswerArguments),
    /// Remove what was not used for long, folders of builds too; what a living s2lab uses stays
    Gc {
        /// Not used for so many days
        #[arg(long, value_name = "DAYS", default_value_t = UNUSED_DAYS)]
        unused: u16,
        /// Say what would go, and remove nothing
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        form: AnswerArguments,
    },
    /// Forget which versions of packages were taken: the next run takes the newest
    Refresh(AnswerArguments),
}

pub(crate) fn cache(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let cache = Cache::open(&context.places()?.cache, true, Arc::new(Quiet))?;
    match &arguments.verb {
        CacheVerb::List(form) => list(context, &cache, form.is_json()),
        CacheVerb::Path { what, form } => path(context, &cache, what, form.is_json()),
        CacheVerb::Verify(form) => verify(&cache, form.is_json()),
        CacheVerb::Gc { unused, dry_run, form } => {
            gc(&cache, Duration::from_secs(u64::from(*unused) * DAY), *dry_run, form.is_json())
        }
        CacheVerb::Refresh(form) => {
            cache.forget()?;
            if form.is_json() {
                answer(&Answer::CacheRefresh {})?;
            }
            Ok(exit::FINE)
        }
    }
}

/// Returns the folder of a kernel of the lab, if it is in the cache.
fn folder(cache: &Cache, wanted: &KernelRequest) -> Result<Option<PathBuf>, CacheError> {
    match wanted {
        KernelRequest::Archive(debian) => cache.kernel_folder(debian),
        KernelRequest::Built(build) => match cache.built_folder(build) {
            // The source it would be built from is not known, so it is not built.
            Err(CacheError::Offline { .. }) => Ok(None),
            found => found,
        },
        KernelRequest::File(_) | KernelRequest::Fetched(_) => Ok(None),
    }
}

/// Returns the folders of the lab's kernels that are in the cache, with the kernels' names. Without
/// a lab there are none.
fn kernels(context: &Context, cache: &Cache) -> Result<BTreeMap<PathBuf, Vec<String>>, Failure> {
    let mut folders = BTreeMap::<_, Vec<_>>::new();
    let Ok(lab) = context.lab() else { return Ok(folders) };
    let kernels = lab.kernels()?;
    for name in kernels.names() {
        let found = wanted(&kernels, name, &lab.images()).and_then(|wanted| match &wanted {
            // A tree has to be read to be identified.
            KernelRequest::Built(build) if !matches!(build.source, KernelSource::Package(_)) => Ok(None),
            wanted => folder(cache, wanted),
        });
        match found {
            Ok(folder) => {
                folder.into_iter().for_each(|folder| folders.entry(folder).or_default().push(name.to_owned()))
            }
            Err(CacheError::NotBuilt { .. }) => {}
            Err(error) => complain(&format!("warning: whether {name} is there is not known: {error}")),
        }
    }
    Ok(folders)
}

fn list(context: &Context, cache: &Cache, json: bool) -> Result<u8, Failure> {
    let mut items = cache.items()?;
    items.extend(cache.builds()?);
    if json {
        answer(&Answer::CacheList { items: items.iter().map(entry).collect() })?;
        return Ok(exit::FINE);
    }
    let kernels = kernels(context, cache).unwrap_or_else(|failure| {
        complain(&format!("warning: which kernels use what is not known: {failure}"));
        BTreeMap::new()
    });
    let objects: Vec<_> = items.iter().filter(|item| item.is_object()).collect();
    let width = |text: fn(&Item) -> &str| objects.iter().map(|item| text(item).chars().count()).max();
    let (kind, name) = (width(|item| &item.kind).unwrap_or(0), width(|item| &item.name).unwrap_or(0));
    for item in &objects {
        let processes = item.users.iter().map(|pid| format!("process {pid}"));
        let damaged = (!item.is_readable()).then(|| "damaged".to_owned());
        let kernels = kernels.get(&item.path).into_iter().flatten().cloned();
        let users: Vec<_> = damaged.into_iter().chain(kernels).chain(processes).collect();
        let line = format!(
            "{:kind$}  {:name$}  {:>10}  {:>13}  {}  {}",
            item.kind,
            item.name,
            Bytes(item.size).to_string(),
            ago(item.used),
            item.digest.get(..DIGITS).unwrap_or(&item.digest),
            users.join(", ")
        );
        say(plain(&line).trim_end())?;
    }
    say(&sums(items.iter()))?;
    Ok(exit::FINE)
}

fn path(context: &Context, cache: &Cache, what: &str, json: bool) -> Result<u8, Failure> {
    let items = cache.items()?;
    let latest = |of: fn(&Item) -> &str| items.iter().filter(|item| of(item) == what).max_by_key(|i| i.used);
    let found = match latest(|item| &item.kind).filter(|item| item.is_object()) {
        Some(item) => Some(item.path.clone()),
        None => match kernel(context, cache, what)? {
            Some(folder) => Some(folder),
            None => latest(|item| &item.name).map(|item| item.path.clone()),
        },
    };
    let Some(path) = found else {
        let message = format!("the cache has no `{what}`");
        let hint = Some("`s2lab cache list` prints its content; a run fetches what it needs".into());
        let failure = Box::new(Failure::Usage { message, hint });
        return Err(Failure::Coded { failure, exit: NOT_WHOLE });
    };
    let path = path.display().to_string();
    match json {
        true => answer(&Answer::CachePath { path })?,
        false => say(&path)?,
    }
    Ok(exit::FINE)
}

/// Returns the folder of the lab's kernel of that name.
fn kernel(context: &Context, cache: &Cache, name: &str) -> Result<Option<PathBuf>, Failure> {
    let Ok(lab) = context.lab() else { return Ok(None) };
    let kernels = lab.kernels()?;
    match kernels.entry(name).is_some() {
        true => Ok(folder(cache, &wanted(&kernels, name, &lab.images())?)?),
        false => Ok(None),
    }
}

fn verify(cache: &Cache, json: bool) -> Result<u8, Failure> {
    let items = cache.items()?;
    let (mut damaged, mut verified) = (0, vec![]);
    for item in &items {
        let damages = match item.damages(&|| false) {
            // A run at work may have made it again, and a collection may have removed it.
            _ if !item.path.exists() => continue,
            damages => damages?,
        };
        let damages: Vec<_> = damages.iter().map(ToString::to_string).collect();
        damaged += usize::from(!damages.is_empty());
        if json {
            verified.push(answer::Item { damages: Some(damages), ..entry(item) });
        } else {
            for damage in damages {
                say(&plain(&format!("damaged  {}: {damage}", item.path.display())))?;
            }
        }
    }
    if json {
        answer(&Answer::CacheVerify { items: verified })?;
    } else {
        let sums = sums(items.iter());
        say(&match damaged {
            0 => format!("{sums}: all are whole"),
            _ => format!("{sums}: {damaged} damaged; the run that needs one makes it anew"),
        })?;
    }
    Ok(if damaged > 0 { NOT_WHOLE } else { 0 })
}

fn gc(cache: &Cache, unused: Duration, dry: bool, json: bool) -> Result<u8, Failure> {
    let removed = cache.collect(unused, dry)?;
    if json {
        let entries = |items: &[Item]| items.iter().map(entry).collect();
        let (gone, kept) = (entries(&removed.items), entries(&removed.kept));
        answer(&Answer::CacheGc { dry_run: dry, removed: gone, kept })?;
        return Ok(exit::FINE);
    }
    for item in &removed.items {
        say(&plain(&format!("{}  {}", item.path.display(), Bytes(item.size))))?;
    }
    for item in &removed.kept {
        complain(&format!("stays, for it is used: {}", item.path.display()));
    }
    say(&format!("{} {}", sums(removed.items.iter()), if dry { "would go" } else { "removed" }))?;
    Ok(exit::FINE)
}

/// Returns `3 entries (7.1 MiB), 1 package (2.0 MiB), 2 build folders (1.5 GiB)`; the last only if
/// there are any.
fn sums<'a>(items: impl Iterator<Item = &'a Item>) -> String {
    let (objects, others): (Vec<_>, Vec<_>) = items.partition(|item| item.is_object());
    let (packages, builds): (Vec<_>, Vec<_>) = others.into_iter().partition(|item| item.is_package());
    let sum = |one: &str, many: &str, items: &[&Item]| {
        let size = items.iter().map(|item| item.size).fold(0, u64::saturating_add);
        format!("{} {} ({})", items.len(), if items.len() == 1 { one } else { many }, Bytes(size))
    };
    let kept = [sum("object", "objects", &objects), sum("package", "packages", &packages)];
    let builds = (!builds.is_empty()).then(|| sum("build folder", "build folders", &builds));
    kept.into_iter().chain(builds).collect::<Vec<_>>().join(", ")
}

/// Returns an object or package for programs.
fn entry(item: &Item) -> answer::Item {
    answer::Item {
        kind: item.kind.clone(),
        name: item.name.clone(),
        digest: item.digest.clone(),
        path: item.path.display().to_string(),
        bytes: item.size,
        made: time(item.made),
        used: time(item.used),
        processes: item.users.clone(),
        damages: None,
    }
}

/// Returns the time by RFC 3339, in seconds, or nothing for a time beyond the calendar.
fn time(at: SystemTime) -> String {
    let at = Timestamp::try_from(at).ok();
    at.and_then(|at| Timestamp::from_second(at.as_second()).ok()).map(|at| at.to_string()).unwrap_or_default()
}

fn ago(used: SystemTime) -> String {
    match clock::now().duration_since(used).unwrap_or_default().as_secs() / DAY {
        0 => "today".to_owned(),
        1 => "yesterday".to_owned(),
        days => format!("{days} days ago"),
    }
}

/// A size as people read it.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u32, &str); 3] = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        match UNITS.into_iter().find(|(bits, _)| self.0 >> bits > 0) {
            // Tenths, rounded without floating point.
            Some((bits, unit)) => {
                let tenths = ((self.0 >> (bits - 10)).saturating_mul(10) + (1 << 9)) >> 10;
                write!(f, "{}.{} {unit}", tenths / 10, tenths % 10)
            }
            None => write!(f, "{} B", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_short() {
        let shown = |bytes| Bytes(bytes).to_string();
        assert_eq!(
            [0, 1023, 1024, 1_670_000, 5 << 30, u64::MAX].map(shown),
            ["0 B", "1023 B", "1.0 KiB", "1.6 MiB", "5.0 GiB", "17179869184.0 GiB"]
        );
        let days = |days| ago(clock::now() - Duration::from_secs(days * DAY + 60));
        assert_eq!([0, 1, 40].map(days), ["today", "yesterday", "40 days ago"]);
        assert_eq!(ago(clock::now() + Duration::from_secs(DAY)), "today");
        assert_eq!(time(SystemTime::UNIX_EPOCH), "1970-01-01T00:00:00Z");
    }
}
