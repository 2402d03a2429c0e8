//! The accesses of a guest to a BAR, once for each width: the rules of `store` and `load`.

use super::manner::MannerWords;
use super::{Due, Observed, StepAttempt};
use crate::finding::{Finding, Subject, Weight};
use crate::record::At;
use crate::scenario::Size;
use s2lab_protocol::{Bar, By, Manner, MapKind};

/// The most bytes of one STR.
const REGISTER: u32 = 8;

/// A kind of access in words.
#[derive(Debug, Clone, Copy)]
pub struct Words {
    /// `store`, with the plural `stores`.
    pub verb: &'static str,
    /// The preposition of the device.
    pub to: &'static str,
}

/// An access of a guest to a BAR, as the guest's agent reports it.
#[derive(Debug, Clone, Copy)]
pub struct Access<'a> {
    pub words: Words,
    pub guest: &'a str,
    pub device: &'a str,
    pub map: MapKind,
    pub width: u32,
    /// The instructions, if they are not those usual for the width.
    pub by: Option<By>,
    pub manner: Manner,
    pub bytes: u64,
    pub bar: Bar,
    /// The number of executed instructions.
    pub instructions: u64,
}

impl Access<'_> {
    /// Returns true if so many instructions can access so many bytes: a wide access may take
    /// several.
    fn is_possible(&self) -> bool {
        let of = |width: u32| self.bytes / u64::from(width.max(1));
        (of(self.width)..=of(self.width.min(REGISTER))).contains(&self.instructions)
    }
}

/// The accesses of a step.
pub(super) struct Accesses<'a> {
    pub(super) words: Words,
    pub(super) guest: &'a str,
    pub(super) device: &'a str,
    pub(super) map: MapKind,
    pub(super) widths: &'a [u32],
    pub(super) by: Option<By>,
    pub(super) manner: Manner,
    pub(super) bytes: Size,
}

impl Accesses<'_> {
    /// Returns one observation for each width.
    pub(super) fn due<T: Observed>(&self, attempt: &StepAttempt<'_>) -> Vec<Due> {
        let Accesses { words: Words { verb, to }, guest, device, widths, .. } = self;
        let is_of = |of: &At<'_, T>, width| of.data.access().is_some_and(|access| access.width == width);
        let of_width = |width: &u32| Due {
            subject: self.subject(attempt),
            what: format!("step {}, {verb} {width} B by {guest} {to} {device}", attempt.at),
            found: attempt.all::<T>().filter(|of| is_of(of, *width)).count(),
        };
        widths.iter().map(of_width).collect()
    }

    /// Returns a finding for each access that differs from the step, or for which `is_done` is
    /// false.
    pub(super) fn unlike<T: Observed>(
        &self,
        attempt: &StepAttempt<'_>,
        is_done: impl Fn(&T) -> bool,
    ) -> Vec<Finding> {
        let Words { verb, to } = self.words;
        let unlike = |of: At<'_, T>| {
            let access = of.data.access()?;
            let Access { guest, device, width, bytes, instructions, .. } = access;
            let words = MannerWords(access.by, access.manner);
            let found =
                format!("{instructions} {verb}s of {width} B{words}, {bytes} bytes by {guest} {to} {device}");
            let words = MannerWords(self.by, self.manner);
            let expected = format!("{} bytes by {} {to} {}{words}", self.bytes, self.guest, self.device);
            let what = format!("step {}, {verb}", attempt.at);
            let finding = Finding::new(Weight::Lab, self.subject(attempt), what, expected, found);
            (!self.has(&access) || !is_done(of.data)).then_some(finding)
        };
        attempt.all::<T>().filter_map(unlike).collect()
    }

    fn has(&self, access: &Access<'_>) -> bool {
        access.guest == self.guest
            && access.device == self.device
            && access.map == self.map
            && access.by == self.by.filter(|by| *by != By::usual(access.width))
            && access.manner == self.manner
            && access.bytes == self.bytes.0
            && access.is_possible()
    }

    fn subject(&self, attempt: &StepAttempt<'_>) -> Subject {
        attempt.subject().guest(self.guest).region(self.device)
    }
}
