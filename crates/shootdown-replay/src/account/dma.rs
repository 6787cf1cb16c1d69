//! What a device was told, and what it could do that it must not.

use serde::Serialize;
use shootdown_sim::sequential::{Architecture, Sequential, StaleKind, Told};

use crate::{
    account::{by_cause::ByCause, cause::Cause},
    process::device::Device,
};

/// The account of a device that does what the processes do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceReport {
    /// The device.
    pub name: &'static str,
    /// How often it touched a page.
    pub touches: u64,
    /// How often it was told to forget translations that are gone, or permit less now.
    pub less: ByCause<u64>,
    /// How often it was told to forget translations that permit more now.
    pub more: ByCause<u64>,
    /// How often it was told that an address space has ended.
    pub ended: ByCause<u64>,
    /// How often it could still use a translation that it must not.
    pub stale_dma: u64,
    /// How often it remembered that it may not do what it may: it would have tried for ever.
    pub stuck: u64,
}

/// Adds up a [`DeviceReport`].
#[derive(Debug)]
pub(crate) struct DeviceCounter {
    report: DeviceReport,
    told: Told,
}

impl DeviceCounter {
    pub(crate) fn new(device: Device) -> Self {
        let report = DeviceReport {
            name: device.name(),
            touches: 0,
            less: ByCause::default(),
            more: ByCause::default(),
            ended: ByCause::default(),
            stale_dma: 0,
            stuck: 0,
        };
        DeviceCounter { report, told: Told::default() }
    }

    /// Gives what the device was told since the last time to a cause.
    pub(crate) fn attribute<A: Architecture>(&mut self, machine: &Sequential<A>, cause: Cause) {
        let (was, now) = (self.told, machine.told());
        self.report.less[cause] += now.stricter - was.stricter;
        self.report.more[cause] += now.looser - was.looser;
        self.report.ended[cause] += now.ended - was.ended;
        self.told = now;
    }

    /// Counts something that the device could do and must not, or the other way round.
    pub(crate) fn found(&mut self, kind: StaleKind) {
        match kind {
            StaleKind::RemembersLess => self.report.stuck += 1,
            _ => self.report.stale_dma += 1,
        }
    }

    pub(crate) fn finish<A: Architecture>(self, machine: &Sequential<A>) -> DeviceReport {
        DeviceReport { touches: machine.n_touches(), ..self.report }
    }
}
