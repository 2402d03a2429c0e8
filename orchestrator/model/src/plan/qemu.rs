//! The axis of the emulator: the QEMU of a cell's host.

use super::{Axis, Key, Point};

/// A QEMU that s2lab has by a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum QemuChoice {
    /// The machine's own, or the cache's, or the one that the user brings.
    Default,
    /// The newest that the archive has.
    Newest,
}

impl QemuChoice {
    /// The name of the axis in keys.
    pub const AXIS: &str = "qemu";
    pub const ALL: [Self; 2] = [Self::Default, Self::Newest];

    /// Returns the word on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Newest => "newest",
        }
    }

    /// Returns the value in keys. Cells of the default QEMU have plain keys.
    pub fn value(self) -> Option<&'static str> {
        (self != Self::Default).then(|| self.word())
    }

    /// Returns the QEMU of a word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|choice| choice.word() == word)
    }

    /// Returns the QEMU of a cell, or None if this s2lab does not have the one in its key.
    pub fn of(key: &Key) -> Option<Self> {
        key.axis(Self::AXIS).map_or(Some(Self::Default), |value| {
            Self::ALL.into_iter().find(|choice| choice.value() == Some(value))
        })
    }

    /// Returns the axis for these QEMUs. Without the newest among them it is reached by its key.
    pub fn axis(chosen: &[Self]) -> Axis {
        let is_default = chosen.iter().all(|choice| *choice == Self::Default);
        let point = |choice: Self| {
            let is_chosen = chosen.contains(&choice) || is_default && choice == Self::Default;
            let value = choice.value().map(str::to_owned);
            (is_chosen || is_default).then_some(Point { value, chosen: is_chosen })
        };
        Axis { name: Self::AXIS.into(), points: Self::ALL.into_iter().filter_map(point).collect() }
    }
}
