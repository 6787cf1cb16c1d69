//! The scenarios, one idea to a file.

mod alpha;
mod broadcast;
mod calls;
mod delayed_rmap;
mod device;
mod dirty_2cpu;
mod everything;
mod exiting;
mod full_flush;
mod kernel_space;
mod lazy;
mod leave_2cpu;
mod map_2cpu;
pub mod models;
mod mutual_shootdown;
mod pending;
mod reclaim;
mod refused_batch;
mod relocate;
mod resize;
mod script;
mod share;
pub mod soak;
mod switch_2cpu;
mod switch_back_2cpu;
mod tags;
mod two_flushers_3cpu;
mod two_gathers;
mod uncounted_area;
mod unmap_2cpu;
mod unmap_3cpu;
mod unmap_tables_2cpu;
mod walk;

use crate::scenario::Scenario;

/// All scenarios.
pub static ALL: [&Scenario; 141] = [
    &unmap_2cpu::UNMAP_2CPU,
    &unmap_3cpu::UNMAP_3CPU,
    &unmap_tables_2cpu::UNMAP_TABLES_2CPU,
    &mutual_shootdown::OPEN,
    &mutual_shootdown::HALF_MASKED,
    &mutual_shootdown::MASKED,
    &refused_batch::REFUSED_BATCH,
    &two_gathers::PAGE,
    &two_gathers::TABLE,
    &two_gathers::COLLECTED,
    &exiting::REAPER,
    &exiting::EXIT,
    &exiting::LEAVER,
    &reclaim::OWED,
    &reclaim::PAID_TOO_EARLY,
    &reclaim::BETWEEN_LOCKS,
    &reclaim::NESTED,
    &reclaim::WRITTEN_OUT,
    &uncounted_area::AREA,
    &uncounted_area::MIDWAY,
    &lazy::LEAF,
    &lazy::TABLE,
    &lazy::ARRIVAL,
    &full_flush::FULL_FLUSH,
    &switch_2cpu::SWITCH_2CPU,
    &switch_back_2cpu::SWITCH_BACK_2CPU,
    &leave_2cpu::LEAVE,
    &leave_2cpu::SWITCH_AWAY,
    &calls::two_senders::TWO_SENDERS,
    &calls::calling_handler::CALLING_HANDLER,
    &calls::mutual_calls::MUTUAL_CALLS,
    &calls::mutual_calls::THREE_CPUS,
    &calls::lock_and_call::LOCK_AND_CALL,
    &calls::lost_edge::LOST_EDGE,
    &calls::lost_edge::OVERDUE,
    &calls::lost_edge::SILENCED_3CPU,
    &calls::deferred_work::DEFERRED_WORK,
    &calls::started::STARTED,
    &calls::started::BOTH_KINDS,
    &calls::started::HANDED_OVER,
    &calls::started::NOTICED,
    &calls::departing::DEPARTING,
    &calls::departing::COMING_BACK,
    &calls::departing::EARLY_BOOT,
    &tags::returning::SLOTS,
    &tags::returning::NUMBERS,
    &tags::returning::TABLES,
    &tags::returning::LAZY,
    &tags::roll_over::ROLL_OVER,
    &tags::arriving::ARRIVING,
    &tags::kernel_flush::KERNEL_FLUSH,
    &tags::kernel_flush::ARRIVAL,
    &broadcast::unmap::UNMAP,
    &broadcast::unmap::TABLE,
    &broadcast::reclaim::OWED,
    &broadcast::reclaim::WRITTEN_OUT,
    &broadcast::switching::SWITCHING,
    &broadcast::switching::LAZY,
    &broadcast::kernel_flush::KERNEL_FLUSH,
    &broadcast::exit::LAZY,
    &broadcast::exit::NEXT,
    &alpha::UNMAP,
    &alpha::SIX_OPERATIONS,
    &map_2cpu::MAP_2CPU,
    &dirty_2cpu::UNMAP,
    &dirty_2cpu::PROTECT,
    &dirty_2cpu::WRITE_BACK,
    &delayed_rmap::DELAYED_RMAP,
    &relocate::TAKEN_AWAY,
    &relocate::WRITTEN,
    &relocate::TABLE,
    &relocate::INTO_TABLE,
    &relocate::LOOKED_FOR,
    &relocate::TABLE_GONE,
    &pending::MIGRATION,
    &pending::COPY,
    &pending::MERGE,
    &walk::INTERRUPTED,
    &walk::BROADCAST,
    &walk::ANNOUNCED,
    &walk::DEFERRED,
    &walk::TWO_WORDS,
    &walk::REUSED,
    &walk::FORKED,
    &everything::TICKS,
    &everything::TWO_CPUS,
    &everything::THREE_CPUS,
    &everything::THREE_CPUS_WITH_MAY_SETS,
    &two_flushers_3cpu::TWO_FLUSHERS_3CPU,
    &models::UNMAP_LEAVE_3CPU,
    &resize::COLLAPSE,
    &resize::COLLAPSE_UNDER_WALK,
    &resize::COLLAPSE_PINNED,
    &resize::RETRACT,
    &resize::RETRACT_UNDER_FAULT,
    &resize::SPLIT,
    &kernel_space::map::MAP,
    &kernel_space::map::X86,
    &kernel_space::map::ALPHA,
    &kernel_space::map::TOLD,
    &kernel_space::map::LOOKED_AT_AGAIN,
    &kernel_space::reuse::REUSE,
    &kernel_space::reuse::OLDER_FLUSH,
    &kernel_space::reuse::X86,
    &kernel_space::reuse::ALPHA,
    &kernel_space::grow::GROW,
    &kernel_space::grow::BESIDE_CREATION,
    &kernel_space::grow::TOLD,
    &kernel_space::block::FULL,
    &kernel_space::block::TWO_DRAINS,
    &kernel_space::block::REUSE,
    &kernel_space::block::MEANWHILE,
    &kernel_space::large::WALKED,
    &kernel_space::large::BROADCAST,
    &kernel_space::large::AND_BACK,
    &device::unmap::PAGE,
    &device::unmap::TABLE,
    &device::unmap::UPGRADE,
    &device::unmap::KERNEL_TABLE,
    &device::unmap::EXIT,
    &device::queue::SYNC,
    &device::attach::COMING,
    &device::attach::GOING,
    &device::guest::SHADOW,
    &device::guest::EXIT,
    &device::dma::PINNED,
    &device::domain::DOMAIN,
    &device::domain::PAGE_REQUEST,
    &share::flush::LEAVE,
    &share::flush::LEAVE_BY_BROADCAST,
    &share::flush::LAZY,
    &share::race::BOTH_LEAVE,
    &share::race::BOTH_SHARE,
    &share::split::SPLIT,
    &share::walk::INTERRUPTED,
    &share::walk::BROADCAST,
    &share::walk::ANNOUNCED,
    &share::walk::THREE_SHARERS,
    &share::walk::WITHOUT_ROOM,
    &share::count::TWO_TABLES,
    &share::count::NOT_LAST,
];

/// Returns all scenarios, and after them the models of others' protocols.
pub fn all_and_models() -> impl Iterator<Item = &'static Scenario> {
    ALL.into_iter().chain(models::ALL)
}

/// Tells whether a scenario is a model of somebody else's protocol.
#[must_use]
pub fn is_model(scenario: &Scenario) -> bool {
    models::ALL.iter().any(|model| model.name == scenario.name)
}

/// Tells whether a scenario is expected to pass: one of the library, or a model of a protocol that does what it is for.
#[must_use]
pub fn must_hold(scenario: &Scenario) -> bool {
    !is_model(scenario) || models::HOLDING.iter().any(|model| model.name == scenario.name)
}

/// Returns the scenario or model of this name, or the one of [`soak`].
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Scenario> {
    all_and_models().chain(soak::ALL).find(|scenario| scenario.name == name)
}
