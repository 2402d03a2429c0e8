//! Measures with all their samples, the median and its interval.

use maud::{Markup, html};
use s2lab_model::{
    escape,
    lines::{Number, Word},
    measures::{Boot, Measure},
    report::Report,
    statistics::{CONFIDENCE, Summary, median_interval, summary},
    summary::CellSummary,
};

/// The size of a strip with samples, in CSS pixels.
const WIDTH: u64 = 240;
const HEIGHT: u64 = 16;
/// The most samples of one boot that are listed.
const MOST_SAMPLES: usize = 100;
/// The most boots of measures.
const MOST_BOOTS: usize = 24;

/// Returns the measures of a cell boot by boot, with what the accepted report says of each.
pub(super) fn numbers(cell: &CellSummary) -> Markup {
    let boots =
        || cell.measures.iter().flat_map(|measure| measure.boots.iter().map(move |boot| (measure, boot)));
    let more = boots().count().saturating_sub(MOST_BOOTS);
    html! {
        @if !cell.measures.is_empty() {
            h4 { "Numbers" }
            p.dim { (worth(cell.report.as_ref())) }
            div.wide { table {
                thead { tr {
                    th scope="col" { "step" } th scope="col" { "measure" } th scope="col" { "boot" }
                    th scope="col" { "ns" } th scope="col" { "median" }
                    @if cell.accepted.is_some() { th scope="col" { "accepted" } }
                } }
                @for (measure, boot) in boots().take(MOST_BOOTS) { (row(measure, boot, cell.accepted.as_ref())) }
            } }
            @if more > 0 { p { (more) " more boots" } }
        }
    }
}

/// The worth of the numbers, as the report says it.
fn worth(report: Option<&Report>) -> String {
    let head = report.and_then(|report| report.numbers.lines.first());
    head.filter(|line| matches!(line, Number::Head { .. })).map(ToString::to_string).unwrap_or_default()
}

fn row(measure: &Measure, Boot { number, samples }: &Boot, accepted: Option<&Report>) -> Markup {
    let known = samples.iter().take(MOST_SAMPLES).map(u64::to_string).collect::<Vec<_>>().join(" ");
    let more = samples.len().saturating_sub(MOST_SAMPLES);
    let of = summary(samples);
    html! {
        tr {
            td { (measure.step) }
            td { (escape::line(&measure.name)) }
            td { (number) }
            td {
                @if let Some(of) = of.filter(|of| of.n > 1) { (strip(samples, of)) }
                span.mono { (known) @if more > 0 { " and " (more) " more" } }
            }
            td { @if let Some(Summary { n, median, .. }) = of { (median_of(n, median, median_interval(samples))) } }
            @if let Some(report) = accepted {
                td { @if let Some((Summary { n, median, .. }, interval)) = accepted_samples(report, measure, *number) {
                    (median_of(n, median, interval))
                } }
            }
        }
    }
}

fn median_of(n: usize, median: u64, interval: Option<(u64, u64)>) -> Markup {
    let samples = if n == 1 { "1 sample".into() } else { format!("{n} samples") };
    let interval = match interval {
        Some((low, high)) => format!("{low} to {high} ({:.0} % confidence)", CONFIDENCE * 100.0),
        None => format!("{samples}, too few for an interval"),
    };
    html! { (median) br; span.dim { (interval) } }
}

/// Returns what a report says of a measure in one boot, with the interval of the median.
fn accepted_samples(report: &Report, of: &Measure, of_boot: usize) -> Option<(Summary, Option<(u64, u64)>)> {
    report.numbers.lines.iter().find_map(|line| match line {
        Number::Measure { step, name, boot, samples, interval }
            if (*step, name, *boot) == (of.step, &Word::new(&of.name), of_boot) =>
        {
            Some((*samples, *interval))
        }
        _ => None,
    })
}

/// The samples as dots between 0 and the largest, the interval as a band, the median as a line.
fn strip(samples: &[u64], Summary { n, median, max, .. }: Summary) -> Markup {
    let at = |nanos: u64| 4 + scale(nanos, max, WIDTH - 8);
    html! {
        svg width=(WIDTH) height=(HEIGHT) role="img" aria-label=(format!("{n} samples from 0 to {max} ns")) {
            @if let Some((from, to)) = median_interval(samples) {
                rect.band x=(at(from)) y="2" width=((at(to) - at(from)).max(1)) height=(HEIGHT - 4) {}
            }
            @for sample in samples.iter().take(MOST_SAMPLES) {
                circle.dot cx=(at(*sample)) cy=(HEIGHT / 2) r="3" {}
            }
            path.median d=(format!("M{} 0v{HEIGHT}", at(median))) {}
        }
    }
}

/// Returns `value` of `of` on an axis of `length` pixels.
pub(super) fn scale(value: u64, of: u64, length: u64) -> u64 {
    let at = u128::from(value.min(of)) * u128::from(length) / u128::from(of.max(1));
    u64::try_from(at).unwrap_or(length)
}
