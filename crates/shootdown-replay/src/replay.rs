//! A whole replay: a recording in, a report out.

use shootdown::{
    Counter, Fix, Machine,
    arch::{alpha::Alpha, x86_64::X86_64},
};
use shootdown_recording::{Detail, Event, EventKind, Header, Place, ReadError, Recording};
use shootdown_sim::sequential::{Architecture, Holder, MAX_CPUS, Sequential};

use crate::{
    account::by_cause::ByCause,
    account::cause::Cause,
    account::cause_tracker::CauseTracker,
    account::compared::Compared,
    account::cost::CostModel,
    account::cpu_time::CpuTime,
    account::dma::DeviceCounter,
    account::offenders::{Grouping, Tally},
    account::report::{MAX_VIOLATIONS, Report, SCHEMA, Violation},
    account::residual::ResidualCounter,
    account::timeline::TimelineCounter,
    account::truth::RecordedCounter,
    process::device::Device,
    process::hardware::Hardware,
    process::placement::Placement,
    process::profile::Profile,
    process::simulation::{Played, Simulation},
    process::unplayable::Unplayable,
};

/// How to replay.
#[derive(Clone, Debug)]
pub struct Options {
    /// The machine to simulate.
    pub machine: Hardware,
    /// The kernel to imitate.
    pub profile: Profile,
    /// Where tasks run.
    pub placement: Placement,
    /// Fixes to leave out.
    pub without: Vec<Fix>,
    /// A device that does what the processes do.
    pub device: Option<Device>,
    /// Whom to name with what they cause.
    pub by: Vec<Grouping>,
    /// Whether to tell when it happened.
    pub timeline: bool,
    /// The prices by which to estimate what it costs.
    pub cost: Option<CostModel>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            machine: Hardware::RECORDED,
            profile: Profile::LINUX_6_18,
            placement: Placement::AsRecorded,
            without: Vec::new(),
            device: None,
            by: Vec::new(),
            timeline: false,
            cost: None,
        }
    }
}

/// Why a replay could not be finished. There is no report then: half a recording is not the recording.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The recording cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// An event names a CPU that the simulated machine does not have.
    #[error(
        "{recording}: event {event} is on CPU {cpu}; expected a CPU below {limit}, \
         the most a simulated machine has (--cpus N spreads tasks over N CPUs)"
    )]
    TooManyCpus {
        /// The recording's workload.
        recording: String,
        /// The event's number, from 1.
        event: u64,
        /// The CPU.
        cpu: u16,
        /// CPUs a simulated machine can have.
        limit: usize,
    },
    /// The simulated machine ran out of frames.
    #[error("{recording}: event {event}: the simulated machine is out of memory")]
    OutOfMemory {
        /// The recording's workload.
        recording: String,
        /// The event's number, from 1.
        event: u64,
    },
    /// The simulated machine has a smaller address space than the recorded one, and the recording uses too much of it.
    #[error(
        "{place}: no room for address {address:#x} on {machine}, whose address space is smaller: with it, a region of \
         addresses would be longer than what is left or run into another; expected a recording with fewer or shorter \
         regions, or --machine {}", Hardware::RECORDED.name()
    )]
    NoRoom {
        /// The file and the line.
        place: Place,
        /// The recorded address.
        address: u64,
        /// The machine's name.
        machine: &'static str,
    },
}

/// Replays `recording`. `progress` hears now and then how many bytes of it have been used up.
///
/// # Errors
/// [`ReplayError`], at the first event that cannot be read or played.
///
/// # Panics
/// If the placement is [`Placement::Spread`] over no CPU or over more than [`MAX_CPUS`].
pub fn replay(recording: Recording, options: &Options, progress: impl FnMut(u64)) -> Result<Report, ReplayError> {
    // From here on the machine is a type: nothing is looked up while events are played.
    match options.machine {
        Hardware::X86_64 => replay_on::<X86_64>(recording, options, progress),
        Hardware::Alpha => replay_on::<Alpha>(recording, options, progress),
    }
}

