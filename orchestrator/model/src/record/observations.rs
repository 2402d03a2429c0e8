//! The observations of an attempt, by step.

use crate::event::{Observation, Observed};
use std::ops::Deref;

/// An observation, and the step that it is of.
#[derive(Debug, PartialEq, Eq)]
pub struct At<'a, T> {
    pub step: usize,
    pub data: &'a T,
}

impl<T> Clone for At<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for At<'_, T> {}

impl<T> Deref for At<'_, T> {
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

    /// Those of one kind.
    pub fn all<T: Observed>(&self) -> impl Iterator<Item = At<'_, T>> {
        self.0.iter().filter_map(|(step, data)| Some(At { step: *step, data: T::of(data)? }))
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
