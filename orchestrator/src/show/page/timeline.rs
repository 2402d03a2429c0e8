//! The stages of a cell's last attempt on the axis of time.

use super::numbers::scale;
use maud::{Markup, html};
use s2lab_model::{event::Stage, record::StageSpan, summary::CellSummary};

/// The size of the picture, in CSS pixels.
const WIDTH: u64 = 620;
const ROW: u64 = 18;
const NAMES: u64 = 90;
const TIMES: u64 = 90;

/// A stage with its begin and end in milliseconds since the attempt began; without an end it did
/// not come to one.
struct Span {
    stage: Stage,
    from: u64,
    to: Option<u64>,
}

/// Returns the picture, or nothing for a cell without stages.
pub(super) fn timeline(cell: &CellSummary) -> Markup {
    let begin = cell.stages.iter().map(|stage| stage.started_ms).min().unwrap_or_default();
    let span = |stage: &StageSpan| Span {
        stage: stage.stage,
        from: stage.started_ms.saturating_sub(begin),
        to: stage.ended_ms.map(|end| end.saturating_sub(begin)),
    };
    let spans: Vec<_> = cell.stages.iter().map(span).collect();
    let ends = spans.iter().map(|span| span.to.unwrap_or(span.from)).chain(cell.elapsed_ms);
    let total = ends.max().unwrap_or_default();
    html! {
        @if !spans.is_empty() {
            h4 { "Stages" }
            svg width=(WIDTH) viewBox=(format!("0 0 {WIDTH} {}", ROW * spans.len() as u64)) role="img" aria-label=(words(&spans)) {
                @for (span, n) in spans.iter().zip(0..) { (row(span, n * ROW, total)) }
            }
        }
    }
}

fn row(Span { stage, from, to }: &Span, y: u64, total: u64) -> Markup {
    let length = WIDTH - NAMES - TIMES;
    let (x, end) = (scale(*from, total, length), scale(to.unwrap_or(total), total, length));
    let class = if to.is_some() { "bar" } else { "bar bad" };
    html! {
        text x="0" y=(y + 13) { (stage) }
        rect class=(class) x=(NAMES + x) y=(y + 3) width=(end.saturating_sub(x).max(1)) height=(ROW - 6) {}
        text.dim x=(NAMES + end + 6) y=(y + 13) { (time(*from, *to)) }
    }
}

fn time(from: u64, to: Option<u64>) -> String {
    match to {
        Some(to) => seconds(to.saturating_sub(from)),
        None => "did not end".into(),
    }
}

/// Returns a time as `3.2 s`.
pub(super) fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

fn words(spans: &[Span]) -> String {
    let spans = spans.iter().map(|Span { stage, from, to }| format!("{stage} {}", time(*from, *to)));
    format!("stages: {}", spans.collect::<Vec<_>>().join(", "))
}
