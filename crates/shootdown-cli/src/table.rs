//! Reports as tables for people.

use std::time::Duration;

use comfy_table::{CellAlignment, ColumnConstraint, Table, presets};
use shootdown::Counter;
use shootdown_replay::{ByCause, DeviceReport, Grouping, Hardware, Offender, Placement, Profile, Report, Residual};

use crate::bundled;

/// Offenders shown; more are only in the JSON.
const MAX_OFFENDERS: usize = 20;

/// The bundled recordings.
pub(crate) fn bundled() -> String {
    let mut table = plain(&["recording", "what was recorded"]);
    for recording in bundled::ALL {
        table.add_row([recording.name, recording.about]);
    }
    table.trim_fmt()
}

/// The kernel profiles.
pub(crate) fn profiles() -> String {
    Profile::ALL.map(|profile| format!("{}\n  {}", profile.name, profile.about)).join("\n")
}

/// The machines.
pub(crate) fn machines() -> String {
    Hardware::ALL.map(|hardware| format!("{}\n  {}", hardware.name(), hardware.about())).join("\n")
}

/// One report; beside the one with every fix kept, if some were left out.
pub(crate) fn report(report: &Report, before: Option<&Report>, placement: Placement, took: Duration) -> String {
    let text = heading(report, placement);
    if let Some(before) = before {
        return text + &comparison(before, report) + &footing(report, took);
    }
    let device = report.device.as_ref().map_or_else(String::new, told);
    text + &causes(report) + &device + &footing(report, took)
}

/// What a device was told, by cause.
fn told(device: &DeviceReport) -> String {
    let heading = format!("{} told: less", device.name);
    let mut table = plain(&["cause", &heading, "more", "ended"]);
    let mut add = |name: &str, counts: [u64; 3]| {
        if counts != [0; 3] {
            table.add_row([name.to_owned()].into_iter().chain(counts.map(thousands)));
        }
    };
    for (cause, less) in device.less.iter() {
        add(cause.name(), [*less, device.more[cause], device.ended[cause]]);
    }
    add("all", [device.less.total(), device.more.total(), device.ended.total()]);
    align_numbers(&mut table, 1..4);
    table.trim_fmt() + "\n"
}

/// Flushes and remote requests by cause, predicted and recorded. Differences only where one machine is the other.
fn causes(report: &Report) -> String {
    let recorded = if is_like_for_like(report) { "recorded" } else { &*format!("on {}", report.recorded_machine) };
    let mut table = plain(&["cause", "flushes: predicted", recorded, "off by", "remote: predicted", recorded]);
    let causes = report.flushes.predicted.iter().zip(report.flushes.recorded.iter());
    for ((cause, predicted), (_, recorded)) in causes {
        let remote = (report.remote.predicted[cause], report.remote.recorded[cause]);
        if (*predicted, *recorded) != (0, 0) || remote != (0, 0) {
            table.add_row(row(cause.name(), (*predicted, *recorded), remote));
        }
    }
    let totals = |compared: &shootdown_replay::Compared<shootdown_replay::ByCause<u64>>| {
        (compared.predicted.total(), compared.recorded.total())
    };
    table.add_row(row("all", totals(&report.flushes), totals(&report.remote)));
    align_numbers(&mut table, 1..6);
    if !is_like_for_like(report)
        && let Some(differences) = table.column_mut(3)
    {
        differences.set_constraint(ColumnConstraint::Hidden);
    }
    table.trim_fmt() + "\n"
}

/// Whether what was recorded is of the machine that was simulated.
fn is_like_for_like(report: &Report) -> bool {
    report.machine == report.recorded_machine
}

fn heading(report: &Report, placement: Placement) -> String {
    let placed = match placement {
        Placement::AsRecorded => "as recorded",
        Placement::Spread { .. } => "tasks spread: model output, not comparable with what was recorded",
    };
    let mut text = format!(
        "{}: {} events of {} tasks in {} address spaces, {:.2} s; {} on {} {} CPUs, {placed}\n",
        report.recording,
        thousands(report.events),
        thousands(report.tasks),
        thousands(report.address_spaces),
        report.seconds,
        report.profile,
        report.cpus,
        report.machine,
    );
    if !is_like_for_like(report) {
        text += &format!(
            "what was recorded is {}'s, another machine: no yardstick for this one\n",
            report.recorded_machine
        );
    }
    if report.lost_events > 0 {
        text += &format!("the recorder lost {} events: nothing below is exact\n", thousands(report.lost_events));
    }
    if !report.without.is_empty() {
        text += &format!("left out: {}\n", report.without.join(", "));
    }
    text
}