fn replay_on<A: Architecture>(
    mut recording: Recording,
    options: &Options,
    mut progress: impl FnMut(u64),
) -> Result<Report, ReplayError> {
    let header = recording.header().clone();
    let n_cpus = match options.placement {
        Placement::AsRecorded => MAX_CPUS,
        Placement::Spread { n_cpus } => usize::from(n_cpus),
    };
    let Profile { masks, end_of_walks, .. } = options.profile;
    let machine = Sequential::<A>::new(n_cpus, &options.without).with_masks(masks).with_end_of_walks(end_of_walks);
    let machine = match options.device {
        None => machine,
        Some(Device::Iommu) => machine.with_iommu(),
    };
    let out_of_memory = |event| ReplayError::OutOfMemory { recording: header.workload.clone(), event };
    let simulation = Simulation::new(machine, options.placement, options.profile.habits, (header.root, header.detail))
        .map_err(|_| out_of_memory(0))?;
    let mut account = Account::new(simulation, options);
    while let Some(event) = recording.next() {
        let event = event?;
        if options.placement == Placement::AsRecorded
            && header.detail == Detail::Full
            && usize::from(event.cpu.0) >= n_cpus
        {
            let (event, cpu) = (account.n_events + 1, event.cpu.0);
            return Err(ReplayError::TooManyCpus { recording: header.workload, event, cpu, limit: n_cpus });
        }
        account.take(&event).map_err(|unplayable| match unplayable {
            Unplayable::OutOfMemory => out_of_memory(account.n_events),
            Unplayable::NoRoom { address } => {
                ReplayError::NoRoom { place: recording.place(), address, machine: options.machine.name() }
            }
        })?;
        if account.n_events.is_multiple_of(PROGRESS_EVENTS) {
            progress(recording.position());
        }
    }
    Ok(account.report(header, options))
}

const PROGRESS_EVENTS: u64 = 4096;

/// What has been counted so far.
struct Account<A: Architecture> {
    simulation: Simulation<A>,
    profile: Profile,
    causes: CauseTracker,
    recorded: RecordedCounter,
    residual: ResidualCounter,
    tally: Tally,
    timeline: Option<TimelineCounter>,
    cpu_time: Option<CpuTime>,
    flushes: ByCause<u64>,
    remote: ByCause<u64>,
    counted: (u64, u64),
    n_events: u64,
    n_lost: u64,
    last_ns: u64,
    n_stale: u64,
    device: Option<DeviceCounter>,
    violations: Vec<Violation>,
}

impl<A: Architecture> Account<A> {
    fn new(simulation: Simulation<A>, options: &Options) -> Self {
        Account {
            simulation,
            profile: options.profile,
            causes: CauseTracker::default(),
            recorded: RecordedCounter::default(),
            residual: ResidualCounter::default(),
            tally: Tally::new(&options.by),
            timeline: options.timeline.then(TimelineCounter::new),
            cpu_time: options.cost.is_some().then(CpuTime::default),
            flushes: ByCause::default(),
            remote: ByCause::default(),
            counted: (0, 0),
            n_events: 0,
            n_lost: 0,
            last_ns: 0,
            n_stale: 0,
            device: options.device.map(DeviceCounter::new),
            violations: Vec::new(),
        }
    }

    fn take(&mut self, event: &Event) -> Result<(), Unplayable> {
        self.n_events += 1;
        self.last_ns = event.at_ns;
        if let EventKind::Lost { n_events } = event.kind {
            self.n_lost = self.n_lost.saturating_add(n_events);
        }
        let cause = self.causes.observe(event);
        self.recorded.observe(event, cause);
        if let Some(cpu_time) = &mut self.cpu_time {
            cpu_time.observe(event);
        }
        let place = self.tally.is_wanted().then(|| self.simulation.whereabouts(event));
        let played = self.simulation.play(event)?;
        let mut n_flushes = self.attribute(cause);
        if played == Played::Exec {
            self.flushes[Cause::Exec] += self.profile.flushes_per_exec;
            n_flushes += self.profile.flushes_per_exec;
        }
        self.residual.observe(event, cause, n_flushes);
        self.note_when(event, played);
        if let Some(place) = place {
            self.tally.attribute(self.simulation.machine(), place);
        }
        self.note_stale();
        Ok(())
    }

