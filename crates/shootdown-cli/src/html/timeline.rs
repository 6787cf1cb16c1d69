//! When each CPU flushed and asked others to: predictions above an axis, the record below it.

use std::fmt::Write as _;

use maud::{Markup, PreEscaped, html};
use shootdown_replay::{Compared, CpuTimeline, Placement, Report, Timeline};

use crate::rows::{is_like_for_like, thousands};

/// CPUs that have a row of their own, those with the most; the others share one.
const MAX_ROWS: usize = 8;

// In units of the picture, which is as wide as the page.
const WIDTH: f64 = 960.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 16.0;
const ROW: f64 = 52.0;
const BAR: f64 = 22.0;
const FOOT: f64 = 24.0;

/// One CPU, or several summed up.
struct Row {
    name: String,
    is_sum: bool,
    bins: Compared<Vec<u64>>,
}

impl Row {
    fn new(name: String, bins: &Compared<Vec<u64>>) -> Self {
        Row { name, is_sum: false, bins: bins.clone() }
    }

    fn total(&self) -> Compared<u64> {
        Compared { predicted: self.bins.predicted.iter().sum(), recorded: self.bins.recorded.iter().sum() }
    }

    fn weight(&self) -> u64 {
        let Compared { predicted, recorded } = self.total();
        predicted + recorded
    }

    fn highest(&self) -> u64 {
        self.bins.predicted.iter().chain(&self.bins.recorded).copied().max().unwrap_or_default()
    }

    fn add(&mut self, other: &Row) {
        let pairs =
            [(&mut self.bins.predicted, &other.bins.predicted), (&mut self.bins.recorded, &other.bins.recorded)];
        for (bins, others) in pairs {
            bins.iter_mut().zip(others).for_each(|(bin, other)| *bin += other);
        }
    }
}

/// One picture of flush operations and one of remote requests.
pub(crate) fn timeline(report: &Report, timeline: &Timeline, placement: Placement) -> Markup {
    html! {
        h3 { "Over time" }
        p.legend {
            span.predicted { "■ predicted" } ", above each axis; "
            span.recorded { "■ recorded" }
            @if !is_like_for_like(report) { " on " (report.recorded_machine) }
            ", below it. A bar is " (span(timeline.bin_ns)) " wide; one of full length is the number beside its axis. "
            "Under each CPU: its totals, predicted / recorded."
            @if placement != Placement::AsRecorded {
                " Tasks are spread: what was recorded was on the recorded CPU of that number."
            }
        }
        (figure("Flush operations", timeline, |cpu| &cpu.flushes))
        (figure("Remote requests, where they were sent", timeline, |cpu| &cpu.remote))
    }
}

fn figure(title: &str, timeline: &Timeline, of: impl Fn(&CpuTimeline) -> &Compared<Vec<u64>>) -> Markup {
    let rows = timeline.cpus.iter().map(|cpu| Row::new(format!("CPU {}", cpu.cpu), of(cpu))).collect();
    let rows = with_the_rest_summed_up(rows);
    html! {
        figure {
            @if rows.iter().all(|row| row.weight() == 0) {
                figcaption { (title) ": none" }
            } @else {
                figcaption { (title) }
                (PreEscaped(svg(title, &rows, timeline.bin_ns)))
            }
        }
    }
}

/// The rows that are shown, in order of their CPUs; after them the sum of the others.
fn with_the_rest_summed_up(rows: Vec<Row>) -> Vec<Row> {
    if rows.len() <= MAX_ROWS {
        return rows;
    }
    let mut by_weight: Vec<usize> = (0..rows.len()).collect();
    // Those with the most first; of equals the first CPU, as the sort is stable.
    by_weight.sort_by_key(|idx| std::cmp::Reverse(rows[*idx].weight()));
    by_weight.truncate(MAX_ROWS);
    by_weight.retain(|idx| rows[*idx].weight() > 0);
    let (kept, others): (Vec<_>, Vec<_>) = rows.into_iter().enumerate().partition(|(idx, _)| by_weight.contains(idx));
    let n_others = others.len();
    let sum = others.into_iter().map(|(_, row)| row).reduce(|mut sum, row| {
        sum.add(&row);
        sum
    });
    let sum = sum.map(|sum| Row { name: format!("{n_others} other CPUs"), is_sum: true, ..sum });
    kept.into_iter().map(|(_, row)| row).chain(sum).collect()
}

