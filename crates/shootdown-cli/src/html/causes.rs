//! Flushes and remote requests by cause, and what a device was told.

use maud::{Markup, html};
use shootdown_replay::{DeviceReport, Report};

use crate::{
    html::table,
    rows::{self, CauseRow, difference, has_truth, is_like_for_like, thousands},
};

pub(crate) fn causes(report: &Report) -> Markup {
    html! {
        h3 { "Flushes and remote requests by cause" }
        div.sums {
            @if !has_truth(report) {
                (upper_bounds(report))
            } @else if is_like_for_like(report) {
                (compared(report))
            } @else {
                (of_another_machine(report))
            }
            @if let Some(device) = &report.device { (told(device)) }
        }
    }
}

fn compared(report: &Report) -> Markup {
    let header =
        ["cause", "flushes: predicted", "recorded", "off by", "remote requests: predicted", "recorded", "off by"];
    let rows = rows::causes(report).into_iter().map(|CauseRow { name, flushes, remote }| {
        let cells = [flushes, remote].map(|compared| {
            let (predicted, recorded) = (compared.predicted, compared.recorded);
            [thousands(predicted), thousands(recorded), difference(predicted, recorded)]
        });
        (name, cells.concat())
    });
    table::plain(&header, rows)
}

/// Without differences: what was recorded is no yardstick.
fn of_another_machine(report: &Report) -> Markup {
    let on = format!("on {}", report.recorded_machine);
    let header = ["cause", "flushes: predicted", &on, "remote requests: predicted", &on];
    let rows = rows::causes(report).into_iter().map(|CauseRow { name, flushes, remote }| {
        (name, [flushes.predicted, flushes.recorded, remote.predicted, remote.recorded].map(thousands).to_vec())
    });
    table::plain(&header, rows)
}

/// Without what was recorded: there is nothing.
fn upper_bounds(report: &Report) -> Markup {
    let [flushes, remote] = rows::predictions(report);
    let rows = rows::causes(report).into_iter().map(|CauseRow { name, flushes, remote }| {
        (name, [flushes.predicted, remote.predicted].map(thousands).to_vec())
    });
    table::plain(&["cause", flushes, remote], rows)
}

fn told(device: &DeviceReport) -> Markup {
    let less = format!("{} told: less", device.name);
    let rows = rows::told(device).into_iter().map(|(name, counts)| (name, counts.map(thousands).to_vec()));
    table::plain(&["cause", &less, "more", "ended"], rows)
}
