//! Progress on stderr: bars and a spinner on a terminal, few lines elsewhere.

use super::boots;
use crate::run::signals::Interruption;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use s2lab_model::{
    event::{Event, Line, Plan, Stage},
    plan::Key,
};
use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

/// The form of the progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// No output.
    Quiet,
    /// A line for each step.
    Lines,
    /// Bars that disappear.
    Bars,
}

/// Shows progress. There is one for the whole process.
pub struct Display {
    mode: Mode,
    bars: MultiProgress,
    shown: Mutex<BTreeMap<String, ProgressBar>>,
    /// The cells at work: in which stage, since when.
    at_work: Mutex<BTreeMap<Key, (Stage, Instant)>>,
    interruption: Interruption,
    /// The boots of a comparison.
    boots: Mutex<Option<Boots>>,
    /// The first error of stdout.
    failed: OnceLock<io::Error>,
}

impl Display {
    pub fn new(mode: Mode, interruption: Interruption) -> Self {
        let target =
            if mode == Mode::Bars { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self::on(target, mode, interruption)
    }

    fn on(target: ProgressDrawTarget, mode: Mode, interruption: Interruption) -> Self {
        let bars = MultiProgress::with_draw_target(target);
        Self {
            mode,
            bars,
            shown: Mutex::default(),
            at_work: Mutex::default(),
            interruption,
            boots: Mutex::default(),
            failed: OnceLock::new(),
        }
    }

    /// Prints a line on stdout, above the bars. A reader that ends early is no error: the run
    /// continues for its log.
    pub fn print(&self, text: &str) {
        let written = self.bars.suspend(|| writeln!(io::stdout(), "{text}"));
        if let Some(error) = written.err().filter(|error| error.kind() != io::ErrorKind::BrokenPipe) {
            // The first error is the one to report.
            let _ = self.failed.set(error);
        }
    }

    /// Prints a line on stderr, above the bars.
    pub fn note(&self, line: &str) {
        if self.mode != Mode::Quiet {
            self.bars.suspend(|| complain(line));
        }
    }

    /// Returns the error if a line could not be printed.
    pub fn printed(&self) -> io::Result<()> {
        match self.failed.get() {
            Some(error) => Err(io::Error::new(error.kind(), error.to_string())),
            None => Ok(()),
        }
    }

    /// Follows the event log.
    pub fn event(&self, line: &Line) {
        if let Event::Plan(Plan { compare: Some(compare), .. }) = &line.event {
            *self.boots() = Some(Boots { all: compare.all_boots(), done: 0, began: None });
        }
        let Some(key) = &line.cell else { return };
        match &line.event {
            Event::CellStarted { session: Some(_), .. } => {
                if let Some(Boots { began: began @ None, .. }) = &mut *self.boots() {
                    *began = Some(Instant::now());
                }
            }
            Event::StageStarted { stage } => {
                self.spin(key.as_str(), &format!("{key}  {stage}"));
                self.stage_started(key, *stage);
            }
            Event::StageEnded { stage } => self.stage_ended(key, *stage),
            Event::CellEnded { .. } => {
                self.end(key.as_str());
                self.at_work().remove(key);
                self.boot_ended();
            }
            _ => {}
        }
    }

    fn boots(&self) -> MutexGuard<'_, Option<Boots>> {
        self.boots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows how far a comparison is.
    fn boot_ended(&self) {
        // A cell that ends without a host has not booted.
        let Some(Boots { all, done, began: Some(began) }) = &mut *self.boots() else { return };
        *done += 1;
        let text = boots::line(*done, *all, began.elapsed());
        match self.mode {
            Mode::Quiet => {}
            Mode::Lines => complain(&text),
            Mode::Bars => {
                let bar = self.bar(COMPARISON, Some(u64::from(*all)), "{msg} {wide_bar}");
                bar.set_message(text);
                bar.set_position(u64::from(*done));
            }
        }
    }

    fn at_work(&self) -> MutexGuard<'_, BTreeMap<Key, (Stage, Instant)>> {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stage_started(&self, key: &Key, stage: Stage) {
        let begins = self.at_work().insert(key.clone(), (stage, Instant::now())).is_none();
        if begins && self.mode == Mode::Lines {
            complain(&format!("{key}  begins"));
        }
    }

    fn stage_ended(&self, key: &Key, stage: Stage) {
        let since = self.at_work().get(key).filter(|(known, _)| *known == stage).map(|(_, since)| *since);
        if let Some(since) = since {
            tracing::info!("{key}  {stage} took {:.1} s", since.elapsed().as_secs_f64());
        }
    }

    /// Prints a line for each cell at work, where there are no bars: a run must not look dead.
    pub fn sign_of_life(&self) {
        if self.mode == Mode::Lines {
            self.lines_at_work().iter().for_each(|line| complain(line));
        }
    }

    fn lines_at_work(&self) -> Vec<String> {
        let line = |(key, (stage, since)): (&Key, &(Stage, Instant))| {
            format!("{key}  {stage}, for {} s", since.elapsed().as_secs())
        };
        self.at_work().iter().map(line).collect()
    }

    fn spin(&self, id: &str, text: &str) {
        if self.mode != Mode::Bars {
            return;
        }
        let bar = self.bar(id, None, "{spinner} {msg}  {elapsed}");
        bar.set_message(text.to_owned());
        bar.enable_steady_tick(TICK);
    }

