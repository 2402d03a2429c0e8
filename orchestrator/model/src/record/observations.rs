//! The observations of an attempt, by step.

use crate::steps::{Observation, Observed};
use std::ops::Deref;

/// An observation, and the step that it is of.
#[derive(Debug, PartialEq, Eq)]
pub struct At<'a, T: ?Sized> {
    pub step: usize,
    pub data: &'a T,
}

impl<T: ?Sized> Clone for At<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for At<'_, T> {}

impl<T: ?Sized> Deref for At<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.data
    }
}

/// Observations with their steps, in the log's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observations(Vec<(usize, Observation)>);

impl Observations {
    pub(super) fn add(&mut self, step: usize, data: Observation) {
        self.0.push((step, data));
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = At<'_, dyn Observed>> {
        self.0.iter().map(|(step, of)| At { step: *step, data: of.data() })
    }

    /// Those of one kind.
    pub fn all<T: Observed>(&self) -> impl Iterator<Item = At<'_, T>> {
        self.0.iter().filter_map(|(step, of)| Some(At { step: *step, data: of.of()? }))
    }

    /// Those of one kind in one step.
    pub fn at<T: Observed>(&self, step: usize) -> impl Iterator<Item = At<'_, T>> {
        self.all().filter(move |of| of.step == step)
    }

    /// Returns true if there is none of this kind.
    pub fn none<T: Observed>(&self) -> bool {
        self.all::<T>().next().is_none()
    }
}
