//! The ranges of two tables, cut into the same intervals.

use crate::lines::Range;

/// The first byte of a range and the first one behind it.
pub(super) type Span = (u64, u64);

/// An interval within which neither side changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interval<'a> {
    pub(super) span: Span,
    pub(super) old: Option<&'a Range>,
    pub(super) new: Option<&'a Range>,
}

/// Cuts the ranges of both sides. Returns None if those of a side overlap or are not in order,
/// which s2lab does not write.
pub(super) fn intervals<'a>(
    old: &[(Span, &'a Range)],
    new: &[(Span, &'a Range)],
) -> Option<Vec<Interval<'a>>> {
    if !is_ordered(old) || !is_ordered(new) {
        return None;
    }
    let all = old.iter().chain(new).flat_map(|((from, to), _)| [*from, *to]);
    let mut cuts: Vec<u64> = all.collect();
    cuts.sort_unstable();
    cuts.dedup();
    let (mut old, mut new) = (Cursor(old), Cursor(new));
    let interval = |cut: &[u64]| {
        let span = (*cut.first()?, *cut.get(1)?);
        let (old, new) = (old.at(span.0), new.at(span.0));
        (old.is_some() || new.is_some()).then_some(Interval { span, old, new })
    };
    Some(cuts.windows(2).filter_map(interval).collect())
}

fn is_ordered(ranges: &[(Span, &Range)]) -> bool {
    let is_span = ranges.iter().all(|((from, to), _)| from < to);
    is_span && ranges.windows(2).all(|pair| pair[0].0.1 <= pair[1].0.0)
}

/// The ranges that do not end before the last asked place.
struct Cursor<'s, 'a>(&'s [(Span, &'a Range)]);

impl<'a> Cursor<'_, 'a> {
    /// Returns the range at `place`, which is not before the last one.
    fn at(&mut self, place: u64) -> Option<&'a Range> {
        while let [((_, to), _), rest @ ..] = self.0
            && *to <= place
        {
            self.0 = rest;
        }
        self.0.first().filter(|((from, _), _)| *from <= place).map(|(_, range)| *range)
    }
}

/// Merges spans that touch.
pub(super) fn merged(spans: &[Span]) -> Vec<Span> {
    let mut out: Vec<Span> = vec![];
    for (from, to) in spans {
        match out.last_mut() {
            Some((_, end)) if end == from => *end = *to,
            _ => out.push((*from, *to)),
        }
    }
    out
}
