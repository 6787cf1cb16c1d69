//! What a scenario is: a short script for each CPU, and why it is worth exploring.

use std::fmt;

use shootdown::{
    CpuId, Departure, Fix, Tagging, VpnRange,
    call::{self, Notice, Work},
    kspace::Absence,
    notify::Event,
    walk::Walkers,
};
use shootdown_sim::smp::Config;

use crate::{machine::Sim, reach::Reach};

/// A script for a few CPUs.
///
/// One idea each: what two scenarios show separately is explored in a fraction of the states that one for both needs.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name on command lines and in schedules.
    pub name: &'static str,
    /// What could go wrong, in one sentence.
    pub goal: &'static str,
    /// How the script forces it, in one sentence.
    pub method: &'static str,
    /// The machine it runs on.
    pub machine: Config,
    /// Makes the initial state; runs on one CPU after the other, to the end and without interleaving.
    pub setup: fn(&Sim),
    /// What each CPU does.
    pub main: fn(&Sim),
    /// What each CPU does when it takes a kick.
    pub handler: fn(&Sim),
    /// What each CPU does when its timer ticks, on machines whose timers do.
    pub tick: fn(&Sim),
    /// What the scenario's own calls do on their target.
    pub work: fn(&Sim, Work),
    /// What each CPU does when it is given a notice.
    pub noticed: fn(&Sim, Notice),
    /// CPUs depart while others run.
    pub cpus_come_and_go: bool,
    /// CPUs make each other forget translations without interrupts. The machine must have tags: each address space has one,
    /// the same on every CPU.
    pub broadcasts: bool,
    /// How tags are handed out, on a machine that has some.
    pub tagging: Tagging,
    /// What becomes of a CPU's residency bit when it switches away.
    pub departure: Departure,
    /// Who walks tables without a lock.
    pub walkers: Walkers,
    /// What is done for kernel addresses about CPUs that remember absence.
    pub absence: Absence,
    /// Who besides CPUs keeps translations, by number.
    pub listeners: &'static [Heard],
    /// What must happen at least once, with all fixes kept.
    pub reaches: &'static [Reach],
    /// Fixes that, each left out alone, make this scenario fail, and how.
    pub proves: &'static [Proof],
}

/// What a listener does.
#[derive(Clone, Copy)]
pub enum Heard {
    /// A secondary TLB, told in flushes.
    Secondary(fn(&Sim, Event)),
    /// One that is told of ranges.
    Range {
        /// Before a change.
        begin: fn(&Sim, VpnRange),
        /// After it.
        end: fn(&Sim, VpnRange),
    },
}

/// A fix, and what goes wrong in a scenario without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The fix.
    pub fix: Fix,
    /// The [kind](crate::Failure::kind) of the failure with the fewest acts, as `stale-at-free`.
    pub failure: &'static str,
    /// The window is so narrow that random schedules seldom find it.
    pub is_narrow: bool,
}

impl Proof {
    /// Says that without `fix` the scenario fails with this kind of failure.
    #[must_use]
    pub const fn of(fix: Fix, failure: &'static str) -> Self {
        Proof { fix, failure, is_narrow: false }
    }

    /// The same, and that tens of thousands of random schedules may find nothing: it is for the graph driver.
    #[must_use]
    pub const fn narrow(fix: Fix, failure: &'static str) -> Self {
        Proof { is_narrow: true, ..Proof::of(fix, failure) }
    }
}

impl Scenario {
    /// Two CPUs that do nothing but serve their inboxes: where other scenarios begin.
    pub const BLANK: Scenario = Scenario {
        name: "",
        goal: "",
        method: "",
        machine: Config::with_cpus(2),
        setup: |_| {},
        main: |_| {},
        handler: call::handle_kick,
        tick: call::on_interrupt_exit,
        work: |_, _| {},
        noticed: |_, _| {},
        cpus_come_and_go: false,
        broadcasts: false,
        tagging: Tagging::Untagged,
        departure: Departure::ClearsBit,
        walkers: Walkers::None,
        absence: Absence::Forgotten,
        listeners: &[],
        reaches: &[],
        proves: &[],
    };

    /// Returns how it fails without `fix`, if it proves that.
    #[must_use]
    pub fn proof_of(&self, fix: Fix) -> Option<Proof> {
        self.proves.iter().copied().find(|proof| proof.fix == fix)
    }

    /// Returns its CPUs.
    pub fn cpus(&self) -> impl Iterator<Item = CpuId> + use<> {
        (0..self.machine.cpus as u16).map(CpuId)
    }
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scenario").field("name", &self.name).finish_non_exhaustive()
    }
}
