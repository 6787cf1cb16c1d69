//! Reports as tables for people.

use std::time::Duration;

use comfy_table::{CellAlignment, ColumnConstraint, Table, presets};
use shootdown::Counter;
use shootdown_replay::{CostModel, CostReport, DeviceReport, Grouping, Hardware, Placement, Price, Profile, Report};

use crate::{
    bundled,
    replayed::{Beside, Comparison, Replayed},
    rows::{self, CauseRow, OFFENDER_COLUMNS, difference, has_truth, is_like_for_like, thousands},
};

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

/// The cost models that come with the command, with their sources.
pub(crate) fn cost_models() -> String {
    let price = |price: &Price| {
        format!("  {}: {} ns, {}\n    {}\n", price.counter.name(), rows::amount(price.ns), price.about, price.source)
    };
    let model = |model: &CostModel| {
        format!("{}\n  {}\n{}", model.name, model.about, model.prices.iter().map(price).collect::<String>())
    };
    let models: Vec<String> = CostModel::bundled().iter().map(model).collect();
    models.concat().trim_end().to_owned()
}

/// One replay, with the top offenders `by` these; beside the one that it is compared with, if there is one.
pub(crate) fn report(replayed: &Replayed, by: &[Grouping]) -> String {
    let Replayed { report, placement, took, .. } = replayed;
    let text = heading(report, *placement);
    let compared = replayed.comparison().as_ref().map_or_else(String::new, comparison);
    // With a fix left out nobody asks what the kernel did.
    if let Some(Beside::Kept(_)) = replayed.beside {
        return text + &compared + &footing(report, by, *took);
    }
    let device = report.device.as_ref().map_or_else(String::new, told);
    text + &causes(report) + &device + &compared + &footing(report, by, *took)
}

/// What a device was told, by cause.
fn told(device: &DeviceReport) -> String {
    let heading = format!("{} told: less", device.name);
    let mut table = plain(&["cause", &heading, "more", "ended"]);
    for (name, counts) in rows::told(device) {
        table.add_row([name.to_owned()].into_iter().chain(counts.map(thousands)));
    }
    align_numbers(&mut table, 1..4);
    table.trim_fmt() + "\n"
}

/// Flushes and remote requests by cause, predicted and recorded. Differences only where one machine is the other.
fn causes(report: &Report) -> String {
    let recorded = if is_like_for_like(report) { "recorded" } else { &*format!("on {}", report.recorded_machine) };
    let [flushes, remote] = rows::predictions(report);
    let mut table = plain(&["cause", flushes, recorded, "off by", remote, recorded]);
    for CauseRow { name, flushes, remote } in rows::causes(report) {
        table.add_row([
            name.to_owned(),
            thousands(flushes.predicted),
            thousands(flushes.recorded),
            difference(flushes.predicted, flushes.recorded),
            thousands(remote.predicted),
            thousands(remote.recorded),
        ]);
    }
    align_numbers(&mut table, 1..6);
    let hidden: &[usize] = match (has_truth(report), is_like_for_like(report)) {
        (false, _) => &[2, 3, 5],
        (true, false) => &[3],
        (true, true) => &[],
    };
    for column in hidden {
        if let Some(column) = table.column_mut(*column) {
            column.set_constraint(ColumnConstraint::Hidden);
        }
    }
    table.trim_fmt() + "\n"
}

fn heading(report: &Report, placement: Placement) -> String {
    let lines = [format!("{}: {}", report.recording, rows::summary(report, placement))];
    lines.into_iter().chain(rows::warnings(report)).map(|line| line + "\n").collect()
}

/// Before and after.
fn comparison(comparison: &Comparison<'_>) -> String {
    let [before, after] = comparison.names;
    let mut table = plain(&["", before, after]);
    for (name, before, after) in rows::comparison(comparison) {
        table.add_row([name.to_owned(), thousands(before), thousands(after)]);
    }
    align_numbers(&mut table, 1..3);
    table.trim_fmt() + "\n"
}

fn residual(report: &Report) -> Option<String> {
    let [(explained, n_explained), rest @ ..] = rows::residual(report)?;
    let rest = rest.map(|(name, value)| format!("; {name}: {value}")).concat();
    Some(format!("one by one: {n_explained} flushes {explained}{rest}\n"))
}

/// Who causes what, the first [`MAX_OFFENDERS`] of a grouping.
fn offenders(report: &Report, by: Grouping) -> Option<String> {
    let offenders = rows::offenders(report, by);
    let header: Vec<&str> = ["by"].into_iter().chain(OFFENDER_COLUMNS.map(Counter::name)).collect();
    let mut table = plain(&header);
    for (name, counts) in offenders.iter().take(MAX_OFFENDERS) {
        table.add_row([(*name).to_owned()].into_iter().chain(counts.map(thousands)));
    }
    align_numbers(&mut table, 1..header.len());
    let mut text = table.trim_fmt() + "\n";
    if offenders.len() > MAX_OFFENDERS {
        text += &format!(" and {} more; --json has all\n", thousands((offenders.len() - MAX_OFFENDERS) as u64));
    }
    (!offenders.is_empty()).then_some(text)
}

/// What it would cost.
fn cost(cost: &CostReport) -> String {
    let mut table = plain(&[cost.label, "count", "ns each", "seconds"]);
    for row in rows::cost_parts(cost) {
        table.add_row(row);
    }
    align_numbers(&mut table, 1..4);
    format!("{}\n{}\n", rows::cost_in_words(cost), table.trim_fmt())
}

fn footing(report: &Report, by: &[Grouping], took: Duration) -> String {
    let events_per_second = report.events as f64 / took.as_secs_f64().max(1e-9);
    let mut text = format!("{}; {:.1} M events/s\n", rows::work(report), events_per_second / 1e6);
    text += &residual(report).unwrap_or_default();
    text.extend(by.iter().filter_map(|by| offenders(report, *by)));
    text += &report.cost.as_ref().map_or_else(String::new, cost);
    text.extend(rows::stale(report).into_iter().map(|line| line + "\n"));
    text.extend(rows::violations(report).into_iter().map(|line| format!("  {line}\n")));
    text
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
