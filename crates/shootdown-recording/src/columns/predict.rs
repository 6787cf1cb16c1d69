//! What the writer and the reader both expect next.
//!
//! Owns [`Predictions`]: for every number of an event, what it will be by what came before. A file holds the differences,
//! which are mostly 0 and repeat themselves. Each method of the writer (`…_code`) has one of the reader beside it, and
//! both learn the same. It deliberately forgets: what would be kept for each task or address has a table of fixed size,
//! and keys that share a slot spoil each other's prediction and nothing else.

use crate::{
    columns::varint::{unzigzag, zigzag},
    event::{Actor, Event, EventKind, TaskId},
};

/// CPUs that are told apart: as many as a recording may name.
const N_CPUS: usize = 4096;
/// Tasks, and calls of tasks, that are told apart.
const N_TASKS: usize = 1 << 12;
/// Places of a program that are told apart.
const N_PLACES: usize = 1 << 15;

/// The position of a result, after those of arguments.
const RESULT: u64 = 7;
/// The bits of an address that are its offset in the page.
const OFFSET_BITS: u32 = 12;
const OFFSET_MASK: u64 = (1 << OFFSET_BITS) - 1;
/// Page numbers are below this.
const N_PAGES: u64 = 1 << (u64::BITS - OFFSET_BITS);

/// A number for every actor.
pub(super) fn actor_number(actor: Actor) -> u64 {
    match actor {
        Actor::Idle => 0,
        Actor::KernelThread => 1,
        Actor::Foreign => 2,
        Actor::Task(task) => 3 + u64::from(task.0),
    }
}

/// The actor of a number, if there is one.
pub(super) fn actor_of(number: u64) -> Option<Actor> {
    match number {
        0 => Some(Actor::Idle),
        1 => Some(Actor::KernelThread),
        2 => Some(Actor::Foreign),
        _ => task_of(number - 3).map(Actor::Task),
    }
}

/// The task of a number, if a recording may have it.
pub(super) fn task_of(number: u64) -> Option<TaskId> {
    u32::try_from(number).ok().map(TaskId).filter(|task| *task >= TaskId::FIRST)
}

/// Where a page fault was, as a file holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Where the last one was that came after the place before.
    Expected,
    /// Elsewhere: the difference of page numbers, and the offset in the page.
    Elsewhere { page: u64, offset: u16 },
}

/// What is expected of the next event.
pub(super) struct Predictions {
    last_cpu: u64,
    /// Who runs on each CPU, and who ran before.
    running: Table,
    before: Table,
    /// The call that each task is in.
    calls: Table,
    /// By call: how many arguments are told; by task, call and position: the argument, or the result.
    n_args: Table,
    args: Table,
    /// By task: the address of the last fault; by address: that of the next.
    faults: Table,
    follows: Table,
    last_child: u64,
    last_flags: u64,
}

impl Predictions {
    pub(super) fn new() -> Self {
        Self {
            last_cpu: 0,
            running: Table::new(N_CPUS),
            before: Table::new(N_CPUS),
            calls: Table::new(N_TASKS),
            n_args: Table::new(N_TASKS),
            args: Table::new(8 * N_TASKS),
            faults: Table::new(N_TASKS),
            follows: Table::new(N_PLACES),
            last_child: u64::from(TaskId::FIRST.0),
            last_flags: 0,
        }
    }

    pub(super) fn cpu_code(&mut self, cpu: u64) -> u64 {
        zigzag(std::mem::replace(&mut self.last_cpu, cpu), cpu)
    }

    pub(super) fn cpu(&mut self, code: u64) -> u64 {
        self.last_cpu = unzigzag(self.last_cpu, code);
        self.last_cpu
    }

    pub(super) fn actor_code(&self, cpu: u64, actor: u64) -> u64 {
        zigzag(self.running.get(cpu), actor)
    }

    pub(super) fn actor(&self, cpu: u64, code: u64) -> u64 {
        unzigzag(self.running.get(cpu), code)
    }

    /// The one that a CPU switches to is expected to be the one that ran before.
    pub(super) fn next_code(&self, cpu: u64, next: u64) -> u64 {
        zigzag(self.before.get(cpu), next)
    }

    pub(super) fn next(&self, cpu: u64, code: u64) -> u64 {
        unzigzag(self.before.get(cpu), code)
    }

    /// Learns who runs where now.
    pub(super) fn ran(&mut self, event: &Event) {
        let (cpu, actor) = (u64::from(event.cpu.0), actor_number(event.actor));
        match event.kind {
            EventKind::Switch { next, .. } => {
                self.running.set(cpu, actor_number(next));
                self.before.set(cpu, actor);
            }
            _ => self.running.set(cpu, actor),
        }
    }

