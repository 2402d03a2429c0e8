//! A guest's physical address space as a picture: boxes coloured by memory type, with text at each.

use super::palette;
use super::space::{Block, Mapped, Space};
use maud::{Markup, html};
use s2lab_model::{lines::Word, report::Report};

/// The width of a picture that stands alone, and of one of two, in CSS pixels.
const WIDTH: u64 = 620;
const HALF: u64 = 440;
/// The sizes of what is in a picture.
const GAP: u64 = 22;
const TOP: u64 = 18;
const BOX: u64 = 34;
const HEIGHT: u64 = TOP + BOX + 16;
/// The narrowest block that is seen.
const NARROWEST: u64 = 3;
/// The narrowest box that has room for its type in it.
const ROOM_FOR_TYPE: u64 = 100;
/// The most regions and blocks of a picture.
const MOST_REGIONS: usize = 6;
const MOST_BLOCKS: usize = 24;
/// The most marks between the leaves of a block.
const MOST_MARKS: u64 = 16;

/// Returns the pictures of a report; before it those of `old` that differ. `sides` are the names of
/// both.
pub(super) fn pictures(old: Option<&Report>, new: Option<&Report>, sides: [&str; 2]) -> Markup {
    let (old, new) = (old.map(Space::all), new.map(Space::all).unwrap_or_default());
    let Some(old) = old else {
        return html! { @for space in &new { (alone(space, None)) } };
    };
    let gone = old.iter().filter(|old| !new.iter().any(|new| new.is_of(old)));
    html! {
        @for space in &new {
            @match old.iter().find(|old| old.is_of(space)) {
                Some(before) if before.is_alike(space) => (alone(space, Some(sides[0]))),
                before => (beside(before, Some(space), sides)),
            }
        }
        @for space in gone { (beside(Some(space), None, sides)) }
    }
}

/// A space that has no other to compare with, or is as on the side `like`.
fn alone(space: &Space, like: Option<&str>) -> Markup {
    html! {
        figure {
            figcaption { (caption(space)) @if let Some(like) = like { ", the same in " (like) } }
            (drawn(space, None, WIDTH))
        }
    }
}

/// Both sides, before beside after.
fn beside(old: Option<&Space>, new: Option<&Space>, sides: [&str; 2]) -> Markup {
    html! {
        figure.pair {
            @for (space, other, side) in [(old, new, sides[0]), (new, old, sides[1])] {
                div {
                    p.side { strong { (side) } }
                    @match space {
                        Some(space) => {
                            figcaption { (caption(space)) }
                            (drawn(space, other, HALF))
                        }
                        None => p { "this look is not there" },
                    }
                }
            }
        }
    }
}

fn caption(space: &Space) -> Markup {
    let looks = space.looks.iter().map(Word::to_string).collect::<Vec<_>>().join(", ");
    let look = if space.looks.len() == 1 { "look" } else { "looks" };
    html! { "Guest " (space.guest) " at " (look) " " (looks) }
}

/// A picture, and under it a line for each of its blocks. Those that `other` does not have are
/// marked.
fn drawn(space: &Space, other: Option<&Space>, width: u64) -> Markup {
    let regions = &space.regions[..space.regions.len().min(MOST_REGIONS)];
    let left = space.regions.len() - regions.len();
    html! {
        @if regions.is_empty() { p { "nothing mapped" } } @else { (boxes(regions, space, width)) }
        ul.blocks {
            @for region in regions {
                @for block in region.blocks.iter().take(MOST_BLOCKS) {
                    li { (row(region, block, other)) }
                }
                @if region.blocks.len() > MOST_BLOCKS {
                    li { (region.name) ": " (region.blocks.len() - MOST_BLOCKS) " more ranges" }
                }
            }
            @if left > 0 { li { (left) " more regions" } }
            @if space.left_out > 0 { li { "the report leaves out " (space.left_out) " more ranges" } }
        }
    }
}

