//! Reports as tables for people.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use shootdown_replay::{Placement, Report};

use crate::bundled;

/// The bundled recordings.
pub(crate) fn bundled() -> String {
    let mut table = plain(&["recording", "what was recorded"]);
    for recording in bundled::ALL {
        table.add_row([recording.name, recording.about]);
    }
    table.trim_fmt()
}

/// One report.
pub(crate) fn report(report: &Report, placement: Placement, took: Duration) -> String {
    let mut text = heading(report, placement);
    let mut table = plain(&["cause", "flushes: predicted", "recorded", "off by", "remote: predicted", "recorded"]);
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
    text += &table.trim_fmt();
    text.push('\n');
    text + &footing(report, took)
}

fn heading(report: &Report, placement: Placement) -> String {
    let placed = match placement {
        Placement::AsRecorded => "as recorded",
        Placement::Spread { .. } => "tasks spread: model output, not comparable with what was recorded",
    };
    let mut text = format!(
        "{}: {} events of {} tasks in {} address spaces, {:.2} s; {} on {} CPUs, {placed}\n",
        report.recording,
        thousands(report.events),
        thousands(report.tasks),
        thousands(report.address_spaces),
        report.seconds,
        report.profile,
        report.cpus,
    );
    if !report.without.is_empty() {
        text += &format!("left out: {}\n", report.without.join(", "));
    }
    text
}

fn footing(report: &Report, took: Duration) -> String {
    let events_per_second = report.events as f64 / took.as_secs_f64().max(1e-9);
    let mut text = format!(
        "{} pages and {} tables freed by {} gathers; table syncs {} predicted, {} recorded; {:.1} M events/s\n",
        thousands(report.pages_freed),
        thousands(report.tables_freed),
        thousands(report.gathers),
        report.table_syncs.predicted,
        report.table_syncs.recorded,
        events_per_second / 1e6,
    );
    text += &format!("stale accesses: {}\n", thousands(report.stale_accesses));
    for violation in &report.violations {
        text += &format!(
            "  event {}: {}: CPU {}, address space {}, address {:#x}, frame {:#x}\n",
            violation.event, violation.kind, violation.cpu, violation.space, violation.address, violation.frame
        );
    }
    let untold = report.stale_accesses - report.violations.len() as u64;
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
fn thousands(number: u64) -> String {
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
