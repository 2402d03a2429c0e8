//! The lines of a report, typed. Each kind has `Display` and `FromStr`, which are inverse to each
//! other: what is read prints the same text again. A kind is a file here; the lines of a step are
//! beside the step, in `steps/`.
//!
//! Two spaces separate the columns of a line. Text from outside never contains them, see [`Text`].

mod area;
mod attributes;
mod fact;
mod finding;
mod geometry;
mod isolation;
mod mapping;
mod number;
mod part;
mod promised;
mod question;
mod range;
mod region;
mod shape;
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
pub use mapping::Mapping;
pub use number::Number;
pub use part::{Further, LONGEST_PART, Part};
pub use promised::Promised;
pub use question::Question;
pub use range::{Leaves, Place, Range};
pub use region::Region;
pub use shape::Shape;
pub use table::Table;
pub use text::{Text, Word};
pub use witness::{Testimony, Witness};
pub use words::effective_name;
pub(crate) use words::{equality, is_equal, one_of};

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
pub(crate) fn line<L: Display>(
    text: &str,
    form: &'static str,
    read: impl FnOnce(&str) -> Option<L>,
) -> Result<L, LineError> {
    read(text).filter(|line| line.to_string() == text).ok_or(LineError { form })
}

/// The columns of a line, if there are `N`.
pub(crate) fn columns<const N: usize>(text: &str) -> Option<[&str; N]> {
    text.split(COLUMN).collect::<Vec<_>>().try_into().ok()
}