fn row(region: &Mapped, block: &Block, other: Option<&Space>) -> Markup {
    let has = |other: &Space| {
        let of_name = other.regions.iter().filter(|known| known.name == region.name);
        of_name.flat_map(|known| &known.blocks).any(|known| match block.ipa {
            Some(_) => known == block,
            None => known.of == block.of,
        })
    };
    let text = html! { strong { (region.name) } " " (block.line) };
    html! {
        (sample(&block.of)) " "
        @if other.is_some_and(|other| !has(other)) { mark { "differs: " (text) } } @else { (text) }
    }
}

/// A small box in the colour of a type, which stands before its name.
pub(super) fn sample(of: &str) -> Markup {
    html! {
        svg.sample width="12" height="12" aria-hidden="true" {
            rect.(palette::of_type(of).class) width="12" height="12" {}
        }
    }
}

fn boxes(regions: &[Mapped], space: &Space, all: u64) -> Markup {
    let count = regions.len() as u64;
    let width = (all - GAP * (count - 1)) / count;
    let alt = regions.iter().map(|region| {
        let types: Vec<_> = region.blocks.iter().take(MOST_BLOCKS).map(|block| block.of.as_str()).collect();
        format!("{} {}", region.name, types.join(", "))
    });
    let alt = format!("address space of guest {}: {}", space.guest, alt.collect::<Vec<_>>().join("; "));
    html! {
        svg.space viewBox=(format!("0 0 {all} {HEIGHT}")) role="img" aria-label=(alt) {
            @for (region, n) in regions.iter().zip(0..) {
                (boxed(region, n * (width + GAP), width))
                @if n > 0 {
                    text.dim x=(n * (width + GAP) - GAP / 2) y=(TOP + BOX / 2 + 4) text-anchor="middle" { "…" }
                }
            }
        }
    }
}

fn boxed(region: &Mapped, x: u64, width: u64) -> Markup {
    let start = region.ipa.map_or_else(|| "at an unknown place".into(), |(start, _)| format!("{start:#x}"));
    html! {
        text x=(x) y=(TOP - 6) { (region.name) }
        rect.hollow x=(x) y=(TOP) width=(width) height=(BOX) {}
        @for (block, n) in region.blocks.iter().take(MOST_BLOCKS).zip(0..) {
            @let (from, wide) = extent(region, block, n, width);
            (filled(block, x + from, wide))
        }
        text.dim x=(x) y=(TOP + BOX + 13) { (start) }
    }
}

/// Returns the first pixel of a block in its region, and its pixels. Blocks without a place of their
/// own share the region.
fn extent(region: &Mapped, block: &Block, n: u64, width: u64) -> (u64, u64) {
    match (region.ipa, block.ipa) {
        (Some((start, end)), Some((from, to))) => {
            let scale = |at: u64| {
                let at = u128::from(at.saturating_sub(start)) * u128::from(width);
                u64::try_from(at / u128::from(end.saturating_sub(start).max(1))).unwrap_or(width).min(width)
            };
            let wide = (scale(to) - scale(from).min(scale(to))).max(NARROWEST);
            (scale(from).min(width - NARROWEST), wide.min(width - scale(from).min(width - NARROWEST)))
        }
        _ => {
            let all = region.blocks.len().min(MOST_BLOCKS) as u64;
            (n * width / all, (width / all).max(1))
        }
    }
}

/// A block, with marks between its leaves if there are several.
fn filled(block: &Block, x: u64, width: u64) -> Markup {
    let class = palette::of_type(&block.of).class;
    let marks = block.count.min(MOST_MARKS);
    let path: String = (1..marks).map(|n| format!("M{} {TOP}v8", x + n * width / marks)).collect();
    html! {
        rect.(class) x=(x) y=(TOP) width=(width) height=(BOX) {}
        @if marks > 1 { path.(class) d=(path) {} }
        @if width >= ROOM_FOR_TYPE {
            text.(class) x=(x + width / 2) y=(TOP + BOX / 2 + 6) text-anchor="middle" { (block.of) }
        }
    }
}