    pub(super) fn call_code(&mut self, task: u64, call: u64) -> u64 {
        zigzag(self.calls.replace(task, call), call)
    }

    pub(super) fn call(&mut self, task: u64, code: u64) -> u64 {
        let call = unzigzag(self.calls.get(task), code);
        self.calls.set(task, call);
        call
    }

    pub(super) fn n_args_code(&mut self, call: u64, n_args: u64) -> u64 {
        zigzag(self.n_args.replace(call, n_args), n_args)
    }

    pub(super) fn n_args(&mut self, call: u64, code: u64) -> u64 {
        let n_args = unzigzag(self.n_args.get(call), code);
        self.n_args.set(call, n_args);
        n_args
    }

    pub(super) fn arg_code(&mut self, task: u64, call: u64, position: u64, arg: u64) -> u64 {
        zigzag(self.args.replace(arg_key(task, call, position), arg), arg)
    }

    pub(super) fn arg(&mut self, task: u64, call: u64, position: u64, code: u64) -> u64 {
        let key = arg_key(task, call, position);
        let arg = unzigzag(self.args.get(key), code);
        self.args.set(key, arg);
        arg
    }

    pub(super) fn result_code(&mut self, task: u64, call: u64, result: u64) -> u64 {
        zigzag(self.args.replace(arg_key(task, call, RESULT), result), result)
    }

    pub(super) fn result(&mut self, task: u64, call: u64, code: u64) -> u64 {
        let key = arg_key(task, call, RESULT);
        let result = unzigzag(self.args.get(key), code);
        self.args.set(key, result);
        result
    }

    /// A program that was forked or started again takes the same way as before.
    pub(super) fn fault_code(&mut self, task: u64, address: u64) -> Place {
        let last = self.faults.replace(task, address);
        if self.follows.replace(last, address) == address {
            return Place::Expected;
        }
        let page = zigzag(last >> OFFSET_BITS, address >> OFFSET_BITS);
        Place::Elsewhere { page, offset: (address & OFFSET_MASK) as u16 }
    }

    /// Returns `None` for what is no address.
    pub(super) fn fault(&mut self, task: u64, place: Place) -> Option<u64> {
        let last = self.faults.get(task);
        let address = match place {
            Place::Expected => self.follows.get(last),
            Place::Elsewhere { page, offset } => {
                let (page, offset) = (unzigzag(last >> OFFSET_BITS, page), u64::from(offset));
                (page < N_PAGES && offset <= OFFSET_MASK).then_some(page << OFFSET_BITS | offset)?
            }
        };
        self.faults.set(task, address);
        self.follows.set(last, address);
        Some(address)
    }

    /// Tasks are numbered in the order in which they are created.
    pub(super) fn child_code(&mut self, child: u64) -> u64 {
        zigzag(std::mem::replace(&mut self.last_child, child).wrapping_add(1), child)
    }

    pub(super) fn child(&mut self, code: u64) -> u64 {
        self.last_child = unzigzag(self.last_child.wrapping_add(1), code);
        self.last_child
    }

    pub(super) fn flags_code(&mut self, flags: u64) -> u64 {
        std::mem::replace(&mut self.last_flags, flags) ^ flags
    }

    pub(super) fn flags(&mut self, code: u64) -> u64 {
        self.last_flags ^= code;
        self.last_flags
    }
}

/// Threads that do the same in turns do it with other addresses.
fn arg_key(task: u64, call: u64, position: u64) -> u64 {
    task << 20 ^ call << 3 ^ position
}

/// What was seen last for each key.
struct Table {
    slots: Box<[u64]>,
}

impl Table {
    /// `n_slots` is a power of two.
    fn new(n_slots: usize) -> Self {
        Self { slots: vec![0; n_slots].into_boxed_slice() }
    }

    fn get(&self, key: u64) -> u64 {
        self.slots.get(self.slot(key)).copied().unwrap_or_default()
    }

    fn set(&mut self, key: u64, value: u64) {
        self.replace(key, value);
    }

    fn replace(&mut self, key: u64, value: u64) -> u64 {
        let slot = self.slot(key);
        self.slots.get_mut(slot).map_or(0, |slot| std::mem::replace(slot, value))
    }

    /// The highest bits of the product depend on all of the key (Fibonacci hashing).
    fn slot(&self, key: u64) -> usize {
        let bits = self.slots.len().trailing_zeros();
        (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - bits)) as usize
    }
}
