//! The numbers of a report as rows of names and values. Text and page only lay them out.

use shootdown::Counter;
use shootdown_recording::Detail;
use shootdown_replay::{
    ByCause, Compared, CostReport, DeviceReport, Grouping, Offender, Placement, Report, Residual, Violation,
};

use crate::replayed::Comparison;

/// Flushes and remote requests of one cause, or of all.
pub(crate) struct CauseRow {
    pub(crate) name: &'static str,
    pub(crate) flushes: Compared<u64>,
    pub(crate) remote: Compared<u64>,
}

/// What is shown of an offender.
pub(crate) const OFFENDER_COLUMNS: [Counter; 6] = [
    Counter::FlushLocal,
    Counter::FlushEverything,
    Counter::RemoteRequest,
    Counter::Kick,
    Counter::PageReleased,
    Counter::TableReleased,
];

/// Whether what was recorded is of the machine that was simulated.
pub(crate) fn is_like_for_like(report: &Report) -> bool {
    report.machine == report.recorded_machine
}

/// Whether the recorder saw the kernel's own flushes: zeros are no counts otherwise.
pub(crate) fn has_truth(report: &Report) -> bool {
    report.detail != Detail::Calls.name()
}

/// What flushes and remote requests of a replay are.
pub(crate) fn predictions(report: &Report) -> [&'static str; 2] {
    if has_truth(report) {
        ["flushes: predicted", "remote: predicted"]
    } else {
        ["flushes: at most", "remote: a CPU a task"]
    }
}

/// What was replayed, on what.
pub(crate) fn summary(report: &Report, placement: Placement) -> String {
    let placed = match placement {
        Placement::AsRecorded if !has_truth(report) => "each task on one of its own",
        Placement::AsRecorded => "as recorded",
        Placement::Spread { .. } => "tasks spread: model output, not comparable with what was recorded",
    };
    format!(
        "{} events of {} tasks in {} address spaces, {:.2} s; {} on {} {} CPUs, {placed}",
        thousands(report.events),
        thousands(report.tasks),
        thousands(report.address_spaces),
        report.seconds,
        report.profile,
        report.cpus,
        report.machine,
    )
}

/// Why the numbers may not be what they seem.
pub(crate) fn warnings(report: &Report) -> Vec<String> {
    let mut warnings = Vec::new();
    if !has_truth(report) {
        warnings.push(
            "upper bound: calls only were recorded; which pages were touched and where tasks ran is assumed, copy-on-write \
             faults are not seen"
                .to_owned(),
        );
    } else if !is_like_for_like(report) {
        let recorded = report.recorded_machine;
        warnings.push(format!("what was recorded is {recorded}'s, another machine: no yardstick for this one"));
    }
    warnings.extend(report.missing.iter().map(|missing| format!("not recorded: {missing}")));
    if report.lost_events > 0 {
        let lost = thousands(report.lost_events);
        warnings.push(format!("the recorder lost {lost} events: nothing below is exact"));
    }
    if !report.without.is_empty() {
        warnings.push(format!("left out: {}", report.without.join(", ")));
    }
    warnings
}

/// Flushes and remote requests by cause, predicted and recorded; all of them last.
pub(crate) fn causes(report: &Report) -> Vec<CauseRow> {
    let pick = |compared: &Compared<ByCause<u64>>, of: &dyn Fn(&ByCause<u64>) -> u64| Compared {
        predicted: of(&compared.predicted),
        recorded: of(&compared.recorded),
    };
    let row = |name, of: &dyn Fn(&ByCause<u64>) -> u64| CauseRow {
        name,
        flushes: pick(&report.flushes, of),
        remote: pick(&report.remote, of),
    };
    let nothing = Compared::default();
    report
        .flushes
        .predicted
        .iter()
        .map(|(cause, _)| row(cause.name(), &|counts| counts[cause]))
        .filter(|row| (row.flushes, row.remote) != (nothing, nothing))
        .chain([row("all", &|counts| counts.total())])
        .collect()
}

/// What a device was told by cause: of less, of more, and of ends; all of them last.
pub(crate) fn told(device: &DeviceReport) -> Vec<(&'static str, [u64; 3])> {
    let DeviceReport { less, more, ended, .. } = device;
    let by_cause = less.iter().map(|(cause, less)| (cause.name(), [*less, more[cause], ended[cause]]));
    let all = ("all", [less.total(), more.total(), ended.total()]);
    by_cause.chain([all]).filter(|(_, counts)| *counts != [0; 3]).collect()
}

/// Two replays of one recording, side by side.
pub(crate) fn comparison(comparison: &Comparison<'_>) -> Vec<(&'static str, u64, u64)> {
    let Comparison { before, after, .. } = comparison;
    let rows = [
        ("flushes", before.flushes.predicted.total(), after.flushes.predicted.total()),
        ("remote requests", before.remote.predicted.total(), after.remote.predicted.total()),
        ("table syncs", before.table_syncs.predicted, after.table_syncs.predicted),
        ("pages freed", before.pages_freed, after.pages_freed),
        ("tables freed", before.tables_freed, after.tables_freed),
        ("stale accesses", before.stale_accesses, after.stale_accesses),
    ];
    let n_told = |device: &DeviceReport| [device.less, device.more, device.ended].iter().map(ByCause::total).sum();
    let device = before.device.iter().zip(&after.device).flat_map(|(before, after)| {
        [
            ("device told", n_told(before), n_told(after)),
            ("stale DMA", before.stale_dma, after.stale_dma),
            ("device stuck", before.stuck, after.stuck),
        ]
    });
    let us = |cost: &CostReport| (cost.seconds * 1e6).round() as u64;
    let cost = before.cost.iter().zip(&after.cost);
    let cost = cost.map(|(before, after)| ("us of CPU time (estimate)", us(before), us(after)));
    // Few programs share tables.
    rows.into_iter().filter(|row| *row != ("table syncs", 0, 0)).chain(device).chain(cost).collect()
}

