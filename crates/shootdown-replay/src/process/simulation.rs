//! The recorded machine's processes, played on the simulated one.
//!
//! Owns tasks, address spaces and who runs where, and turns each event into operations of `shootdown-mm`. What the kernel
//! itself flushed (`T` and `I` lines) never reaches it.

use rustc_hash::FxHashMap;
use shootdown::{CpuId, Machine, SpaceId, notify::Registration};
use shootdown_mm::{AddressSpace, Habits, Memory};
use shootdown_sim::sequential::{Architecture, IOMMU, Sequential};

use shootdown_recording::{Actor, Detail, Event, EventKind, PreviousState, RecordedCpu, Syscall, TaskId};

use crate::{
    account::offenders::{self, Whereabouts},
    process::calls::{self, Call},
    process::faults,
    process::place::{Addresses, Files, Place, Segments},
    process::placement::{Cpus, Doing, Placement},
    process::touch,
    process::unplayable::Unplayable,
};

/// `CLONE_VM`: the new task shares the address space.
const CLONE_VM: u64 = 0x100;

/// A recorded task.
#[derive(Debug)]
struct Task {
    space: SpaceId,
    call: Option<Call>,
    is_exiting: bool,
}

struct Process<A: Architecture> {
    memory: AddressSpace<Sequential<A>>,
    addresses: Addresses<A>,
    leader: TaskId,
    n_tasks: usize,
}

/// All processes of a recording on a simulated machine.
pub(crate) struct Simulation<A: Architecture> {
    machine: Sequential<A>,
    // Whose device may use every address space, if the machine has one.
    iommu: Option<Registration>,
    memory: Memory<Sequential<A>, Files>,
    segments: Segments,
    processes: FxHashMap<SpaceId, Process<A>>,
    tasks: FxHashMap<TaskId, Task>,
    cpus: Cpus,
    // How many CPUs take part, from CPU 0 on.
    n_arrived: u16,
    habits: Habits,
    detail: Detail,
    n_tasks: u64,
    n_spaces: u64,
}

impl<A: Architecture> Simulation<A> {
    pub(crate) fn new(
        machine: Sequential<A>,
        placement: Placement,
        habits: Habits,
        (root, detail): (TaskId, Detail),
    ) -> Result<Self, Unplayable> {
        let cpus = Cpus::new(placement, detail, machine.n_cpus());
        let iommu = machine.has_listeners().then(|| Registration::new(&machine, IOMMU));
        let mut simulation = Simulation {
            machine,
            iommu,
            memory: Memory::with_storage(Files),
            segments: Segments::default(),
            processes: FxHashMap::default(),
            tasks: FxHashMap::default(),
            cpus,
            n_arrived: 0,
            habits,
            detail,
            n_tasks: 0,
            n_spaces: 0,
        };
        if let Placement::Spread { n_cpus } = placement {
            simulation.bring_up(n_cpus);
        }
        let space = simulation.new_process(root)?;
        simulation.new_task(root, space);
        Ok(simulation)
    }

    pub(crate) const fn machine(&self) -> &Sequential<A> {
        &self.machine
    }

    pub(crate) const fn n_tasks(&self) -> u64 {
        self.n_tasks
    }

    pub(crate) const fn n_spaces(&self) -> u64 {
        self.n_spaces
    }

    pub(crate) fn n_cpus(&self) -> usize {
        self.cpus.n_cpus()
    }

    /// Says where an event happens, before it is played.
    pub(crate) fn whereabouts(&self, event: &Event) -> Whereabouts {
        let task = event.actor.task().and_then(|id| self.tasks.get(&id));
        let process = task.and_then(|task| self.processes.get(&task.space)).map(|process| process.leader);
        let call = task.and_then(|task| task.call);
        let doing = match call {
            Some(call) => offenders::Doing::Call(call.call),
            None if task.is_some_and(|task| task.is_exiting) => offenders::Doing::Exit,
            None => offenders::Doing::Fault,
        };
        let address = match event.kind {
            EventKind::Fault { address, .. } => Some(address),
            EventKind::SyscallExit { result, .. } => call.and_then(|call| calls::address(call, result)),
            _ => None,
        };
        Whereabouts { process, doing, address }
    }

    /// Plays one event; tells whether it completed an `execve`.
    pub(crate) fn play(&mut self, event: &Event) -> Result<Played, Unplayable> {
        self.machine.set_time(event.at_ns);
        if let EventKind::FlushTruth { .. } | EventKind::CallTruth { .. } | EventKind::Lost { .. } = event.kind {
            return Ok(Played::Usual);
        }
        if event.cpu.0 >= self.n_arrived && self.cpus.are_recorded() {
            self.bring_up(event.cpu.0 + 1);
        }
        match event.kind {
            EventKind::Switch { next, previous } => self.switch(event.actor, previous, next, event.cpu),
            _ => {
                if let Some(task) = event.actor.task() {
                    return self.play_for(task, event);
                }
            }
        }
        Ok(Played::Usual)
    }