/// The whole picture. Written as text: it is ten thousand numbers.
fn svg(title: &str, rows: &[Row], bin_ns: u64) -> String {
    let n_bins = rows.first().map_or(1, |row| row.bins.predicted.len().max(1));
    let height = ROW * rows.len() as f64 + FOOT;
    let mut svg = format!(r#"<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title} over time, by CPU">"#);
    push_time_axis(&mut svg, n_bins, bin_ns, height);
    // All CPUs to one scale; a sum of others is no CPU and has its own.
    let (others, cpus): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.is_sum);
    let highest_of = |rows: &[&Row]| rows.iter().map(|row| row.highest()).max().unwrap_or_default().max(1);
    let scales = (highest_of(&cpus), highest_of(&others));
    for (idx, row) in rows.iter().enumerate() {
        let scale = if row.is_sum { scales.1 } else { scales.0 };
        push_row(&mut svg, row, ROW * (idx as f64 + 0.5), scale, bin_ns);
    }
    svg + "</svg>"
}

fn push_row(svg: &mut String, row: &Row, axis: f64, scale: u64, bin_ns: u64) {
    let Compared { predicted, recorded } = row.total();
    let (name_y, count_y, end) = (axis - 4.0, axis + 11.0, WIDTH - RIGHT);
    let counts = format!("{} / {}", thousands(predicted), thousands(recorded));
    push(svg, format_args!(r#"<text class="name" x="0" y="{name_y:.1}">{}</text>"#, row.name));
    push(svg, format_args!(r#"<text x="0" y="{count_y:.1}">{counts}</text>"#));
    // What a bar of the whole height stands for.
    let (scale_x, scale_y) = (LEFT - 6.0, axis - BAR + 8.0);
    push(svg, format_args!(r#"<text class="scale" x="{scale_x}" y="{scale_y:.1}">{}</text>"#, thousands(scale)));
    push(svg, format_args!(r#"<path class="axis" d="M{LEFT} {axis:.1}H{end}"/>"#));
    let bins = row.bins.predicted.iter().zip(&row.bins.recorded);
    let bin_width = (WIDTH - LEFT - RIGHT) / bins.len().max(1) as f64;
    for (idx, (predicted, recorded)) in bins.enumerate() {
        let bin = Compared { predicted: *predicted, recorded: *recorded };
        if bin != Compared::default() {
            let (from, to) = (span(bin_ns * idx as u64), span(bin_ns * (idx as u64 + 1)));
            push(svg, format_args!("<g><title>{}, {from} to {to}: ", row.name));
            push_bin(svg, bin, LEFT + bin_width * idx as f64, bin_width, axis, scale);
        }
    }
}

/// The end of a bin's title, and its bars.
fn push_bin(svg: &mut String, bin: Compared<u64>, x: f64, bin_width: f64, axis: f64, scale: u64) {
    let Compared { predicted, recorded } = bin;
    push(svg, format_args!("{} predicted, {} recorded</title>", thousands(predicted), thousands(recorded)));
    // Nothing to be seen, but as high as the row: a bar of one pixel cannot be pointed at.
    let (top, whole) = (axis - BAR, BAR * 2.0);
    push(svg, format_args!(r#"<path class="hover" d="M{x:.1} {top:.1}v{whole}h{bin_width:.2}v-{whole}z"/>"#));
    // Whatever is there is seen, be it one of thousands.
    let length = |count: u64| (BAR * count as f64 / scale as f64).max(1.0);
    let width = (bin_width * 0.9).max(0.5);
    if predicted > 0 {
        let up = length(predicted);
        push(svg, format_args!(r#"<path class="predicted" d="M{x:.1} {axis:.1}v-{up:.1}h{width:.1}v{up:.1}z"/>"#));
    }
    if recorded > 0 {
        let down = length(recorded);
        push(svg, format_args!(r#"<path class="recorded" d="M{x:.1} {axis:.1}v{down:.1}h{width:.1}v-{down:.1}z"/>"#));
    }
    svg.push_str("</g>");
}

fn push_time_axis(svg: &mut String, n_bins: usize, bin_ns: u64, height: f64) {
    let whole_ns = bin_ns * n_bins as u64;
    let step_ns = step(whole_ns);
    let (bottom, label_y) = (height - FOOT, height - 8.0);
    let mut at_ns = 0;
    while at_ns <= whole_ns {
        let x = LEFT + (WIDTH - LEFT - RIGHT) * at_ns as f64 / whole_ns as f64;
        push(svg, format_args!(r#"<path class="grid" d="M{x:.1} 0V{bottom:.1}"/>"#));
        push(svg, format_args!(r#"<text class="time" x="{x:.1}" y="{label_y:.1}">{}</text>"#, span(at_ns)));
        at_ns += step_ns;
    }
}

/// The shortest round time that fits into this one at most ten times.
fn step(whole_ns: u64) -> u64 {
    let round = (0..19).flat_map(|exponent| [1, 2, 5].map(|digit| digit * 10_u64.pow(exponent)));
    round.into_iter().find(|step_ns| whole_ns / step_ns <= 10).unwrap_or(u64::MAX)
}

/// A time in the unit that suits it.
fn span(ns: u64) -> String {
    let (unit_ns, unit) = match ns {
        0 => return "0".to_owned(),
        1..1_000_000 => (1e3, "µs"),
        1_000_000..1_000_000_000 => (1e6, "ms"),
        _ => (1e9, "s"),
    };
    let number = format!("{:.3}", ns as f64 / unit_ns);
    format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
}

fn push(svg: &mut String, text: std::fmt::Arguments<'_>) {
    svg.write_fmt(text).expect("a string takes whatever is written");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cpu: u16, count: u64) -> Row {
        Row::new(format!("CPU {cpu}"), &Compared { predicted: vec![count, 1], recorded: vec![0, count] })
    }

    #[test]
    fn of_many_cpus_those_with_the_most_are_shown_and_none_is_left_out_of_the_sum() {
        let shown = with_the_rest_summed_up((0..256).map(|cpu| row(cpu, u64::from(cpu % 100))).collect());
        let names: Vec<&str> = shown.iter().map(|row| &*row.name).collect();
        assert_eq!(
            names,
            ["CPU 96", "CPU 97", "CPU 98", "CPU 99", "CPU 196", "CPU 197", "CPU 198", "CPU 199", "248 other CPUs"]
        );
        let sum: u64 = shown.iter().map(Row::weight).sum();
        assert_eq!(sum, 256 + 2 * (0..256).map(|cpu| cpu % 100).sum::<u64>());
        let idle = Compared { predicted: vec![0], recorded: vec![0] };
        let few = (0..8).map(|cpu| Row::new(format!("CPU {cpu}"), &idle)).collect();
        assert_eq!(with_the_rest_summed_up(few).len(), 8, "few CPUs are all shown");
    }

    #[test]
    fn times_are_round_and_in_units_that_suit_them() {
        assert_eq!([0, 999, 1_500_000, 2_000_000_000].map(span), ["0", "0.999 µs", "1.5 ms", "2 s"]);
        assert_eq!([1, 10, 11, 2_550_000_000, 9_000].map(step), [1, 1, 2, 500_000_000, 1_000]);
        assert_eq!(step(u64::MAX), 2_000_000_000_000_000_000);
    }
}
