//! The scenarios, one idea to a file.

mod calling_handler;
mod full_flush;
mod lazy;
mod leave_2cpu;
mod mutual_shootdown;
mod refused_batch;
mod script;
mod switch_2cpu;
mod switch_back_2cpu;
mod two_senders;
mod unmap_2cpu;
mod unmap_3cpu;
mod unmap_tables_2cpu;

use crate::scenario::Scenario;

/// All scenarios.
pub static ALL: [&Scenario; 17] = [
    &unmap_2cpu::UNMAP_2CPU,
    &unmap_3cpu::UNMAP_3CPU,
    &unmap_tables_2cpu::UNMAP_TABLES_2CPU,
    &mutual_shootdown::OPEN,
    &mutual_shootdown::HALF_MASKED,
    &mutual_shootdown::MASKED,
    &refused_batch::REFUSED_BATCH,
    &lazy::LEAF,
    &lazy::TABLE,
    &lazy::ARRIVAL,
    &full_flush::FULL_FLUSH,
    &switch_2cpu::SWITCH_2CPU,
    &switch_back_2cpu::SWITCH_BACK_2CPU,
    &leave_2cpu::LEAVE,
    &leave_2cpu::SWITCH_AWAY,
    &two_senders::TWO_SENDERS,
    &calling_handler::CALLING_HANDLER,
];

/// Returns the scenario of this name.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Scenario> {
    ALL.into_iter().find(|scenario| scenario.name == name)
}