    fn play_for(&mut self, id: TaskId, event: &Event) -> Result<Played, Unplayable> {
        // An idle CPU may emit nothing when it leaves idle: whoever does something there is running there.
        self.run(id, event.cpu);
        match event.kind {
            EventKind::SyscallEntry { call, args } => self.enter_call(id, Call { call, args }),
            EventKind::SyscallExit { call, result } => self.leave_call(id, call, result)?,
            EventKind::NewTask { child, flags } => self.create_task(id, child, flags)?,
            EventKind::Exec => {
                self.begin_program(id)?;
                return Ok(Played::Exec);
            }
            EventKind::TornDown => self.tear_down(id)?,
            EventKind::Exit => self.exit(id, event.cpu),
            EventKind::Fault { address, from, access } => {
                if faults::begins_new_stack(from, access) && self.is_executing(id) && self.shares_process(id) {
                    self.begin_program(id)?;
                }
                self.on_process(id, |place| faults::resolve(place, address, access))?;
            }
            EventKind::Switch { .. }
            | EventKind::FlushTruth { .. }
            | EventKind::CallTruth { .. }
            | EventKind::Lost { .. } => {}
        }
        Ok(Played::Usual)
    }

    fn process_of(&self, id: TaskId) -> Option<&Process<A>> {
        self.processes.get(&self.tasks.get(&id)?.space)
    }

    fn shares_process(&self, id: TaskId) -> bool {
        self.process_of(id).is_some_and(|process| process.n_tasks > 1)
    }

    fn place<'a>(&'a self, process: &'a Process<A>) -> Place<'a, A> {
        let Simulation { machine, memory, segments, .. } = self;
        Place { machine, memory, segments, space: &process.memory, addresses: &process.addresses }
    }