/// Before and after fixes were left out.
fn comparison(before: &Report, after: &Report) -> String {
    let mut table = plain(&["", "kept", "left out"]);
    let rows = [
        ("flushes", before.flushes.predicted.total(), after.flushes.predicted.total()),
        ("remote requests", before.remote.predicted.total(), after.remote.predicted.total()),
        ("table syncs", before.table_syncs.predicted, after.table_syncs.predicted),
        ("pages freed", before.pages_freed, after.pages_freed),
        ("tables freed", before.tables_freed, after.tables_freed),
        ("stale accesses", before.stale_accesses, after.stale_accesses),
    ];
    let device = before.device.iter().zip(&after.device).flat_map(|(before, after)| {
        [
            ("device told", n_told(before), n_told(after)),
            ("stale DMA", before.stale_dma, after.stale_dma),
            ("device stuck", before.stuck, after.stuck),
        ]
    });
    // Few programs share tables.
    for (name, before, after) in rows.into_iter().filter(|row| *row != ("table syncs", 0, 0)).chain(device) {
        table.add_row([name.to_owned(), thousands(before), thousands(after)]);
    }
    align_numbers(&mut table, 1..3);
    table.trim_fmt() + "\n"
}

fn n_told(device: &DeviceReport) -> u64 {
    [device.less, device.more, device.ended].iter().map(ByCause::total).sum()
}

/// How well single flushes, and not only their sums, are explained.
fn residual(report: &Report) -> String {
    let Residual { explained, unexplained, not_recorded, reclaim, outside } = &report.residual;
    let parts = |counts: &ByCause<u64>| {
        let parts: Vec<String> =
            counts.iter().filter(|(_, n)| **n > 0).map(|(cause, n)| format!("{n} {}", cause.name())).collect();
        if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
    };
    format!(
        "one by one: {} flushes explained; unexplained: {}; predicted and not recorded: {}; reclaim: {}; outside: {}\n",
        thousands(*explained),
        parts(unexplained),
        parts(not_recorded),
        thousands(*reclaim),
        thousands(*outside),
    )
}

/// Who causes what, the first [`MAX_OFFENDERS`] of a grouping.
fn offenders(offenders: &[&Offender]) -> String {
    const COLUMNS: [Counter; 6] = [
        Counter::FlushLocal,
        Counter::FlushEverything,
        Counter::RemoteRequest,
        Counter::Kick,
        Counter::PageReleased,
        Counter::TableReleased,
    ];
    let header: Vec<&str> = ["by"].into_iter().chain(COLUMNS.map(Counter::name)).collect();
    let mut table = plain(&header);
    for offender in offenders.iter().take(MAX_OFFENDERS) {
        let count = |counter: Counter| offender.counters.get(counter.name()).copied().unwrap_or_default();
        let cells = COLUMNS.map(|counter| thousands(count(counter)));
        table.add_row([offender.name.clone()].into_iter().chain(cells));
    }
    align_numbers(&mut table, 1..header.len());
    let mut text = table.trim_fmt() + "\n";
    if offenders.len() > MAX_OFFENDERS {
        text += &format!(" and {} more; --json has all\n", thousands((offenders.len() - MAX_OFFENDERS) as u64));
    }
    text
}

fn footing(report: &Report, took: Duration) -> String {
    let events_per_second = report.events as f64 / took.as_secs_f64().max(1e-9);
    let mut text = format!(
        "{} pages and {} tables freed by {} gathers; table syncs {} predicted, {} recorded{}; {:.1} M events/s\n",
        thousands(report.pages_freed),
        thousands(report.tables_freed),
        thousands(report.gathers),
        thousands(report.table_syncs.predicted),
        thousands(report.table_syncs.recorded),
        if is_like_for_like(report) { String::new() } else { format!(" on {}", report.recorded_machine) },
        events_per_second / 1e6,
    );
    if report.flushes.recorded.total() > 0 && is_like_for_like(report) {
        text += &residual(report);
    }
    for grouping in Grouping::ALL {
        let by: Vec<&Offender> = report.by.iter().filter(|offender| offender.grouping == grouping).collect();
        if !by.is_empty() {
            text += &offenders(&by);
        }
    }
    text += &format!("stale accesses: {}\n", thousands(report.stale_accesses));
    if let Some(device) = &report.device {
        text += &format!(
            "stale DMA: {}; device stuck: {}; {} pages touched by DMA\n",
            thousands(device.stale_dma),
            thousands(device.stuck),
            thousands(device.touches)
        );
    }
    for violation in &report.violations {
        let holder = violation.cpu.map_or_else(|| "device".to_owned(), |cpu| format!("CPU {cpu}"));
        text += &format!(
            "  event {}: {}: {holder}, address space {}, address {:#x}, frame {:#x}\n",
            violation.event, violation.kind, violation.space, violation.address, violation.frame
        );
    }
    let untold = report.n_violations() - report.violations.len() as u64;
    if untold > 0 {
        text += &format!("  and {} more\n", thousands(untold));
    }
    text
}

fn row(name: &str, (predicted, recorded): (u64, u64), remote: (u64, u64)) -> [String; 6] {
    [
        name.to_owned(),
        thousands(predicted),
        thousands(recorded),
        difference(predicted, recorded),
        thousands(remote.0),
        thousands(remote.1),
    ]
}

fn difference(predicted: u64, recorded: u64) -> String {
    match predicted.cmp(&recorded) {
        std::cmp::Ordering::Equal => "0".to_owned(),
        std::cmp::Ordering::Greater => format!("+{}", thousands(predicted - recorded)),
        std::cmp::Ordering::Less => format!("-{}", thousands(recorded - predicted)),
    }
}

fn plain(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    table
}

fn align_numbers(table: &mut Table, columns: std::ops::Range<usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
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
    }
}
