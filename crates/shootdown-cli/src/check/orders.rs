//! Each memory order of the library made weaker: who notices.

use std::{io::Write, time::Instant};

use shootdown_check::{
    orders::{Orders, Row, Table},
    scenarios,
};

use super::{Error, choose, n_threads, one};
use crate::FINE;

/// Weakens all that scenarios perform; or all that one does, and shows what comes of it.
pub(super) fn run(name: Option<&str>, out: &mut impl Write) -> Result<u8, Error> {
    let began = Instant::now();
    let orders = match name {
        Some(name) => Orders::collect([choose::scenario(name, None)?]),
        None => Orders::collect(scenarios::ALL),
    };
    let table = Table::new(orders.sites());
    writeln!(out, "{}", table.heading())?;
    let mut write = |row: Row| -> Result<(), Error> {
        writeln!(out, "{}", table.line(&row))?;
        if name.is_some() {
            one::tell(row.noticed.as_ref().map(|noticed| &noticed.finding), out)?;
        }
        // Whoever watches sees each as it comes.
        Ok(out.flush()?)
    };
    let mut written = Ok(());
    orders.check(n_threads(), |row| {
        if written.is_ok() {
            written = write(row);
        }
    });
    written?;
    // Not into what may become the file that it is compared with.
    eprintln!("{} places with an order; {:.1} s", orders.sites().len(), began.elapsed().as_secs_f64());
    Ok(FINE)
}