    /// Runs one operation on a task's address space and lets the machine look whether it was complete.
    fn on_process(
        &self,
        id: TaskId,
        operate: impl FnOnce(Place<'_, A>) -> Result<(), Unplayable>,
    ) -> Result<(), Unplayable> {
        let Some(process) = self.process_of(id) else {
            return Ok(());
        };
        operate(self.place(process))?;
        self.machine.operation_returned(process.memory.id());
        Ok(())
    }

    // Syscalls.

    fn enter_call(&mut self, id: TaskId, call: Call) {
        if let Some(task) = self.tasks.get_mut(&id).filter(|task| !task.is_exiting) {
            task.call = Some(call);
        }
    }

    fn leave_call(&mut self, id: TaskId, call: Syscall, result: i64) -> Result<(), Unplayable> {
        // A new task leaves its parent's call without having entered it.
        let Some(entered) = self.tasks.get_mut(&id).and_then(|task| task.call.take()) else {
            return Ok(());
        };
        if entered.call != call || result < 0 {
            return Ok(());
        }
        self.on_process(id, |place| {
            if self.detail == Detail::Calls {
                touch::before_call(place, entered, result)?;
            }
            calls::perform(place, entered, result)
        })
    }

    fn is_executing(&self, id: TaskId) -> bool {
        let call = self.tasks.get(&id).and_then(|task| task.call);
        call.is_some_and(|call| matches!(call.call, Syscall::EXECVE | Syscall::EXECVEAT))
    }

    // Tasks and processes.

    fn new_process(&mut self, leader: TaskId) -> Result<SpaceId, Unplayable> {
        let memory = AddressSpace::create(&self.machine, self.machine.new_space(), self.habits)?;
        Ok(self.add_process(memory, Addresses::default(), leader))
    }

    fn add_process(&mut self, memory: AddressSpace<Sequential<A>>, addresses: Addresses<A>, leader: TaskId) -> SpaceId {
        let id = memory.id();
        if let Some(iommu) = &self.iommu {
            self.machine.attach_device(iommu, id).expect("an address space that has just been made has not ended");
        }
        self.n_spaces += 1;
        self.processes.insert(id, Process { memory, addresses, leader, n_tasks: 0 });
        id
    }

    fn new_task(&mut self, id: TaskId, space: SpaceId) {
        self.n_tasks += 1;
        self.tasks.insert(id, Task { space, call: None, is_exiting: false });
        if let Some(process) = self.processes.get_mut(&space) {
            process.n_tasks += 1;
        }
    }

    fn create_task(&mut self, parent: TaskId, child: TaskId, flags: u64) -> Result<(), Unplayable> {
        let Some(process) = self.process_of(parent) else {
            return Ok(());
        };
        let mut space = process.memory.id();
        if flags & CLONE_VM == 0 {
            if self.detail == Detail::Calls {
                touch::before_fork(self.place(process))?;
            }
            let forked = process.memory.fork(&self.machine, &self.memory, self.machine.new_space())?;
            self.machine.operation_returned(space);
            let addresses = process.addresses.clone();
            space = self.add_process(forked, addresses, child);
        }
        self.new_task(child, space);
        Ok(())
    }

    /// Gives a task that executes a new program its empty address space, unless it has it already.
    fn begin_program(&mut self, id: TaskId) -> Result<(), Unplayable> {
        let Some(task) = self.tasks.get_mut(&id).filter(|task| task.call.is_some()) else {
            return Ok(());
        };
        // The rest of the call belongs to the new program.
        task.call = None;
        let old = task.space;
        let new = self.new_process(id)?;
        self.switch_to(id, new);
        if let Some(task) = self.tasks.get_mut(&id) {
            task.space = new;
        }
        if let Some(process) = self.processes.get_mut(&new) {
            process.n_tasks = 1;
        }
        self.leave_process(old);
        Ok(())
    }

    fn leave_process(&mut self, space: SpaceId) {
        if let Some(process) = self.processes.get_mut(&space) {
            process.n_tasks = process.n_tasks.saturating_sub(1);
        }
    }

    /// An address space has been torn down: the old one of a task that executes, or that of a task that exits.
    fn tear_down(&mut self, id: TaskId) -> Result<(), Unplayable> {
        let Some(space) = self.tasks.get(&id).map(|task| task.space) else {
            return Ok(());
        };
        if self.is_executing(id) {
            self.begin_program(id)?;
        }
        if self.processes.get(&space).is_some_and(|process| process.n_tasks == 0)
            && let Some(process) = self.processes.remove(&space)
        {
            self.stop_using(space);
            process.memory.destroy(&self.machine, &self.memory);
            self.machine.forget_space(space);
        }
        Ok(())
    }

    fn exit(&mut self, id: TaskId, recorded: RecordedCpu) {
        let cpu = self.cpus.of(id, recorded);
        let Some(task) = self.tasks.get_mut(&id).filter(|task| !task.is_exiting) else {
            return;
        };
        task.is_exiting = true;
        task.call = None;
        let space = task.space;
        self.leave_process(space);
        self.go_lazy(cpu);
        // Its end is recorded when all is torn down, which begins at once: broadcasts for shared tables come first.
        if let Some(process) = self.processes.get(&space).filter(|process| process.n_tasks == 0) {
            process.memory.begin_exit(&self.machine, &self.memory);
        }
    }

    // CPUs.

    /// Lets this many CPUs take part: calls to all reach those that the recording has shown, or all if there is a number.
    fn bring_up(&mut self, n_cpus: u16) {
        for cpu in self.n_arrived..n_cpus {
            self.machine.act_on(CpuId(cpu));
            self.machine.arrive();
        }
        self.n_arrived = n_cpus;
    }

    /// Makes sure that the task is what its CPU runs, and lets that CPU act.
    fn run(&mut self, id: TaskId, recorded: RecordedCpu) {
        let cpu = self.cpus.of(id, recorded);
        if cpu.0 >= self.n_arrived {
            self.bring_up(cpu.0 + 1);
        }
        self.machine.act_on(cpu);
        match self.tasks.get(&id) {
            Some(task) if !task.is_exiting && self.processes.contains_key(&task.space) => {
                let space = task.space;
                if self.cpus.doing(cpu) != Doing::Running(id, space) {
                    self.switch_to(id, space);
                }
            }
            _ => self.go_lazy(cpu),
        }
    }

    /// Makes the acting CPU run a task in an address space.
    fn switch_to(&mut self, id: TaskId, space: SpaceId) {
        self.machine.switch_to(space);
        self.cpus.set_doing(self.machine.cpu(), Doing::Running(id, space));
    }

    fn go_lazy(&mut self, cpu: CpuId) {
        if self.cpus.doing(cpu) != Doing::Lazy {
            self.machine.act_on(cpu);
            self.machine.go_lazy();
            self.cpus.set_doing(cpu, Doing::Lazy);
        }
    }

    /// Makes CPUs lazy that were last seen in `space`, of which no task is left.
    fn stop_using(&mut self, space: SpaceId) {
        let here = self.machine.cpu();
        for cpu in self.cpus.used() {
            if matches!(self.cpus.doing(cpu), Doing::Running(_, used) if used == space) {
                self.go_lazy(cpu);
            }
        }
        self.machine.act_on(here);
    }

    fn switch(&mut self, from: Actor, state: PreviousState, next: Actor, recorded: RecordedCpu) {
        if let Some(previous) = from.task()
            && self.cpus.goes_on_when_preempted()
            && state == PreviousState::Asleep
        {
            let cpu = self.cpus.of(previous, recorded);
            if matches!(self.cpus.doing(cpu), Doing::Running(running, _) if running == previous) {
                self.go_lazy(cpu);
            }
        }
        match next {
            Actor::Task(task) => self.run(task, recorded),
            // Only a recorded CPU can be idle or busy with something else; a spread task has its CPU for itself.
            _ if self.cpus.goes_on_when_preempted() => {}
            Actor::Idle | Actor::KernelThread => self.go_lazy(CpuId(recorded.0)),
            Actor::Foreign => {
                let cpu = CpuId(recorded.0);
                self.machine.act_on(cpu);
                self.machine.leave();
                self.cpus.set_doing(cpu, Doing::Foreign);
            }
        }
    }
}

/// What an event was, beyond its operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Played {
    /// Nothing special.
    Usual,
    /// A successful `execve`.
    Exec,
}
