//! What scripts about tags have in common.

use shootdown::{CpuId, Machine};
use shootdown_sim::smp::Config;

use super::super::script::{create, return_to_user};
use crate::machine::Sim;

pub(super) const TWO_TAGGED_CPUS: Config = Config { has_tags: true, ..Config::with_cpus(2) };

/// Two address spaces, one of them with a page, which every CPU has loaded.
pub(super) fn setup(m: &Sim) {
    if m.cpu() == CpuId(0) {
        create(m, 1);
        m.other_space().create(m).expect("the machine has a frame for the root");
    }
    m.user_space().switch_to(m);
}

/// Runs something else for a while and comes back.
pub(super) fn go_and_return(m: &Sim) {
    m.stop_user();
    m.other_space().switch_to(m);
    return_to_user(m);
}
