//! The lines of `[shape]`: what the kernel may choose freely.

use super::{COLUMN, Geometry, LineError};
use crate::steps::{CountLine, MethodLine};
use std::{fmt, str::FromStr};

/// A line of `[shape]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    Geometry(Geometry),
    Method(MethodLine),
    Count(CountLine),
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Geometry(line) => line.fmt(f),
            Shape::Method(line) => line.fmt(f),
            Shape::Count(line) => line.fmt(f),
        }
    }
}

impl FromStr for Shape {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        if CountLine::is_begun(text) {
            return text.parse().map(Shape::Count);
        }
        match text.split(COLUMN).nth(1).is_some_and(|word| word.starts_with("method ")) {
            true => text.parse().map(Shape::Method),
            false => text.parse().map(Shape::Geometry),
        }
    }
}
