//! The lines of `[shape]`: what the kernel may choose freely.

use super::{COLUMN, Geometry, LineError};
use crate::steps::MethodLine;
use std::{fmt, str::FromStr};

/// A line of `[shape]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    Geometry(Geometry),
    Method(MethodLine),
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Geometry(line) => line.fmt(f),
            Shape::Method(line) => line.fmt(f),
        }
    }
}

impl FromStr for Shape {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        match text.split(COLUMN).nth(1).is_some_and(|word| word.starts_with("method ")) {
            true => text.parse().map(Shape::Method),
            false => text.parse().map(Shape::Geometry),
        }
    }
}
