//! The lines of a report, typed. Each kind is a file with `Display` and `FromStr`, which are
//! inverse to each other: what is read prints the same text again.
//!
//! Two spaces separate the columns of a line. Text from outside never contains them, see [`Text`].

mod area;
mod attributes;
mod fact;
mod finding;
mod geometry;
mod isolation;
mod look;
mod mapping;
mod number;
mod part;
mod probe;
mod promised;
mod range;
mod region;
mod reset;
mod shape;
mod store;
mod table;
#[cfg(test)]
pub(crate) mod tests;
mod text;
mod witness;
mod words;

pub use area::Area;
pub use attributes::Attributes;
pub use fact::{Fact, FactKind};
pub use finding::FindingLine;
pub use geometry::Geometry;
pub use isolation::Isolation;
pub use look::Look;
pub use mapping::Mapping;
pub use number::Number;
pub use part::{Further, LONGEST_PART, Part};
pub use probe::{Ending, Probe};
pub use promised::Promised;
pub use range::{Leaves, Place, Range};
pub use region::Region;
pub use reset::{Method, Reset};
pub use shape::Shape;
pub use store::Store;
pub use table::Table;
pub use text::{Text, Word};
pub use witness::{Testimony, Witness};
pub use words::effective_name;

use std::fmt::Display;

/// Separates the columns of a line.
const COLUMN: &str = "  ";

/// A text that is not a line of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected `{form}`")]
pub struct LineError {
    /// The form of such a line.
    pub form: &'static str,
}

/// Reads a line by `read`, which may be lenient: the result must print `text` again.
fn line<L: Display>(
    text: &str,
    form: &'static str,
    read: impl FnOnce(&str) -> Option<L>,
) -> Result<L, LineError> {
    read(text).filter(|line| line.to_string() == text).ok_or(LineError { form })
}

/// The columns of a line, if there are `N`.
fn columns<const N: usize>(text: &str) -> Option<[&str; N]> {
    text.split(COLUMN).collect::<Vec<_>>().try_into().ok()
}
