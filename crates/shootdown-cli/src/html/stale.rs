//! What was used that must not be used.

use maud::{Markup, html};
use shootdown_replay::Report;

use crate::rows;

pub(crate) fn stale(report: &Report) -> Markup {
    let violations = rows::violations(report);
    html! {
        h3 { "Stale accesses" }
        @for line in rows::stale(report) { p.violated[!violations.is_empty()] { (line) } }
        @if !violations.is_empty() { ul { @for violation in violations { li { (violation) } } } }
    }
}
