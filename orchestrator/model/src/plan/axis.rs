//! Axes: the conditions of a cell besides scenario and kernel. Each point of an axis has a value in
//! the cell's key, or none.

use super::QemuChoice;
use super::key::CONTROL;

/// An axis of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Axis {
    /// The name in keys, like that of a scenario.
    pub name: String,
    /// The points, in the order of their cells.
    pub points: Vec<Point>,
}

/// A point of an axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// The value in keys: letters, digits, `-` and `.`. None: the keys of this point do not have the
    /// axis.
    pub value: Option<String>,
    /// True if a selector without axes takes the point. Other points are reached by their keys.
    pub chosen: bool,
}

/// One point of each axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Combination<'a> {
    /// Names and values for a key.
    pub(crate) values: Vec<(&'a str, &'a str)>,
    /// True if all points are chosen.
    pub(crate) chosen: bool,
}

/// Returns all combinations of the axes' points. The points of the last axis follow each other.
pub(crate) fn combinations(axes: &[Axis]) -> Vec<Combination<'_>> {
    let none = vec![Combination { values: vec![], chosen: true }];
    axes.iter().fold(none, |all, axis| all.iter().flat_map(|before| with(before, axis)).collect())
}

/// Returns true for an axis that every scenario has. No axis of a scenario is called so.
pub fn is_own_axis(name: &str) -> bool {
    [QemuChoice::AXIS, CONTROL.0].contains(&name)
}

/// Returns a combination with each point of one more axis.
fn with<'a>(before: &Combination<'a>, axis: &'a Axis) -> Vec<Combination<'a>> {
    let with = |Point { value, chosen }: &'a Point| {
        let value = value.as_deref().map(|value| (axis.name.as_str(), value));
        let values = before.values.iter().copied().chain(value).collect();
        Combination { values, chosen: before.chosen && *chosen }
    };
    axis.points.iter().map(with).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(name: &str, points: &[(Option<&str>, bool)]) -> Axis {
        let point = |(value, chosen): &(Option<&str>, bool)| Point {
            value: value.map(str::to_owned),
            chosen: *chosen,
        };
        Axis { name: name.into(), points: points.iter().map(point).collect() }
    }

    #[test]
    fn each_point_of_an_axis_meets_each_of_the_others() {
        let axes = [
            axis("qemu", &[(None, true), (Some("newest"), false)]),
            axis("page", &[(Some("4K"), true), (Some("16K"), true)]),
        ];
        let all = combinations(&axes);
        let shown = all.iter().map(|one| (one.values.clone(), one.chosen)).collect::<Vec<_>>();
        assert_eq!(
            shown,
            [
                (vec![("page", "4K")], true),
                (vec![("page", "16K")], true),
                (vec![("qemu", "newest"), ("page", "4K")], false),
                (vec![("qemu", "newest"), ("page", "16K")], false),
            ]
        );
        assert_eq!(combinations(&[]), [Combination { values: vec![], chosen: true }]);
        assert_eq!(combinations(&[axis("none", &[])]), []);
    }
}
