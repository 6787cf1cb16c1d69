//! A device: what it does, and how CPUs tell it.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use shootdown::{
    Invalidate, Machine, Modify, SpaceId, TableFrame,
    notify::{DeviceQueue, Event, Registration},
};
use shootdown_sim::smp::Config;

use super::super::script::TWO_CPUS;
use crate::{machine::Sim, scenario::Heard};

/// A CPU, and a device that caches pointers to tables.
pub(super) const CPU_AND_DEVICE: Config = Config { caches_walks: true, ..TWO_CPUS };

/// An IOMMU that is told in flushes, and waited for.
pub(super) const IOMMU: &[Heard] = &[Heard::Secondary(hear)];

/// Where commands are, four bits each, the first one lowest; what the device has written; and that it is to come to its end.
const COMMANDS: usize = 0;
const REACHED: usize = 1;
const STOP: usize = 2;

/// Commands. Anything larger is a sync, with its number.
const INVALIDATE: u64 = 1;
const LEAVE: u64 = 2;

/// The device's queue.
pub(super) struct Queue;

impl DeviceQueue<Sim> for Queue {
    type Command = u64;

    fn push(&self, m: &Sim, command: u64) {
        let waiting = m.scratch(COMMANDS).load(m, Relaxed);
        let place = (u64::BITS - waiting.leading_zeros()).next_multiple_of(4);
        m.scratch(COMMANDS).update(m, Modify::Or(command << place), Release);
    }

    fn push_sync(&self, m: &Sim, number: u64) {
        self.push(m, LEAVE + number);
    }

    fn reached(&self, m: &Sim) -> u64 {
        m.scratch(REACHED).load(m, Acquire)
    }
}

/// Queues an invalidation of all that the device has, and waits for it.
pub(super) fn invalidate(m: &Sim) {
    m.syncs().push(m, &Queue, INVALIDATE);
    m.syncs().wait(m, &Queue);
}

fn hear(m: &Sim, event: Event) {
    match event {
        Event::Stricter { .. } | Event::Looser { .. } | Event::Kernel { .. } => invalidate(m),
        Event::Ended { .. } => {
            m.syncs().push(m, &Queue, LEAVE);
            m.syncs().wait(m, &Queue);
        }
    }
}

/// Lets the device listen, and tell nobody that it was registered.
pub(super) fn attach(m: &Sim) {
    Registration::new(m, 0).attach(m, m.user_space()).expect("it has not ended");
}

/// Lets this CPU, which is the device, walk tables.
pub(super) fn walk(m: &Sim, root: TableFrame) {
    m.load_root(Some((root, SpaceId(0))));
}

/// The root of the address space that the device uses.
pub(super) fn root(m: &Sim) -> TableFrame {
    m.user_space().lock(m).root().expect("it was created")
}

/// The device performs what is in its queue, and `uses` memory, until it is to stop.
pub(super) fn run_device(m: &Sim, uses: impl Fn(&Sim) + Sync) {
    m.spin(|m| {
        perform_next(m);
        uses(m);
        (m.scratch(STOP).load(m, Acquire) != 0).then_some(())
    });
}

fn perform_next(m: &Sim) {
    let n_performed = m.owned().get(m);
    let command = m.scratch(COMMANDS).load(m, Acquire) >> (4 * n_performed) & 0xf;
    match command {
        0 => return,
        INVALIDATE => {
            m.invalidate(Invalidate::All);
            m.complete();
        }
        LEAVE => m.load_root(None),
        sync => m.scratch(REACHED).store(m, sync - LEAVE, Release),
    }
    m.owned().set(m, n_performed + 1);
}

pub(super) fn stop_device(m: &Sim) {
    m.scratch(STOP).store(m, 1, Release);
}
