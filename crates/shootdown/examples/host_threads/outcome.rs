//! What came of a run of [`calls`](super::calls::calls), and what must have come of it.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use shootdown::Counter;

use super::{
    host::{Host, N_CPUS},
    ledger::Tally,
};

/// What came of a run.
pub(crate) struct Outcome {
    pub(crate) host: Arc<Host>,
    pub(crate) tally: &'static Tally,
    /// Times that a CPU went away.
    pub(crate) n_journeys: u64,
    /// Calls by interrupt handlers, besides those that were asked for.
    pub(crate) n_in_handlers: u64,
    /// Masked sections that a rendezvous did not wait for.
    pub(crate) n_overtaken: u64,
    /// Holds of a lock that the next holder did not see.
    pub(crate) n_unlocked: u64,
    /// Notices that were never heard.
    pub(crate) n_unheard: u64,
}

impl Outcome {
    /// Checks that everything was as it must be, and that the run has been where it matters.
    pub(crate) fn assert_clean(&self) {
        let Tally { n_missed, n_lost, n_surplus, .. } = self.tally;
        for (what, n_wrong) in [
            ("call was lost", n_lost.load(Relaxed)),
            ("call was run that nobody waited for any more", n_surplus.load(Relaxed)),
            ("masked section was overtaken by a rendezvous", self.n_overtaken),
            ("lock was held by two", self.n_unlocked),
            ("notice was not heard", self.n_unheard),
            ("CPU waited for ever", self.host.n_hung()),
        ] {
            assert_eq!(n_wrong, 0, "a {what}; {}", self.host.command());
        }
        for (what, times) in [
            ("CPU went away", self.n_journeys),
            ("interrupt handler made a call", self.n_in_handlers),
            ("call was taken back", n_missed.load(Relaxed)),
            ("interrupt was spared", self.host.counted(Counter::KickCoalesced)),
            ("interrupt came too late", self.host.counted(Counter::KickUseless)),
            ("wait was not over at once", self.host.counted(Counter::WaitRound)),
        ] {
            assert!(times > 0, "no {what}; {}", self.host.command());
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { host, tally, n_journeys, n_in_handlers, .. } = self;
        let (n_rounds, longest) = host.longest_wait();
        writeln!(f, "  calls by interrupt handlers besides: {n_in_handlers}")?;
        writeln!(f, "  times that one of {N_CPUS} CPUs went away and came back: {n_journeys}")?;
        writeln!(f, "  work done: {:?}; not done by CPUs that were away: {:?}", tally.n_done, tally.n_missed)?;
        for (name, counter) in [
            ("requests", Counter::RemoteRequest),
            ("interrupts sent", Counter::Kick),
            ("interrupts spared, since one was on its way", Counter::KickCoalesced),
            ("interrupts received", Counter::KickReceived),
            ("interrupts received with nothing to do", Counter::KickUseless),
            ("rounds of waiting", Counter::WaitRound),
        ] {
            writeln!(f, "  {name}: {}", host.counted(counter))?;
        }
        write!(f, "  longest wait: {} ms; most rounds of one: {n_rounds}", longest.as_millis())
    }
}
