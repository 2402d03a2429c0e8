//! Keys: the names of cells, in the log, in file names and on the command line.

use super::is_own_axis;
use s2lab_protocol::is_word;
use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Between a scenario and its kernel.
const AT: char = '@';
/// Before each axis.
const AXIS: char = '+';
/// Between an axis and its value.
const IS: char = '=';
/// The axis of a negative control, and its value.
pub(super) const CONTROL: (&str, &str) = ("control", "inverted");
/// The axis of the second cell of a comparison of a kernel with itself, and its value.
const SECOND: (&str, &str) = ("compare", "second");
/// Longest key, bytes: with an ending it is the name of a file, which has 255 bytes at most.
const LONGEST: usize = 240;
/// The extension of a report's file.
const REPORT: &str = ".txt";

/// The name of a cell: `SCENARIO@KERNEL[+axis=value...]`, axes sorted by name. It is safe in a
/// shell, in a file's name and in a segment of a URL's path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(Arc<str>);

/// Why a text is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the key of a cell: {why}")]
pub struct KeyError {
    text: String,
    why: &'static str,
}

impl Key {
    /// The key of a scenario on a kernel, at one point of its axes.
    ///
    /// # Errors
    /// If a name does not fit into a key, or an axis is there twice.
    pub fn of<'a>(
        scenario: &str,
        kernel: &str,
        axes: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Key, KeyError> {
        let mut axes: Vec<_> = axes.into_iter().collect();
        axes.sort_unstable();
        let axes: String = axes.iter().map(|(name, value)| format!("{AXIS}{name}{IS}{value}")).collect();
        format!("{scenario}{AT}{kernel}{axes}").parse()
    }

    /// The key whose report lies in `folder` as `file`; none if that is no name of a report.
    pub fn of_report(folder: &str, file: &str) -> Option<Key> {
        format!("{folder}{AT}{}", file.strip_suffix(REPORT)?).parse().ok()
    }

    /// Returns the path of the cell's report below `reports`:
    /// `SCENARIO/KERNEL[+axis=value...].txt`.
    pub fn report_path(&self) -> String {
        let (scenario, rest) = self.halves();
        format!("{scenario}/{rest}{REPORT}")
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn scenario(&self) -> &str {
        self.halves().0
    }

    pub fn kernel(&self) -> &str {
        let (_, rest) = self.halves();
        rest.split_once(AXIS).map_or(rest, |(kernel, _)| kernel)
    }

    /// Returns the key without its axes: `SCENARIO@KERNEL`.
    pub fn plain(&self) -> &str {
        self.0.split_once(AXIS).map_or(&self.0, |(plain, _)| plain)
    }

    /// Returns the point of the scenario's own axes, without kernel: `SCENARIO[+axis=value...]`.
    pub fn point(&self) -> String {
        let own = self.axes().filter(|(name, _)| !is_own_axis(name));
        let axes: String = own.map(|(name, value)| format!("{AXIS}{name}{IS}{value}")).collect();
        format!("{}{axes}", self.scenario())
    }

    /// Returns the value of an axis.
    pub fn axis(&self, name: &str) -> Option<&str> {
        self.axes().find(|(axis, _)| *axis == name).map(|(_, value)| value)
    }

    /// Names and values of the axes, by name.
    pub fn axes(&self) -> impl Iterator<Item = (&str, &str)> {
        let (_, rest) = self.halves();
        rest.split(AXIS).skip(1).filter_map(|axis| axis.split_once(IS))
    }

    /// Returns true for the key of a negative control.
    pub fn is_control(&self) -> bool {
        self.axes().any(|axis| axis == CONTROL)
    }

    /// Returns the key of the negative control of this cell.
    ///
    /// # Errors
    /// If the key would be too long, or is one of a control.
    pub fn control(&self) -> Result<Key, KeyError> {
        Key::of(self.scenario(), self.kernel(), self.axes().chain([CONTROL]))
    }

    /// Returns the key of the cell of which this is the negative control, or None if it is none.
    pub fn controlled(&self) -> Option<Key> {
        let others = self.axes().filter(|axis| *axis != CONTROL);
        self.is_control().then(|| Key::of(self.scenario(), self.kernel(), others).ok()).flatten()
    }

    /// Returns the key of the second cell, if a comparison is one of a kernel with itself.
    ///
    /// # Errors
    /// If the key would be too long, or is one of a second cell.
    pub fn second(&self) -> Result<Key, KeyError> {
        Key::of(self.scenario(), self.kernel(), self.axes().chain([SECOND]))
    }

    fn halves(&self) -> (&str, &str) {
        self.0.split_once(AT).unwrap_or_default()
    }
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Key, KeyError> {
        match check(text) {
            Ok(()) => Ok(Key(text.into())),
            Err(why) => Err(KeyError { text: text.chars().take(LONGEST).collect(), why }),
        }
    }
}

fn check(text: &str) -> Result<(), &'static str> {
    if text.len() > LONGEST {
        return Err("it has more than 240 bytes");
    }
    let (scenario, rest) = text.split_once(AT).ok_or("it has no `@`")?;
    let mut parts = rest.split(AXIS);
    let kernel = parts.next().unwrap_or_default();
    if !is_word(scenario, "-") {
        return Err("a scenario's name has a-z, 0-9 and `-`, and begins with a letter or digit");
    }
    if !is_word(kernel, "-.~") {
        return Err("a kernel's name has a-z, 0-9, `-`, `.` and `~`, and begins with a letter or digit");
    }
    let mut last = "";
    for axis in parts {
        let (name, value) = axis.split_once(IS).ok_or("an axis is written `+NAME=VALUE`")?;
        if !is_axis_name(name) || !is_axis_value(value) {
            return Err("an axis has a name like a scenario's, and its value letters, digits, `-` and `.`");
        }
        if name <= last {
            return Err("axes are sorted by name, and each is there once");
        }
        last = name;
    }
    Ok(())
}

