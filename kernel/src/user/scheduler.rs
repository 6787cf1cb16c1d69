//! Who runs on a CPU: each has a queue of its own, and threads that are ready wait there for their turn.

use alloc::collections::VecDeque;
use core::sync::atomic::{AtomicU64, Ordering::*};

use shootdown::{CpuId, CpuSet, Machine as _, Mutex, call, call::Notice, residency};

use super::{
    process,
    thread::{self, Thread},
};
use crate::{
    cpu::{self, MAX_CPUS, Number},
    machine::{Cpus, Metal},
    places,
};

static READY: [Mutex<Metal, VecDeque<Thread>>; MAX_CPUS] = [const { Mutex::new(VecDeque::new()) }; MAX_CPUS];

/// What is to be done with a thread that has left its CPU.
#[derive(Clone, Copy, Debug)]
enum NextStep {
    /// It waits for its next turn, at home.
    Queue,
    /// Somebody wakes it.
    Sleep,
    /// It is over.
    End,
}

const STEPS: [NextStep; 3] = [NextStep::Queue, NextStep::Sleep, NextStep::End];

unsafe extern "C" {
    // From `gates.s`.
    fn switch_stacks(here: &AtomicU64, there: u64);
}

/// Lets a thread run when its turn comes.
pub(crate) fn make_ready(m: &Metal, thread: Thread) {
    let home = thread.home();
    READY[usize::from(home.0)].lock(m).push_back(thread);
    if home != cpu::number() {
        let target: CpuSet<Cpus> = [CpuId(home.0)].into_iter().collect();
        call::notify(m, &target, Notice::Reschedule);
    }
}

/// Makes a thread ready that sleeps, or is about to.
pub(crate) fn wake(m: &Metal, thread: Thread) {
    // ORDER(sleep/end): after the status, see `prepare_to_sleep`.
    if thread.is_asleep().swap(false, SeqCst) {
        make_ready(m, thread);
    }
}

/// Runs one thread of this CPU after the other until something is so. While none is ready it sleeps, lazy in whatever address
/// space it had.
pub(crate) fn run_until(m: &Metal, mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        if run_next(m) {
            continue;
        }
        residency::enter_lazy(m);
        // Masked, so that the notice of what makes a thread ready, or it so, cannot come between the look and the sleep.
        let was = cpu::mask_interrupts();
        if has_something_to_do(m) || is_so() {
            cpu::restore_interrupts(was);
        } else {
            cpu::sleep();
        }
    }
}

/// Tells whether a thread of this CPU is ready.
fn has_something_to_do(m: &Metal) -> bool {
    !READY[usize::from(m.cpu().0)].lock(m).is_empty()
}

/// Runs the next thread of this CPU, until it leaves; tells whether there was one.
fn run_next(m: &Metal) -> bool {
    let next = READY[usize::from(m.cpu().0)].lock(m).pop_front();
    let Some(thread) = next else {
        return false;
    };
    let space = thread.process(m).space_id();
    places::SPACES[space.0 as usize].switch_to(m);
    let threads = cpu::threads();
    threads.kernel_stack.store(thread.kernel_stack(), Relaxed);
    threads.current.store(u64::from(thread.0), Relaxed);
    // SAFETY: the thread has left its stack there, or `Thread::new` has prepared it, and it is on no other CPU: it was in one
    // queue. It comes back by `leave`.
    unsafe { switch_stacks(&threads.scheduler_stack, thread.stack_left().load(Relaxed)) }
    match STEPS[cpu::threads().next_step.load(Relaxed) as usize] {
        NextStep::Queue => {
            if thread.home() != cpu::number() {
                // There it may end its process, which this CPU still has loaded.
                residency::enter_lazy(m);
            }
            make_ready(m, thread);
        }
        NextStep::Sleep => {}
        NextStep::End => process::thread_ended(m, thread),
    }
    true
}

/// Takes the thread that runs from its CPU.
fn leave(step: NextStep) {
    let threads = cpu::threads();
    threads.next_step.store(step as u64, Relaxed);
    // SAFETY: `run_next` waits on that stack, on this CPU.
    unsafe { switch_stacks(thread::current().stack_left(), threads.scheduler_stack.load(Relaxed)) }
}

/// Lets the next thread run, if there is one.
pub(crate) fn give_way(m: &Metal) {
    if has_something_to_do(m) {
        leave(NextStep::Queue);
    }
}

/// Goes on on another CPU.
pub(crate) fn move_to(cpu: Number) {
    if cpu != cpu::number() {
        thread::current().set_home(cpu);
        leave(NextStep::Queue);
    }
}

/// Says that this thread is about to sleep. Under the lock of whatever it is that it waits for.
pub(crate) fn prepare_to_sleep() {
    // ORDER(sleep/end): asleep, then (`sleep`) whether the process ends; who ends it says so, and then looks who is asleep
    // (`wake`). One of us sees the other, so no thread sleeps on in a process that ends. Needs SC (store→load).
    thread::current().is_asleep().store(true, SeqCst);
}

/// Sleeps until [`wake`], which may have come since [`prepare_to_sleep`]; or not at all if this thread is to end.
pub(crate) fn sleep(m: &Metal) {
    if thread::must_end(m) {
        // Nobody else will, if the process's end has found this thread awake.
        wake(m, thread::current());
    }
    leave(NextStep::Sleep);
}

/// Ends this thread. Its stack must hold nothing that is to be dropped.
pub(crate) fn end() -> ! {
    leave(NextStep::End);
    unreachable!("nobody runs a thread that has ended")
}
