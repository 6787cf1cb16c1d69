//! A table whose first column is names and whose others are numbers.

use maud::{Markup, html};

/// Lays out rows of a name and its numbers.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = (Markup, Vec<String>)>) -> Markup {
    html! {
        div.wide {
            table {
                thead { tr { @for name in header { th scope="col" { (name) } } } }
                tbody {
                    @for (name, numbers) in rows {
                        tr { th scope="row" { (name) } @for number in numbers { td { (number) } } }
                    }
                }
            }
        }
    }
}

/// The same for names that are only text.
pub(crate) fn plain<'a>(header: &[&str], rows: impl IntoIterator<Item = (&'a str, Vec<String>)>) -> Markup {
    table(header, rows.into_iter().map(|(name, numbers)| (html! { (name) }, numbers)))
}
