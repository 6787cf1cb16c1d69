//! What a replay found.

use serde::Serialize;
use shootdown::EntryFormat;
use shootdown_sim::sequential::{Holder, StaleAccess};

use crate::account::{
    by_cause::ByCause, compared::Compared, cost::CostReport, dma::DeviceReport, offenders::Offender,
    residual::Residual, timeline::Timeline,
};

/// The version of the report's serialised form. It changes when a field changes its meaning or goes away.
pub const SCHEMA: u32 = 1;

/// At most this many violations are told one by one; all are counted.
pub(crate) const MAX_VIOLATIONS: usize = 20;

/// The account of one replay. Equal inputs give equal reports.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The recording's workload.
    pub recording: String,
    /// The simulated machine. Everything predicted is its.
    pub machine: &'static str,
    /// The machine that was recorded. Everything recorded is its, and says nothing about another.
    pub recorded_machine: &'static str,
    /// The kernel profile.
    pub profile: &'static str,
    /// Fixes that were left out.
    pub without: Vec<&'static str>,
    /// Simulated CPUs.
    pub cpus: usize,
    /// Events read, the kernel's own counts included.
    pub events: u64,
    /// How much the recorder saw: `full`, or `calls` only, which makes every prediction an upper bound.
    pub detail: &'static str,
    /// What the recorder could have seen and did not, and what is unknown therefore.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// Events that the recorder lost. If there are any, nothing here is exact.
    pub lost_events: u64,
    /// Tasks that ever were.
    pub tasks: u64,
    /// Address spaces that ever were.
    pub address_spaces: u64,
    /// Recorded time.
    pub seconds: f64,
    /// Flush operations by cause: the initiator flushes its own address space, once however many CPUs are told.
    pub flushes: Compared<ByCause<u64>>,
    /// Requests to other CPUs to flush, one for each target.
    pub remote: Compared<ByCause<u64>>,
    /// Requests to other CPUs so that their walks of page tables end, one for each target.
    pub table_syncs: Compared<u64>,
    /// The flush operations once more, compared fault by fault and call by call.
    pub residual: Residual,
    /// Gathers begun.
    pub gathers: u64,
    /// Data frames freed.
    pub pages_freed: u64,
    /// Page-table pages freed.
    pub tables_freed: u64,
    /// How often a CPU could still use a translation that it must not.
    pub stale_accesses: u64,
    /// The first of them, and of what a device could do that it must not, or the other way round.
    pub violations: Vec<Violation>,
    /// The device, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceReport>,
    /// Who causes what, if that was asked for: one grouping after the other, each with most flushes and requests first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<Offender>,
    /// When it happened, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Timeline>,
    /// What it would have cost, if prices were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<CostReport>,
}

impl Report {
    /// Returns how many violations there were, of which [`violations`](Self::violations) are the first.
    #[must_use]
    pub fn n_violations(&self) -> u64 {
        self.stale_accesses + self.device.as_ref().map_or(0, |device| device.stale_dma + device.stuck)
    }
}

/// One stale access.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The number of the event in whose course it was found, from 1.
    pub event: u64,
    /// What made it a violation.
    pub kind: &'static str,
    /// The CPU that may use the translation; nothing if it is the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u16>,
    /// The simulated address space.
    pub space: u32,
    /// The address it translates on the simulated machine.
    pub address: u64,
    /// The frame, or table, it reaches.
    pub frame: u64,
}

impl Violation {
    pub(crate) fn new<F: EntryFormat>(event: u64, stale: &StaleAccess) -> Self {
        Violation {
            event,
            kind: stale.kind.name(),
            cpu: match stale.holder {
                Holder::Cpu(cpu) => Some(cpu.0),
                Holder::Device => None,
            },
            space: stale.space.0,
            address: stale.page.address::<F>().0,
            frame: stale.frame.0,
        }
    }
}
