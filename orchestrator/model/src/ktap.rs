//! Results of tests in a program's output: KTAP version 1 (Linux 6.12
//! Documentation/dev-tools/ktap.rst) and TAP, from which it comes.
//!
//! The output is any text. Lines that are none of KTAP's are left out, as the format says.

/// The most tests of one output, and the most levels of subtests.
const MOST_TESTS: usize = 1000;
const MOST_LEVELS: usize = 16;
/// The longest name of a test, in characters; the rest is cut off.
const MOST_NAME: usize = 200;
/// Separates the names of a test and of its subtest.
const IN: char = '/';

/// The results in an output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ktap {
    /// The tests in the order of their lines; subtests come before the test that they are of.
    pub tests: Vec<Test>,
    /// The contradictions in the results, such as missing ones.
    pub troubles: Vec<Trouble>,
    /// The reason of a plan without tests: `1..0 # SKIP REASON`.
    pub skipped: Option<String>,
}

/// A test with a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Test {
    /// The names of the tests that it is in, and its own, or its number if it has none.
    pub name: String,
    pub result: TestResult,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestResult {
    Ok,
    NotOk,
    /// It was not run: `# SKIP`.
    Skip,
    /// `not ok` that its author expects: `# TODO`, `# XFAIL`.
    Todo,
}

/// A contradiction in the results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub expected: String,
    pub found: String,
}

impl Ktap {
    /// Returns the results in `output`.
    pub fn parse(output: &str) -> Ktap {
        let mut reader = Reader::default();
        for line in output.lines() {
            reader.line(line);
        }
        reader.finish()
    }

    /// Returns the reason if no test was run: all are skipped.
    pub fn skips(&self) -> Option<&str> {
        let all = !self.tests.is_empty() && self.tests.iter().all(|test| test.result == TestResult::Skip);
        match &self.skipped {
            Some(reason) if self.tests.is_empty() => Some(reason),
            _ => all.then_some("all of its tests"),
        }
    }
}

/// A line of KTAP, without its indent.
enum Entry<'a> {
    Version,
    Plan { tests: usize, skipped: Option<&'a str> },
    Result { number: Option<usize>, name: &'a str, result: TestResult },
    BailOut,
}

fn entry(line: &str) -> Option<Entry<'_>> {
    if ["KTAP version ", "TAP version "].iter().any(|version| line.starts_with(version)) {
        return Some(Entry::Version);
    }
    if line.starts_with("Bail out!") {
        return Some(Entry::BailOut);
    }
    if let Some(plan) = line.strip_prefix("1..") {
        let (tests, rest) = number(plan)?;
        let skipped = directive(rest).and_then(|(_, word, reason)| (word == "SKIP").then_some(reason));
        return Some(Entry::Plan { tests, skipped });
    }
    let (good, rest) = match line.strip_prefix("not ok") {
        Some(rest) => (false, rest),
        None => (true, line.strip_prefix("ok")?),
    };
    if !rest.is_empty() && !rest.starts_with(' ') {
        return None;
    }
    let rest = rest.trim_start();
    let (number, rest) = number(rest).map_or((None, rest), |(number, rest)| (Some(number), rest));
    let (name, word) = directive(rest).map_or((rest, ""), |(name, word, _)| (name, word));
    let name = name.trim().trim_start_matches("- ").trim();
    let result = match (word, good) {
        ("SKIP", _) => TestResult::Skip,
        ("TODO" | "XFAIL", false) => TestResult::Todo,
        (_, true) => TestResult::Ok,
        (_, false) => TestResult::NotOk,
    };
    Some(Entry::Result { number, name, result })
}

/// Returns the number at the begin of a text, and what follows: nothing, or a space and more.
fn number(text: &str) -> Option<(usize, &str)> {
    let (digits, rest) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    (rest.is_empty() || rest.starts_with(' ')).then_some(())?;
    Some((digits.parse().ok()?, rest))
}

/// Returns what is before a directive, the directive, and its reason.
fn directive(text: &str) -> Option<(&str, &str, &str)> {
    const WORDS: [&str; 5] = ["SKIP", "TODO", "XFAIL", "TIMEOUT", "ERROR"];
    text.match_indices('#').find_map(|(at, _)| {
        let (before, after) = (text.get(..at)?, text.get(at + 1..)?.trim_start());
        let word = WORDS.into_iter().find(|word| after.starts_with(word))?;
        let reason = after.get(word.len()..)?;
        let whole = reason.is_empty() || reason.starts_with([' ', ':']);
        whole.then(|| (before, word, reason.trim_start_matches([' ', ':', '-']).trim()))
    })
}