/// Returns true for the name of an axis.
pub fn is_axis_name(text: &str) -> bool {
    is_word(text, "-")
}

/// Returns true for the value of an axis.
pub fn is_axis_value(text: &str) -> bool {
    is_word(&text.to_ascii_lowercase(), "-.")
}

impl TryFrom<String> for Key {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Key, KeyError> {
        text.parse()
    }
}

impl From<Key> for String {
    fn from(key: Key) -> String {
        key.0.as_ref().to_owned()
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Key {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl PartialEq<&str> for Key {
    fn eq(&self, other: &&str) -> bool {
        &*self.0 == *other
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_parts_of_a_key() {
        let key: Key = "vfio-pci-bar@linux-6.1~wc+cpu=neoverse-v1+page=16K".parse().unwrap();
        assert_eq!((key.scenario(), key.kernel()), ("vfio-pci-bar", "linux-6.1~wc"));
        assert_eq!(key.axes().collect::<Vec<_>>(), [("cpu", "neoverse-v1"), ("page", "16K")]);
        assert_eq!((key.axis("page"), key.axis("pag")), (Some("16K"), None));
        assert_eq!(key.plain(), "vfio-pci-bar@linux-6.1~wc");
        assert_eq!(key.report_path(), "vfio-pci-bar/linux-6.1~wc+cpu=neoverse-v1+page=16K.txt");
        assert_eq!(key.point(), "vfio-pci-bar+cpu=neoverse-v1+page=16K");
        let plain = Key::of("a", "6.1", []).unwrap();
        assert_eq!((plain.as_str(), plain.plain(), plain.axes().count()), ("a@6.1", "a@6.1", 0));
        let own: Key = "a@k+control=inverted+fwb=yes+qemu=newest".parse().unwrap();
        assert_eq!((own.point(), plain.point()), ("a+fwb=yes".to_owned(), "a".to_owned()));
    }

    #[test]
    fn what_is_no_key() {
        let long = format!("a@{}", "k".repeat(LONGEST));
        for text in [
            "",
            "a",
            "@",
            "a@",
            "@k",
            "../a@k",
            "a@../k",
            "a/b@k",
            "a@/k",
            "a@k\n",
            ".@k",
            "a@.k",
            "-a@k",
            "a@-k",
            "a@k@k",
            "A@k",
            "a@K",
            "a b@k",
            "a@k+",
            "a@k+x",
            "a@k+x=",
            "a@k+=1",
            "a@k+x=1=2",
            "a@k+x=/",
            "a@k+x=..",
            "a@k+X=1",
            "a@k+y=1+x=1",
            "a@k+x=1+x=1",
            "a@k+x=1+x=2",
            "a@k+x=1\u{301}",
            "a.b@k",
            "a~b@k",
            &long,
        ] {
            assert!(text.parse::<Key>().is_err(), "{text}");
        }
        assert!(Key::of("a", "k", [("x", "1"), ("x", "2")]).is_err());
        assert_eq!(
            "../a@k".parse::<Key>().unwrap_err().to_string(),
            "\"../a@k\" is not the key of a cell: a scenario's name has a-z, 0-9 and `-`, and begins with a letter or digit"
        );
    }

    #[test]
    fn a_report_that_is_none_has_no_key() {
        for (folder, file) in [("a", "k"), ("a", ".txt"), ("a", ".k.txt"), ("A", "k.txt"), ("a@b", "k.txt")] {
            assert_eq!(Key::of_report(folder, file), None, "{folder}/{file}");
        }
    }

    fn parts() -> impl Strategy<Value = (String, String, std::collections::BTreeMap<String, String>)> {
        let axes =
            proptest::collection::btree_map("[a-z0-9][a-z0-9-]{0,8}", "[A-Za-z0-9][A-Za-z0-9.-]{0,8}", 0..4);
        ("[a-z0-9][a-z0-9-]{0,40}", "[a-z0-9][a-z0-9.~-]{0,82}", axes)
    }

    proptest! {
        #[test]
        fn a_key_reads_back_with_its_parts((scenario, kernel, axes) in parts()) {
            let pairs = || axes.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let key = Key::of(&scenario, &kernel, pairs().rev()).unwrap();
            prop_assert_eq!((key.scenario(), key.kernel()), (scenario.as_str(), kernel.as_str()));
            prop_assert!(key.axes().eq(pairs()));
            prop_assert_eq!(key.to_string().parse(), Ok(key.clone()));
            let json = serde_json::to_string(&key).unwrap();
            prop_assert_eq!(serde_json::from_str::<Key>(&json).unwrap(), key.clone());
            let path = key.report_path();
            let (folder, file) = path.split_once('/').unwrap();
            prop_assert_eq!(Key::of_report(folder, file), Some(key));
        }

        /// Whatever text is a key, is what its parts make, and names one file in one folder.
        #[test]
        fn hostile_text_is_no_key_or_a_safe_one(text in "[a-zA-Z0-9@+=~./ \\\\\n\u{0}é-]{0,24}") {
            if let Ok(key) = text.parse::<Key>() {
                prop_assert_eq!(Key::of(key.scenario(), key.kernel(), key.axes()), Ok(key.clone()));
                let path = key.report_path();
                prop_assert!(path.split('/').count() == 2 && path.split('/').all(|part| !part.starts_with('.')));
                prop_assert!(path.chars().all(|c| c.is_ascii_alphanumeric() || "-._~+=/".contains(c)));
            }
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<Key>();
        }
    }
}