    /// Returns the bar of this id. A new one draws nothing before it is one of `bars`: its drawing
    /// would stay on the terminal.
    fn bar(&self, id: &str, length: Option<u64>, template: &str) -> ProgressBar {
        let make = || {
            let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::hidden());
            self.bars.add(bar.with_style(style(template)))
        };
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.entry(id.to_owned()).or_insert_with(make).clone()
    }

    fn end(&self, id: &str) {
        let bar = self.shown.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        if let Some(bar) = bar {
            self.clear(&bar);
        }
    }

    fn clear(&self, bar: &ProgressBar) {
        bar.finish_and_clear();
        self.bars.remove(bar);
    }

    /// Removes all bars from the terminal.
    pub fn clear_all(&self) {
        let shown = std::mem::take(&mut *self.shown.lock().unwrap_or_else(PoisonError::into_inner));
        shown.values().for_each(|bar| self.clear(bar));
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.clear_all();
    }
}

/// The boots of a comparison.
struct Boots {
    all: u32,
    done: u32,
    /// When the first one began.
    began: Option<Instant>,
}

/// The id of the bar of a comparison.
const COMPARISON: &str = "comparison";

/// The time between two pictures of a spinner.
const TICK: Duration = Duration::from_millis(120);

/// The id of the line with the cache's step.
const CACHE: &str = "cache";

impl s2lab_cache::Progress for Display {
    fn step(&self, what: &str) {
        match self.mode {
            Mode::Quiet => {}
            Mode::Lines => complain(what),
            Mode::Bars => self.spin(CACHE, what),
        }
    }

    fn download(&self, what: &str, done: u64, total: u64) {
        if self.mode == Mode::Lines && [0, total].contains(&done) {
            let what_now = if done == total { "downloaded" } else { "downloading" };
            complain(&format!("{what_now} {what}, {} MB", total / 1_000_000));
        }
        if self.mode == Mode::Bars {
            let template = "{msg} {wide_bar} {decimal_bytes}/{decimal_total_bytes} {eta}";
            let bar = self.bar(what, Some(total), template);
            bar.set_message(what.to_owned());
            bar.set_length(total);
            bar.set_position(done);
            if done == total {
                self.end(what);
            }
        }
    }

    fn build(&self, what: &str, done: u64, total: u64) {
        if self.mode == Mode::Bars {
            let id = format!("build {what}");
            if total == 0 {
                return self.end(&id);
            }
            let bar = self.bar(&id, Some(total), "{msg} {wide_bar} {pos}/{len} objects {eta}");
            bar.set_message(what.to_owned());
            bar.set_length(total);
            bar.set_position(done);
        } else if self.mode == Mode::Lines && passes_a_quarter(done, total) {
            complain(&format!("{what}: {done} of {total} objects"));
        }
    }

    fn idle(&self) {
        self.end(CACHE);
    }

    fn cancelled(&self) -> bool {
        self.interruption.signal().is_some()
    }
}

/// Returns true if the last of `done` objects completed another quarter of `total`.
fn passes_a_quarter(done: u64, total: u64) -> bool {
    total > 0 && done > 0 && done * 4 / total != (done - 1) * 4 / total
}

/// Prints a line on stderr. A failed write is ignored.
fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn style(template: &str) -> ProgressStyle {
    // The templates above are constants; if one is wrong, a plain bar is no reason to stop.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::InMemoryTerm;
    use s2lab_cache::Progress;
    use s2lab_model::event::CellEnd;

    fn line(event: Event) -> Line {
        Line::new(0, 0, None, Some(&"idle@debian-6.1".parse().unwrap()), event)
    }

    /// Waits until a terminal of 80 columns shows `text`: a spinner draws itself at its next tick.
    fn shows(terminal: &InMemoryTerm, text: &str) {
        let begin = Instant::now();
        while !terminal.contents().contains(text) {
            assert!(begin.elapsed() < Duration::from_secs(10), "{text} is not in {:?}", terminal.contents());
            std::thread::sleep(TICK);
        }
    }

    #[test]
    fn cells_at_work_have_a_line() {
        let display = Display::on(ProgressDrawTarget::hidden(), Mode::Lines, Interruption::never());
        assert_eq!(display.lines_at_work(), Vec::<String>::new());
        display.event(&line(Event::StageStarted { stage: Stage::HostBoot }));
        display.event(&line(Event::StageEnded { stage: Stage::HostBoot }));
        display.event(&line(Event::StageStarted { stage: Stage::Bind }));
        assert_eq!(display.lines_at_work(), ["idle@debian-6.1  bind, for 0 s"]);
        display.event(&line(Event::CellEnded { end: CellEnd::Complete }));
        assert_eq!(display.lines_at_work(), Vec::<String>::new());
    }

    #[test]
    fn nothing_stays_on_the_terminal() {
        let terminal = InMemoryTerm::new(24, 80);
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        let display = Display::on(target, Mode::Bars, Interruption::never());
        display.step("unpacking QEMU");
        display.download("linux-image", 1, 4);
        shows(&terminal, "unpacking QEMU");
        display.clear_all();
        assert_eq!(terminal.contents(), "");
        display.event(&line(Event::StageStarted { stage: Stage::HostBoot }));
        shows(&terminal, "idle@debian-6.1  host-boot");
        display.event(&line(Event::CellEnded { end: CellEnd::Complete }));
        assert_eq!(terminal.contents(), "");
        // It was interrupted: the cell does not end.
        display.event(&line(Event::StageStarted { stage: Stage::HostBoot }));
        drop(display);
        assert_eq!(terminal.contents(), "");
    }
}
