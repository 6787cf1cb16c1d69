//! Weakened orders as lines of text, without anything that changes with every edit.

use super::{Noticed, Row, Site};

/// A table of weakened orders: the file, the operation, the order it asks for, what is left of it, who notices.
pub struct Table<'s> {
    sites: &'s [Site],
    file: usize,
    operation: usize,
}

/// As wide as the longest order.
const ORDER: usize = 7;

impl<'s> Table<'s> {
    /// Makes a table of what comes of these sites.
    #[must_use]
    pub fn new(sites: &'s [Site]) -> Self {
        let widest = |texts: &mut dyn Iterator<Item = String>| texts.map(|text| text.len()).max().unwrap_or_default();
        let file = widest(&mut sites.iter().map(|site| site.file().to_owned()));
        let operation = widest(&mut sites.iter().map(|site| operation(sites, site)));
        Table { sites, file, operation }
    }

    /// Returns the names of the columns.
    #[must_use]
    pub fn heading(&self) -> String {
        self.columns(["file", "operation", "order", "made", "verdict"])
    }

    /// Returns one line, without its end.
    #[must_use]
    pub fn line(&self, Row { weakened, noticed }: &Row) -> String {
        let site = weakened.site();
        let [order, made] = [site.order(), weakened.to()].map(|order| format!("{order:?}"));
        let verdict = match noticed {
            Some(Noticed { scenario, finding }) => format!("needed: {} {}", scenario.name, finding.failure.kind()),
            None => "no scenario notices".to_owned(),
        };
        self.columns([site.file(), &operation(self.sites, site), &order, &made, &verdict])
    }

    fn columns(&self, [file, operation, order, made, verdict]: [&str; 5]) -> String {
        let Table { file: files, operation: operations, .. } = *self;
        format!("{file:files$}  {operation:operations$}  {order:ORDER$}  {made:ORDER$}  {verdict}")
    }
}

/// What a site does, with a number if one before it in its file does the same.
fn operation(sites: &[Site], site: &Site) -> String {
    let before = sites.iter().take_while(|other| *other != site);
    match before.filter(|other| other.is_like(site)).count() {
        0 => site.operation(),
        n_before => format!("{} #{}", site.operation(), n_before + 1),
    }
}
