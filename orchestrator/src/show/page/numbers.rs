//! Numbers with all their samples, the median and its interval.

use maud::{Markup, html};
use s2lab_model::{
    escape,
    lines::Number,
    report::Report,
    statistics::{CONFIDENCE, Summary, median_interval, summary},
    summary::CellSummary,
    throughput::Throughput,
};

/// The size of a strip with samples, in CSS pixels.
const WIDTH: u64 = 240;
const HEIGHT: u64 = 16;
/// The most samples of one kind that are listed.
const MOST_SAMPLES: usize = 100;
/// The most kinds of stores.
const MOST_KINDS: usize = 24;

/// Returns the throughputs of a cell, with what the accepted report says of each.
pub(super) fn numbers(cell: &CellSummary) -> Markup {
    let shown = cell.throughputs.iter().take(MOST_KINDS);
    let more = cell.throughputs.len().saturating_sub(MOST_KINDS);
    html! {
        @if !cell.throughputs.is_empty() {
            h4 { "Numbers" }
            p.dim { (worth(cell.report.as_ref())) }
            div.wide { table {
                thead { tr {
                    th scope="col" { "step" } th scope="col" { "store" } th scope="col" { "MB/s" }
                    th scope="col" { "median" }
                    @if cell.accepted.is_some() { th scope="col" { "accepted" } }
                } }
                @for one in shown { (row(one, cell.accepted.as_ref())) }
            } }
            @if more > 0 { p { (more) " more kinds of stores" } }
        }
    }
}

/// The worth of the numbers, as the report says it.
fn worth(report: Option<&Report>) -> String {
    let head = report.and_then(|report| report.numbers.lines.first());
    head.filter(|line| matches!(line, Number::Head { .. })).map(ToString::to_string).unwrap_or_default()
}

fn row(one: &Throughput, accepted: Option<&Report>) -> Markup {
    let Throughput { step, guest, device, map, width, samples } = one;
    let known = samples.iter().take(MOST_SAMPLES).map(u64::to_string).collect::<Vec<_>>().join(" ");
    let more = samples.len().saturating_sub(MOST_SAMPLES);
    let of = summary(samples);
    html! {
        tr {
            td { (step) }
            td { (escape::line(guest)) " " (escape::line(device)) " " (map) " " (width) " B" }
            td {
                @match of {
                    None => "no sample: no measurable time",
                    Some(Summary { n: 1, .. }) => {}
                    Some(of) => (strip(samples, of)),
                }
                span.mono { (known) @if more > 0 { " and " (more) " more" } }
            }
            td { @if let Some(of) = of { (of.median) br; span.dim { (interval(samples)) } } }
            @if let Some(report) = accepted {
                td { @if let Some(Summary { n, median, min, max }) = accepted_samples(report, one) {
                    (median) br; span.dim { (min) " to " (max) ", " (count(n)) }
                } }
            }
        }
    }
}

fn count(n: usize) -> String {
    if n == 1 { "1 sample".into() } else { format!("{n} samples") }
}

fn interval(samples: &[u64]) -> String {
    match median_interval(samples) {
        Some((from, to)) => format!("{from} to {to} ({:.0} % confidence)", CONFIDENCE * 100.0),
        None => format!("{}, too few for an interval", count(samples.len())),
    }
}

fn accepted_samples(report: &Report, one: &Throughput) -> Option<Summary> {
    report.numbers.lines.iter().find_map(|line| match line {
        Number::Store { step, guest, device, map, width, samples }
            if (*step, &**guest, &**device) == (one.step, &*one.guest, &*one.device)
                && (*map, *width) == (one.map, one.width) =>
        {
            Some(*samples)
        }
        _ => None,
    })
}

/// The samples as dots between 0 and the largest, the interval as a band, the median as a line.
fn strip(samples: &[u64], Summary { n, median, max, .. }: Summary) -> Markup {
    let at = |rate: u64| 4 + scale(rate, max, WIDTH - 8);
    html! {
        svg width=(WIDTH) height=(HEIGHT) role="img" aria-label=(format!("{n} samples from 0 to {max} MB/s")) {
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
