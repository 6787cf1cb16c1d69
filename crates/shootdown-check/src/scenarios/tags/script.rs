//! What scripts about tags have in common.

use shootdown_sim::smp::Config;

pub(super) const TWO_TAGGED_CPUS: Config = Config { has_tags: true, ..Config::with_cpus(2) };
