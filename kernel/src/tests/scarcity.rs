//! Memory that is refused.

use shootdown::{Attributes, Counter, Level, Vpn};

use super::{
    Outcome, ensure,
    pages::{self, PAGE, USER},
};
use crate::{
    command_line::CommandLine,
    jobs,
    machine::{Format, Metal},
    places, witness,
};

const N_ROUNDS: u64 = 100;
/// More than a gather holds without memory of its own.
const N_PAGES: u64 = 100;

/// Tables and batches are refused at random. Mapping may fail; unmapping may not.
pub(super) fn run(m: &Metal, _: &CommandLine) -> Outcome {
    let n_refused = places::counted(Counter::BatchRefused);
    pages::with_space(m, |space| {
        places::set_memory_fails(true);
        let mut is_empty = true;
        jobs::on_every_cpu(m, &|m| space.switch_to(m));
        space.switch_to(m);
        for _ in 0..N_ROUNDS {
            for index in 0..N_PAGES {
                // All over two tables of different parents.
                let page = Vpn((PAGE.0 & !511) + index + ((index % 2) << 18));
                pages::map(m, space, page, Attributes::USER_WRITE);
                witness::load(space.id(), page);
            }
            pages::unmap(m, space, USER, USER);
            is_empty &= !witness::load(space.id(), PAGE.align_down::<Format>(Level(2)));
        }
        places::set_memory_fails(false);
        ensure(is_empty, "a page is there that was unmapped")
    })?;
    ensure(places::counted(Counter::BatchRefused) > n_refused, "no gather was refused memory")
}