/// How well single flushes, and not only their sums, are explained. Nothing if there is nothing to explain.
pub(crate) fn residual(report: &Report) -> Option<[(&'static str, String); 5]> {
    let Residual { explained, unexplained, not_recorded, reclaim, outside } = &report.residual;
    let parts = |counts: &ByCause<u64>| {
        let parts: Vec<String> =
            counts.iter().filter(|(_, n)| **n > 0).map(|(cause, n)| format!("{n} {}", cause.name())).collect();
        if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
    };
    (report.flushes.recorded.total() > 0 && is_like_for_like(report)).then(|| {
        [
            ("explained", thousands(*explained)),
            ("unexplained", parts(unexplained)),
            ("predicted and not recorded", parts(not_recorded)),
            ("reclaim", thousands(*reclaim)),
            ("outside", thousands(*outside)),
        ]
    })
}

/// Who causes what by one grouping, the worst first, each with its [`OFFENDER_COLUMNS`].
pub(crate) fn offenders(report: &Report, by: Grouping) -> Vec<(&str, [u64; OFFENDER_COLUMNS.len()])> {
    let count = |offender: &Offender, counter: Counter| offender.counters.get(counter.name()).copied().unwrap_or(0);
    report
        .by
        .iter()
        .filter(|offender| offender.grouping == by)
        .map(|offender| (&*offender.name, OFFENDER_COLUMNS.map(|counter| count(offender, counter))))
        .collect()
}

/// What else was done and freed.
pub(crate) fn work(report: &Report) -> String {
    let Compared { predicted, recorded } = report.table_syncs;
    let (predicted, recorded) = (thousands(predicted), thousands(recorded));
    let table_syncs = match (has_truth(report), is_like_for_like(report)) {
        (false, _) => format!("at most {predicted}"),
        (true, true) => format!("{predicted} predicted, {recorded} recorded"),
        (true, false) => format!("{predicted} predicted, {recorded} recorded on {}", report.recorded_machine),
    };
    format!(
        "{} pages and {} tables freed by {} gathers; table syncs {table_syncs}",
        thousands(report.pages_freed),
        thousands(report.tables_freed),
        thousands(report.gathers),
    )
}

/// What was used that must not be used, in numbers.
pub(crate) fn stale(report: &Report) -> Vec<String> {
    let device = report.device.as_ref().map(|device| {
        format!(
            "stale DMA: {}; device stuck: {}; {} pages touched by DMA",
            thousands(device.stale_dma),
            thousands(device.stuck),
            thousands(device.touches)
        )
    });
    [format!("stale accesses: {}", thousands(report.stale_accesses))].into_iter().chain(device).collect()
}

/// The same, one by one, and how many more there are.
pub(crate) fn violations(report: &Report) -> Vec<String> {
    let one = |violation: &Violation| {
        let holder = violation.cpu.map_or_else(|| "device".to_owned(), |cpu| format!("CPU {cpu}"));
        let Violation { event, kind, space, address, frame, .. } = violation;
        format!("event {event}: {kind}: {holder}, address space {space}, address {address:#x}, frame {frame:#x}")
    };
    let untold = report.n_violations() - report.violations.len() as u64;
    let more = (untold > 0).then(|| format!("and {} more", thousands(untold)));
    report.violations.iter().map(one).chain(more).collect()
}

/// What it would cost, in one line.
pub(crate) fn cost_in_words(cost: &CostReport) -> String {
    let CostReport { label, model, seconds, recorded_cpu_seconds, share, .. } = cost;
    let share = match (recorded_cpu_seconds, share) {
        (Some(recorded), Some(share)) => {
            format!(", {:.2} % of the {recorded:.2} s in which tasks ran when it was recorded", share * 100.0)
        }
        _ => String::new(),
    };
    format!("{label} by the prices of {model}: {seconds:.6} s of CPU time{share}")
}

/// What each kind of thing would cost: its name, how many there were, the price of one in ns, and of all in seconds; all of
/// them last.
pub(crate) fn cost_parts(cost: &CostReport) -> Vec<[String; 4]> {
    let seconds = |seconds: f64| format!("{seconds:.6}");
    let part = |part: &shootdown_replay::CostPart| {
        [part.counter.to_owned(), thousands(part.count), amount(part.ns_each), seconds(part.seconds)]
    };
    let all = ["all".to_owned(), String::new(), String::new(), seconds(cost.seconds)];
    cost.parts.iter().map(part).chain([all]).collect()
}

/// A price without digits that mean nothing.
pub(crate) fn amount(ns: f64) -> String {
    if ns.fract() == 0.0 { format!("{ns:.0}") } else { format!("{ns:.1}") }
}

pub(crate) fn difference(predicted: u64, recorded: u64) -> String {
    match predicted.cmp(&recorded) {
        std::cmp::Ordering::Equal => "0".to_owned(),
        std::cmp::Ordering::Greater => format!("+{}", thousands(predicted - recorded)),
        std::cmp::Ordering::Less => format!("-{}", thousands(recorded - predicted)),
    }
}

/// A number with its thousands set apart.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(difference(7, 1_007), "-1,000");
        assert_eq!(difference(8, 7), "+1");
        assert_eq!(amount(76.923), "76.9");
        assert_eq!(amount(3_000.0), "3000");
    }
}
