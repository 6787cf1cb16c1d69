//! How well single flushes are explained.

use maud::{Markup, html};
use shootdown_replay::Report;

use crate::rows;

pub(crate) fn residual(report: &Report) -> Markup {
    html! {
        @if let Some(rows) = rows::residual(report) {
            h3 { "One by one" }
            p.remark { "Predicted in the very fault or syscall in which the kernel flushed, and what is left over." }
            dl { @for (name, value) in rows { dt { (name) } dd { (value) } } }
        }
    }
}
