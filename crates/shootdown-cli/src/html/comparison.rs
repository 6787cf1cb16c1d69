//! Two replays of one recording, side by side.

use maud::{Markup, html};

use crate::{
    html::table,
    replayed::Comparison,
    rows::{self, difference, thousands},
};

pub(crate) fn comparison(comparison: &Comparison<'_>) -> Markup {
    let [before, after] = comparison.names;
    let rows = rows::comparison(comparison)
        .into_iter()
        .map(|(name, before, after)| (name, vec![thousands(before), thousands(after), difference(after, before)]));
    html! {
        h3 { "Before and after: " (before) ", " (after) }
        (table::plain(&["", before, after, "difference"], rows))
    }
}
