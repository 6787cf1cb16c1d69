//! Who causes what.

use maud::{Markup, html};
use shootdown::Counter;
use shootdown_replay::{Grouping, Report};

use crate::{
    html::table,
    rows::{self, OFFENDER_COLUMNS, thousands},
};

/// Offenders of a grouping that are shown; more are only in the JSON.
const MAX_OFFENDERS: usize = 10;

/// The worst of one grouping; nothing if it was not asked for.
pub(crate) fn offenders(report: &Report, by: Grouping) -> Markup {
    let offenders = rows::offenders(report, by);
    let header: Vec<&str> = [by.name()].into_iter().chain(OFFENDER_COLUMNS.map(Counter::name)).collect();
    let n_more = offenders.len().saturating_sub(MAX_OFFENDERS);
    let shown = offenders.iter().take(MAX_OFFENDERS).map(|(name, counts)| (*name, counts.map(thousands).to_vec()));
    html! {
        @if !offenders.is_empty() {
            h3 { "Top offenders by " (by.name()) }
            (table::plain(&header, shown))
            @if n_more > 0 { p.remark { "and " (thousands(n_more as u64)) " more; --json --by " (by.name()) " has all" } }
        }
    }
}
