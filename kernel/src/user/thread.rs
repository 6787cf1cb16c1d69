//! Threads: their kernel stacks, and where each runs.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering::*};

use shootdown::Mutex;

use super::{
    errors::Errno,
    process::Process,
    trap::{N_WORDS, Trap},
};
use crate::{
    cpu::{self, Number, Stack},
    machine::Metal,
};

const N_THREADS: usize = u128::BITS as usize;
const STACK_WORDS: usize = (32 << 10) / 8;
/// What `switch_stacks` leaves: six registers, and where to return to.
const SWITCH_WORDS: usize = 7;

unsafe extern "C" {
    /// From `gates.s`. Only its address is used.
    safe static return_to_user: u8;
}

/// One thread: the index of its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Thread(pub(crate) u16);

/// Where a thread goes on after a fault, that nothing can be done about, of an instruction from `begin` on and before `end`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WayOut {
    pub(crate) begin: u64,
    pub(crate) end: u64,
    pub(crate) target: u64,
}

struct Place {
    is_taken: AtomicBool,
    /// Where its kernel stack was left, while it does not run.
    stack_left: AtomicU64,
    home: AtomicU16,
    is_asleep: AtomicBool,
    is_over: AtomicBool,
    way_out: [AtomicU64; 3],
    process: Mutex<Metal, Option<Arc<Process>>>,
}

static PLACES: [Place; N_THREADS] = [const {
    Place {
        is_taken: AtomicBool::new(false),
        stack_left: AtomicU64::new(0),
        home: AtomicU16::new(0),
        is_asleep: AtomicBool::new(false),
        is_over: AtomicBool::new(false),
        way_out: [const { AtomicU64::new(0) }; 3],
        process: Mutex::new(None),
    }
}; N_THREADS];
static STACKS: [Stack<STACK_WORDS>; N_THREADS] = [const { Stack::new() }; N_THREADS];

impl Thread {
    /// Makes a thread of `process`, at home on this CPU, that begins with `trap`. Nobody runs it yet.
    ///
    /// # Errors
    /// [`Errno::AGAIN`] if there are too many.
    pub(crate) fn new(m: &Metal, process: Arc<Process>, trap: &Trap, way_out: WayOut) -> Result<Thread, Errno> {
        let index = PLACES.iter().position(|place| !place.is_taken.swap(true, Acquire)).ok_or(Errno::AGAIN)?;
        let thread = Thread(index as u16);
        let (place, stack) = (thread.place(), &STACKS[index]);
        let words = stack.words();
        let (below, on_stack) = words.split_at(STACK_WORDS - N_WORDS);
        on_stack.iter().zip(trap.words()).for_each(|(to, from)| to.store(*from, Relaxed));
        let left = &below[below.len() - SWITCH_WORDS..];
        left.iter().for_each(|word| word.store(0, Relaxed));
        left[SWITCH_WORDS - 1].store((&raw const return_to_user).addr() as u64, Relaxed);
        place.stack_left.store(stack.end() - 8 * (N_WORDS + SWITCH_WORDS) as u64, Relaxed);
        place.home.store(cpu::number().0, Relaxed);
        thread.set_way_out(way_out);
        place.is_over.store(false, Relaxed);
        *place.process.lock(m) = Some(process);
        Ok(thread)
    }

    fn place(self) -> &'static Place {
        &PLACES[usize::from(self.0)]
    }

    /// Forgets the thread, which runs no more, and returns its process.
    pub(crate) fn free(self, m: &Metal) -> Option<Arc<Process>> {
        let process = self.place().process.lock(m).take();
        // Release: whoever takes the place finds it as it is left.
        self.place().is_taken.store(false, Release);
        process
    }

    pub(crate) fn process(self, m: &Metal) -> Arc<Process> {
        self.place().process.lock(m).clone().expect("a thread has a process until it has ended")
    }

    pub(crate) fn home(self) -> Number {
        Number(self.place().home.load(Relaxed))
    }

    /// Says where it runs when it is made ready the next time.
    pub(crate) fn set_home(self, cpu: Number) {
        self.place().home.store(cpu.0, Relaxed);
    }

    pub(crate) fn kernel_stack(self) -> u64 {
        STACKS[usize::from(self.0)].end()
    }

    pub(crate) fn stack_left(self) -> &'static AtomicU64 {
        &self.place().stack_left
    }

    pub(crate) fn is_asleep(self) -> &'static AtomicBool {
        &self.place().is_asleep
    }

    pub(crate) fn way_out(self) -> WayOut {
        let [begin, end, target] = self.place().way_out.each_ref().map(|word| word.load(Relaxed));
        WayOut { begin, end, target }
    }

    pub(crate) fn set_way_out(self, WayOut { begin, end, target }: WayOut) {
        self.place().way_out.iter().zip([begin, end, target]).for_each(|(word, value)| word.store(value, Relaxed));
    }
}

/// The thread that runs on this CPU.
pub(crate) fn current() -> Thread {
    Thread(cpu::threads().current.load(Relaxed) as u16)
}

/// The threads of a process that are there.
pub(crate) fn of_process(m: &Metal, number: u32) -> impl Iterator<Item = Thread> {
    (0..N_THREADS as u16).map(Thread).filter(move |thread| {
        let process = thread.place().process.lock(m);
        process.as_ref().is_some_and(|process| process.number() == number)
    })
}

/// Makes the thread that runs end before it would return to user mode.
pub(crate) fn end_current() {
    current().place().is_over.store(true, Relaxed);
}

/// Tells whether the thread that runs is to end, or its process.
pub(crate) fn must_end(m: &Metal) -> bool {
    let place = current().place();
    place.is_over.load(Relaxed) || place.process.lock(m).as_ref().is_some_and(|process| process.is_ending())
}
