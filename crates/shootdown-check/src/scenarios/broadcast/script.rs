//! What scripts about broadcasts have in common.

use shootdown::Attributes;
use shootdown_sim::smp::Config;

/// Each address space has a tag, and what is remembered under it stays until a broadcast names it.
pub(super) const TWO_BROADCASTING_CPUS: Config = Config { has_tags: true, ..Config::with_cpus(2) };

/// Hardware has nothing left to write into such an entry, so it is cleared by a plain store, which may be late.
pub(super) const USED: Attributes = Attributes { dirty: true, ..Attributes::USER_WRITE };
