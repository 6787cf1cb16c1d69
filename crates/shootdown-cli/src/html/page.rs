//! The page as a whole: heading, contents, and a section for each recording.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use shootdown_replay::Grouping;

use crate::{
    html::{causes, comparison, cost, offenders, residual, stale, table, timeline},
    replayed::{Beside, Replayed},
    rows,
};

// So written, the page is well-formed XML, too, and any parser can check it.
const META: PreEscaped<&str> = PreEscaped(
    "<meta charset=\"utf-8\"/><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\
     <meta name=\"color-scheme\" content=\"light dark\"/>",
);

pub(crate) fn page(replays: &[Replayed]) -> Markup {
    let title = match replays {
        [only] => format!("{}: TLB flushes", only.report.recording),
        _ => format!("TLB flushes of {} recordings", replays.len()),
    };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                (META)
                title { (title) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                h1 { (title) }
                @if replays.len() > 1 { (contents(replays)) }
                @for (idx, replayed) in replays.iter().enumerate() { (section(idx, replays.len(), replayed)) }
                footer { "shootdown replay " (env!("CARGO_PKG_VERSION")) }
            }
        }
    }
}

fn contents(replays: &[Replayed]) -> Markup {
    let header = ["recording", "flushes: predicted", "recorded", "remote: predicted", "recorded", "stale accesses"];
    let rows = replays.iter().enumerate().map(|(idx, Replayed { report, .. })| {
        let counts = [
            report.flushes.predicted.total(),
            report.flushes.recorded.total(),
            report.remote.predicted.total(),
            report.remote.recorded.total(),
            report.stale_accesses,
        ];
        (html! { a href=(format!("#{}", anchor(idx))) { (report.recording) } }, counts.map(rows::thousands).to_vec())
    });
    html! { nav { (table::table(&header, rows)) } }
}

fn anchor(idx: usize) -> String {
    format!("recording-{}", idx + 1)
}

fn section(idx: usize, n_sections: usize, replayed: &Replayed) -> Markup {
    let report = &replayed.report;
    let comparison = replayed.comparison().as_ref().map(comparison::comparison);
    html! {
        section id=(anchor(idx)) {
            // The page's own title says it of an only one.
            @if n_sections > 1 { h2 { (report.recording) } }
            (heading(replayed))
            // With a fix left out, what that changes is what the page is about.
            @if let (Some(Beside::Kept(_)), Some(comparison)) = (&replayed.beside, &comparison) { (comparison) }
            (causes::causes(report))
            @if let Some(timeline) = &report.timeline { (timeline::timeline(report, timeline, replayed.placement)) }
            @if let (Some(Beside::Versus(_)), Some(comparison)) = (&replayed.beside, &comparison) { (comparison) }
            @for by in Grouping::ALL { (offenders::offenders(report, by)) }
            (residual::residual(report))
            @if let Some(cost) = &report.cost { (cost::cost(cost)) }
            (stale::stale(report))
        }
    }
}

fn heading(replayed: &Replayed) -> Markup {
    let Replayed { header, about, report, placement, .. } = replayed;
    html! {
        @if let Some(about) = about { p { (about) } }
        p { (rows::summary(report, *placement)) "." }
        p { (rows::work(report)) "." }
        @if !header.notes.is_empty() {
            dl { @for (name, text) in &header.notes { dt { (name) } dd { (text) } } }
        }
        @for warning in rows::warnings(report) { p.warning { (warning) } }
    }
}
