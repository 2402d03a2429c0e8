use super::*;
use crate::builds::config::ConfigFile;
use std::{
    sync::{Mutex, atomic::AtomicBool},
    thread::sleep,
    time::{Duration, Instant},
};

/// A Makefile in place of a kernel's: three objects, the requests that a build makes, and its
/// left-overs.
const MAKEFILE: &str = r#"
IMAGE := $(O)/arch/arm64/boot/Image
allnoconfig:
	@(grep -v CONFIG_GONE $(KCONFIG_ALLCONFIG); echo CONFIG_ARM64=y) > $(O)/.config
olddefconfig:
	@grep -q . $(O)/.config
prepare:
	@mkdir -p $(O)/arch/arm64/boot; test -e $(O)/generated || touch $(O)/generated
Image: $(IMAGE)
$(O)/%.o: %.c $(O)/generated
	@echo '  CC      $*.o'; sh ./$< $@ && cp $< $@
$(IMAGE): $(O)/a.o $(O)/b.o $(O)/c.o
	@echo '  LD      vmlinux'; (cat $^; echo $$KBUILD_BUILD_TIMESTAMP $$KBUILD_BUILD_USER $$KBUILD_BUILD_HOST) > $@
.DELETE_ON_ERROR:
"#;

#[derive(Default)]
struct Watched {
    builds: Mutex<Vec<(u64, u64)>>,
    cancelled: AtomicBool,
    /// A file whose appearance cancels.
    sign: Option<PathBuf>,
}

impl Progress for Watched {
    fn step(&self, _: &str) {}
    fn download(&self, _: &str, _: u64, _: u64) {}
    fn build(&self, _: &str, done: u64, total: u64) {
        self.builds.lock().unwrap().push((done, total));
    }
    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed) || self.sign.as_ref().is_some_and(|sign| sign.exists())
    }
}

struct Fixture {
    dir: tempfile::TempDir,
    tools: KernelTools,
    watched: Watched,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("source")).unwrap();
        let at = Self { dir, tools: KernelTools::of_the_machine(), watched: Watched::default() };
        at.write("Makefile", MAKEFILE);
        ["a.c", "b.c", "c.c"].iter().for_each(|file| at.write(file, "true\n"));
        at
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.source().join(file), text).unwrap();
    }

    fn source(&self) -> PathBuf {
        self.dir.path().join("source")
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    /// Builds, and returns how often objects were built.
    fn build(&self, fragment: &str) -> Result<usize> {
        let (source, out) = (self.source(), self.out());
        let make =
            Make { what: "k", tools: &self.tools, source: &source, out: &out, progress: &self.watched };
        let file = ConfigFile { name: "fragment".to_owned(), text: fragment.to_owned() };
        make.build(&BuildConfig::Fragments(vec![file]))?;
        let log = fs::read_to_string(make.log()).unwrap();
        Ok(log.lines().filter(|line| is_object(line)).count())
    }

    fn image(&self) -> String {
        fs::read_to_string(self.out().join("arch/arm64/boot/Image")).unwrap()
    }
}

#[test]
fn only_what_changed_is_built_and_progress_knows_how_much_that_is() {
    let at = Fixture::new();
    assert_eq!(at.build("CONFIG_X=y\n").unwrap(), 3);
    assert!(at.image().contains("1970-01-01 00:00:00 UTC s2lab s2lab"), "{}", at.image());
    assert_eq!(
        std::mem::take(&mut *at.watched.builds.lock().unwrap()),
        [(0, 3), (1, 3), (2, 3), (3, 3), (0, 0)]
    );
    at.write("b.c", "true # changed\n");
    assert_eq!(at.build("CONFIG_X=y\n").unwrap(), 1);
    assert_eq!(*at.watched.builds.lock().unwrap(), [(0, 1), (1, 1), (0, 0)]);
    assert!(at.image().contains("changed"));
}

#[test]
fn an_option_that_did_not_take_is_named() {
    let error = Fixture::new().build("CONFIG_X=y\nCONFIG_GONE=y\n").unwrap_err();
    assert!(matches!(&error, CacheError::Config { options, .. } if options.len() == 1), "{error}");
    assert!(error.to_string().ends_with("fragment:2: CONFIG_GONE=y, but it is not set"), "{error}");
}

#[test]
fn a_build_that_fails_names_its_log_and_the_next_one_goes_on() {
    let at = Fixture::new();
    at.write("b.c", "echo half > $1; echo 'b.c:1: error: bad' >&2; exit 1\n");
    let error = at.build("CONFIG_X=y\n").unwrap_err();
    let CacheError::Build { log, said, .. } = &error else { panic!("{error}") };
    assert!(said.starts_with("b.c:1: error: bad\n") && said.contains("***"), "{said}");
    assert!(fs::read_to_string(log).unwrap().contains("b.c:1: error: bad"));
    assert!(!at.out().join("b.o").exists());
    let first = fs::metadata(at.out().join("a.o")).and_then(|m| m.modified()).ok();
    at.write("b.c", "true\n");
    at.build("CONFIG_X=y\n").unwrap();
    if let Some(first) = first {
        assert_eq!(fs::metadata(at.out().join("a.o")).unwrap().modified().unwrap(), first);
    }
}

/// On the request to end, make removes half-made objects. Whole ones stay.
#[test]
fn a_cancelled_build_leaves_nothing_half_made_and_nobody_behind() {
    let mut at = Fixture::new();
    let sign = at.dir.path().join("sign");
    at.write("c.c", &format!("echo half > $1; echo $$ > {}; exec sleep 1000\n", sign.display()));
    at.watched.sign = Some(sign.clone());
    let error = at.build("CONFIG_X=y\n").unwrap_err();
    assert!(matches!(error, CacheError::Cancelled), "{error}");
    let pid = fs::read_to_string(&sign).unwrap();
    // It was killed, and ends when the kernel next schedules it.
    let begin = Instant::now();
    loop {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        if stat.is_empty() || stat.contains(") Z ") {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "{stat}");
        sleep(Duration::from_millis(5));
    }
    assert!(!at.out().join("c.o").exists() && !at.out().join(MARK).exists());
    at.watched.sign = None;
    at.write("c.c", "true\n");
    at.build("CONFIG_X=y\n").unwrap();
    assert!(!at.image().contains("half"));
}

/// An object of a build that was killed may look complete without being so.
#[test]
fn what_a_killed_build_left_is_thrown_away() {
    let at = Fixture::new();
    at.build("CONFIG_X=y\n").unwrap();
    fs::write(at.out().join(MARK), "").unwrap();
    fs::write(at.out().join("a.o"), "half").unwrap();
    assert_eq!(at.build("CONFIG_X=y\n").unwrap(), 3);
    assert!(!at.image().contains("half"));
    assert_eq!(fs::read_dir(at.dir.path()).unwrap().count(), 2);
}

#[test]
fn a_path_that_make_would_misread_is_refused() {
    fits(Path::new("/home/me/.cache/s2lab-1+2@x=y~{z}/na\u{ef}ve/build")).unwrap();
    for path in [
        "/c ache",
        "/c\tache",
        "/c:ache",
        "/c$ache",
        "/c#ache",
        "/c%ache",
        "/c'ache",
        "/c\u{a0}ache",
        "/c\nache",
    ] {
        assert!(matches!(fits(Path::new(path)), Err(CacheError::BuildPlace { .. })), "{path:?}");
    }
}