    /// Gives what the library counted since the last event to this one's cause; returns how many flush operations.
    fn attribute(&mut self, cause: Cause) -> u64 {
        let machine = self.simulation.machine();
        // A request so that walks end is no flush.
        let n_remote = machine.counter(Counter::RemoteRequest) - machine.counter(Counter::QuiescenceRequest);
        let now = (machine.counter(Counter::FlushLocal), n_remote);
        let n_flushes = now.0 - self.counted.0;
        self.flushes[cause] += n_flushes;
        self.remote[cause] += now.1 - self.counted.1;
        self.counted = now;
        if let Some(device) = &mut self.device {
            device.attribute(machine, cause);
        }
        n_flushes
    }

    fn note_when(&mut self, event: &Event, played: Played) {
        let Some(timeline) = &mut self.timeline else {
            return;
        };
        let machine = self.simulation.machine();
        timeline.set_time(event.at_ns);
        timeline.predicted(machine, self.simulation.n_cpus());
        if played == Played::Exec {
            timeline.predicted_besides(machine.cpu(), self.profile.flushes_per_exec);
        }
        timeline.recorded(self.recorded.counts(), event.cpu);
    }

    fn note_stale(&mut self) {
        let found = self.simulation.machine().take_stale_accesses();
        for stale in &found {
            match &mut self.device {
                Some(device) if stale.holder == Holder::Device => device.found(stale.kind),
                _ => self.n_stale += 1,
            }
        }
        let room = MAX_VIOLATIONS.saturating_sub(self.violations.len());
        self.violations.extend(found.iter().take(room).map(|stale| Violation::new::<A>(self.n_events, stale)));
    }

    fn report(self, header: Header, options: &Options) -> Report {
        let machine = self.simulation.machine();
        let recorded = self.recorded.counts();
        // Where only calls were recorded, nobody knows who ran when.
        let cpu_time = self.cpu_time.filter(|_| header.detail == Detail::Full);
        let cost = |model: &CostModel| {
            model.estimate(|counter| machine.counter(counter), cpu_time.as_ref().map(CpuTime::seconds))
        };
        let missing = header.missing().map(str::to_owned).collect();
        Report {
            schema: SCHEMA,
            recording: header.workload,
            machine: options.machine.name(),
            recorded_machine: Hardware::RECORDED.name(),
            profile: self.profile.name,
            without: options.without.iter().map(|fix| fix.name()).collect(),
            cpus: self.simulation.n_cpus(),
            events: self.n_events,
            detail: header.detail.name(),
            missing,
            lost_events: self.n_lost,
            tasks: self.simulation.n_tasks(),
            address_spaces: self.simulation.n_spaces(),
            seconds: self.last_ns as f64 / 1e9,
            flushes: Compared { predicted: self.flushes, recorded: recorded.flushes },
            remote: Compared { predicted: self.remote, recorded: recorded.remote },
            table_syncs: Compared {
                predicted: machine.counter(Counter::QuiescenceRequest),
                recorded: recorded.table_syncs,
            },
            residual: self.residual.finish(),
            gathers: machine.counter(Counter::Gather),
            pages_freed: machine.n_frames_freed(),
            tables_freed: machine.n_tables_freed(),
            stale_accesses: self.n_stale,
            violations: self.violations,
            device: self.device.map(|device| device.finish(machine)),
            by: self.tally.finish(machine, self.simulation.n_cpus()),
            cost: options.cost.as_ref().map(cost),
            timeline: self.timeline.map(|timeline| timeline.finish(self.simulation.n_cpus())),
        }
    }
}