/// The tests of one indent.
#[derive(Default)]
struct Level {
    indent: usize,
    plan: Option<usize>,
    /// The number of results.
    results: usize,
    /// The place in the list of tests of the first that belongs to the next result.
    begin: usize,
}

#[derive(Default)]
struct Reader {
    ktap: Ktap,
    levels: Vec<Level>,
    /// The number of tests that are left out.
    more: usize,
}

impl Reader {
    fn line(&mut self, line: &str) {
        let text = line.trim_start_matches(' ');
        let indent = line.len() - text.len();
        let text = text.trim_end();
        match entry(text) {
            Some(Entry::Result { number: None, .. }) | None if self.levels.is_empty() => {}
            None => {}
            Some(Entry::BailOut) => self.trouble("all tests", text),
            Some(Entry::Version) => {
                self.close_above(indent);
                // The next document of this indent.
                if self.levels.last().is_some_and(|level| level.indent == indent) {
                    self.close();
                }
                self.open(indent);
            }
            Some(Entry::Plan { tests, skipped }) => {
                self.close_above(indent);
                self.open(indent);
                if let Some(level) = self.levels.last_mut() {
                    level.plan = Some(tests);
                }
                if let Some(reason) = skipped.filter(|_| tests == 0) {
                    self.ktap.skipped = Some(reason.to_owned());
                }
            }
            Some(Entry::Result { number, name, result }) => self.result(indent, number, name, result),
        }
    }

    fn result(&mut self, indent: usize, number: Option<usize>, name: &str, result: TestResult) {
        let subtests = self.subtests_above(indent);
        self.open(indent);
        let Some(level) = self.levels.last_mut() else { return };
        level.results += 1;
        let due = level.results;
        let begin = subtests.unwrap_or(self.ktap.tests.len());
        let name = match (name.is_empty(), number) {
            (true, number) => number.unwrap_or(due).to_string(),
            (false, _) => name.chars().take(MOST_NAME).collect(),
        };
        for subtest in self.ktap.tests.iter_mut().skip(begin) {
            subtest.name = format!("{name}{IN}{}", subtest.name);
        }
        if let Some(number) = number.filter(|number| *number != due) {
            self.trouble(format!("test number {due}"), format!("{number}, {name}"));
        }
        match self.ktap.tests.len() < MOST_TESTS {
            true => self.ktap.tests.push(Test { name, result }),
            false => self.more += 1,
        }
    }

    /// Closes the levels of a larger indent. Returns the place of their first test, if there are
    /// such levels.
    fn subtests_above(&mut self, indent: usize) -> Option<usize> {
        let mut begin = None;
        while self.levels.last().is_some_and(|level| level.indent > indent) {
            begin = self.close();
        }
        begin
    }

    /// Closes levels of a larger indent to which no result belongs.
    fn close_above(&mut self, indent: usize) {
        if self.subtests_above(indent).is_some() {
            self.trouble("the result of the test of these subtests", "none");
        }
    }

    /// Opens a level of this indent, unless there is one.
    fn open(&mut self, indent: usize) {
        if self.levels.last().is_some_and(|level| level.indent == indent) {
            return;
        }
        if self.levels.len() == MOST_LEVELS {
            self.trouble(format!("at most {MOST_LEVELS} levels of subtests"), "more");
            self.close();
        }
        self.levels.push(Level { indent, begin: self.ktap.tests.len(), ..Level::default() });
    }

    /// Closes the innermost level. Returns the place of its first test.
    fn close(&mut self) -> Option<usize> {
        let Level { plan, results, begin, .. } = self.levels.pop()?;
        if let Some(plan) = plan.filter(|plan| *plan != results) {
            self.trouble(format!("{plan} results, as planned"), results.to_string());
        }
        Some(begin)
    }

    fn finish(mut self) -> Ktap {
        if let Some(outermost) = self.levels.first().map(|level| level.indent) {
            self.close_above(outermost);
        }
        self.close();
        if self.more > 0 {
            self.trouble(format!("at most {MOST_TESTS} tests"), format!("{} more", self.more));
        }
        self.ktap
    }

    fn trouble(&mut self, expected: impl Into<String>, found: impl Into<String>) {
        if self.ktap.troubles.len() < MOST_TESTS {
            self.ktap.troubles.push(Trouble { expected: expected.into(), found: found.into() });
        }
    }
}

#[cfg(test)]
mod tests;
