//! What it would cost: an estimate, with its sources.

use maud::{Markup, html};
use shootdown_replay::CostReport;

use crate::{html::table, rows};

pub(crate) fn cost(cost: &CostReport) -> Markup {
    let rows: Vec<[String; 4]> = rows::cost_parts(cost);
    let rows = rows.iter().map(|[name, numbers @ ..]| (&**name, numbers.to_vec()));
    html! {
        h3 { "Cost: an " (cost.label) }
        p { (rows::cost_in_words(cost)) "." }
        div.sums { (table::plain(&[cost.label, "count", "ns each", "seconds"], rows)) }
        dl.sources {
            @for part in &cost.parts {
                dt { (part.counter) @if !part.about.is_empty() { ": " (part.about) } }
                dd { (part.source) }
            }
        }
    }
}
