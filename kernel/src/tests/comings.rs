//! CPUs that depart and arrive while others call, flush and change what is mapped.

use core::sync::atomic::{AtomicU64, Ordering::*};

use shootdown::{Attributes, Masked, Space, VpnRange, call};

use super::{
    Outcome, ensure,
    pages::{self, PAGE},
};
use crate::{command_line::CommandLine, cpu, jobs, machine::Metal, random, smp, witness};

const N_ROUNDS: u64 = 300;

/// The CPUs but two go away and come back all the time; one maps and unmaps a page, one calls all that are there.
pub(super) fn run(m: &Metal, _: &CommandLine) -> Outcome {
    pages::with_space(m, |space| {
        let n_working = AtomicU64::new(u64::from(smp::n_cpus()));
        let n_called = AtomicU64::new(0);
        jobs::on_every_cpu(m, &|m| {
            for _ in 0..N_ROUNDS {
                match shootdown::Machine::cpu(m).0 {
                    0 => come_and_go(m, space),
                    1 => {
                        call::on_all(m, call::Work { number: 0, arguments: [0; 4] });
                        n_called.fetch_add(1, Relaxed);
                    }
                    _ => go_away_and_come_back(m, space),
                }
                space.switch_to(m);
                witness::load(space.id(), PAGE);
            }
            n_working.fetch_sub(1, Relaxed);
            jobs::until(|| n_working.load(Relaxed) == 0);
        });
        ensure(n_called.into_inner() == N_ROUNDS, "a call did not return")
    })
}

fn come_and_go(m: &Metal, space: &Space<Metal>) {
    pages::map(m, space, PAGE, Attributes::USER_WRITE);
    jobs::dawdle();
    let page = VpnRange::from_len(PAGE, 1);
    pages::unmap(m, space, page, page);
}

fn go_away_and_come_back(m: &Metal, space: &Space<Metal>) {
    space.switch_to(m);
    witness::load(space.id(), PAGE);
    jobs::dawdle();
    let _masked = Masked::new(m);
    call::depart(m);
    for _ in 0..random::below(32) {
        cpu::pause();
    }
    call::arrive(m);
}
