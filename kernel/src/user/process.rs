//! Processes: beginning, forking, ending, and waiting for children.

use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};

use shootdown::{Mutex, SpaceId, residency};
use shootdown_mm::{AddressSpace, Habits, LargeTables, Memory};

use super::{
    errors::Errno,
    files::File,
    image, scheduler,
    thread::{self, Thread, WayOut},
    trap::Trap,
};
use crate::{machine::Metal, places::N_TEST_SPACES};

/// As many as can be there at once.
pub(crate) const N_PROCESSES: usize = 62;

/// Whose the first process is: the kernel asks for its status.
const KERNEL: u32 = u32::MAX;
/// Whose a process is that has no parent any more.
const NOBODY: u32 = u32::MAX - 1;

/// What all processes share.
pub(crate) static MEMORY: Memory<Metal> = Memory::new();

/// In [`Process::status`]: it goes on.
const RUNS: u64 = u64::MAX;
/// What a parent is told of a child that used memory that is not there: killed by signal 11.
pub(crate) const KILLED: i32 = 11;

/// A program's address space, and what else its threads have together.
pub(crate) struct Process {
    number: u32,
    pub(crate) space: AddressSpace<Metal>,
    // By number from the first on that is not the console's.
    pub(crate) files: Mutex<Metal, Vec<Option<Arc<File>>>>,
    /// Whether there ever were some, so that who changes mappings looks that none is cut in two.
    pub(crate) has_large_pages: AtomicBool,
    // What it is to end with, or `RUNS`.
    status: AtomicU64,
}

/// What is known of a process by others.
#[derive(Clone, Copy)]
enum Place {
    Free,
    // With the threads that wait for children, a bit each.
    Lives { parent: u32, waiting: u128 },
    Ended { parent: u32, status: i32 },
}

impl Place {
    const fn parent(self) -> Option<u32> {
        match self {
            Place::Free => None,
            Place::Lives { parent, .. } | Place::Ended { parent, .. } => Some(parent),
        }
    }
}

static PLACES: Mutex<Metal, [Place; N_PROCESSES]> = Mutex::new([Place::Free; N_PROCESSES]);

impl Process {
    fn new(number: u32, space: AddressSpace<Metal>, files: Vec<Option<Arc<File>>>, has_large_pages: bool) -> Process {
        let (files, has_large_pages) = (Mutex::new(files), AtomicBool::new(has_large_pages));
        Process { number, space, files, has_large_pages, status: AtomicU64::new(RUNS) }
    }

    /// Its index among all.
    pub(crate) const fn number(&self) -> u32 {
        self.number
    }

    /// What programs call it.
    pub(crate) const fn id(&self) -> i64 {
        self.number as i64 + 1
    }

    pub(crate) const fn space_id(&self) -> SpaceId {
        space_id(self.number)
    }

    pub(crate) fn is_ending(&self) -> bool {
        // ORDER(sleep/end): after `is_asleep` where a thread is about to sleep.
        self.status.load(SeqCst) != RUNS
    }

    /// Makes every thread end before it would return to user mode, and the process with this status.
    pub(crate) fn end(&self, m: &Metal, status: i32) {
        // The first one says with what.
        // ORDER(sleep/end): said before it is looked who is asleep, see `prepare_to_sleep`.
        if self.status.compare_exchange(RUNS, status as u64, SeqCst, Relaxed).is_ok() {
            thread::of_process(m, self.number).for_each(|thread| scheduler::wake(m, thread));
        }
    }

    /// Ends the address space, which CPUs have lazily at most, and returns the status.
    fn take_apart(self, m: &Metal) -> i32 {
        // Its last files first: an object's pages are free when its last mapping has gone.
        drop(self.files);
        self.space.destroy(m, &MEMORY);
        match self.status.into_inner() {
            RUNS => 0,
            status => status as i32,
        }
    }
}

const fn space_id(number: u32) -> SpaceId {
    SpaceId(N_TEST_SPACES as u32 + number)
}

/// What a status looks like to a parent whose child has ended by itself.
pub(crate) const fn exited(code: u64) -> i32 {
    ((code & 0xff) << 8) as i32
}

/// As little as is needed, but for tables of large pages, which are shared, as Linux does.
const HABITS: Habits = Habits { large_tables: LargeTables::SharedAhead { n_tables: 16 }, ..Habits::LAWFUL };

/// Makes the first process, of the program that the machine was given. Returns its number.
pub(crate) fn begin(m: &Metal, words: &[&str]) -> Result<u32, &'static str> {
    let number = take_place(m, KERNEL).ok_or("there are too many processes")?;
    begin_at(m, words, number).inspect_err(|_| PLACES.lock(m)[number as usize] = Place::Free)?;
    Ok(number)
}

fn begin_at(m: &Metal, words: &[&str], number: u32) -> Result<(), &'static str> {
    let space = AddressSpace::create(m, space_id(number), HABITS).map_err(|_| "there is no memory for a process")?;
    let process = Arc::new(Process::new(number, space, Vec::new(), false));
    let thread = image::load(m, &process, words).and_then(|trap| {
        let thread = Thread::new(m, Arc::clone(&process), &trap, WayOut::default());
        thread.map_err(|_| "there are too many threads")
    });
    match thread {
        Ok(thread) => {
            drop(process);
            scheduler::make_ready(m, thread);
            Ok(())
        }
        Err(reason) => {
            // It was loaded to be written to.
            residency::leave(m);
            if let Some(process) = Arc::into_inner(process) {
                process.take_apart(m);
            }
            Err(reason)
        }
    }
}

/// The status of the first process when it has ended, once.
pub(crate) fn ended(m: &Metal, number: u32) -> Option<i32> {
    let mut places = PLACES.lock(m);
    let place = &mut places[number as usize];
    match *place {
        Place::Ended { status, .. } => {
            *place = Place::Free;
            Some(status)
        }
        _ => None,
    }
}

fn take_place(m: &Metal, parent: u32) -> Option<u32> {
    let mut places = PLACES.lock(m);
    let number = places.iter().position(|place| matches!(place, Place::Free))?;
    places[number] = Place::Lives { parent, waiting: 0 };
    Some(number as u32)
}

/// Makes a process with a copy of `parent`'s address space and one thread that goes on where `trap` says. Returns its id.
pub(crate) fn fork(m: &Metal, parent: &Process, trap: &Trap) -> Result<i64, Errno> {
    let number = take_place(m, parent.number).ok_or(Errno::AGAIN)?;
    fork_at(m, parent, trap, number).inspect_err(|_| PLACES.lock(m)[number as usize] = Place::Free)
}

fn fork_at(m: &Metal, parent: &Process, trap: &Trap, number: u32) -> Result<i64, Errno> {
    let space = parent.space.fork(m, &MEMORY, space_id(number))?;
    let files = parent.files.lock(m).clone();
    let has_large_pages = parent.has_large_pages.load(Acquire);
    let process = Arc::new(Process::new(number, space, files, has_large_pages));
    let way_out = thread::current().way_out();
    match Thread::new(m, Arc::clone(&process), trap, way_out) {
        Ok(thread) => {
            let id = process.id();
            drop(process);
            scheduler::make_ready(m, thread);
            Ok(id)
        }
        Err(error) => {
            if let Some(process) = Arc::into_inner(process) {
                process.take_apart(m);
            }
            Err(error)
        }
    }
}

/// Makes one more thread of a process.
pub(crate) fn add_thread(m: &Metal, process: &Arc<Process>, trap: &Trap) -> Result<i64, Errno> {
    const FIRST_ID: i64 = 1000;
    let thread = Thread::new(m, Arc::clone(process), trap, WayOut::default())?;
    scheduler::make_ready(m, thread);
    Ok(FIRST_ID + i64::from(thread.0))
}

/// After a thread has left its CPU for ever. On the scheduler's stack.
pub(crate) fn thread_ended(m: &Metal, thread: Thread) {
    // This CPU still has it loaded, and another one may end it as soon as the thread is not there any more. Lazy is enough: of
    // tables that are freed lazy CPUs are told, too.
    residency::enter_lazy(m);
    let Some(process) = thread.free(m).and_then(Arc::into_inner) else {
        return;
    };
    let number = process.number;
    let status = process.take_apart(m);
    tell_relatives(m, number, status);
}

fn tell_relatives(m: &Metal, number: u32, status: i32) {
    let mut places = PLACES.lock(m);
    for place in places.iter_mut().filter(|place| place.parent() == Some(number)) {
        match place {
            Place::Lives { parent, .. } => *parent = NOBODY,
            _ => *place = Place::Free,
        }
    }
    let parent = places[number as usize].parent().unwrap_or(NOBODY);
    places[number as usize] = if parent == NOBODY { Place::Free } else { Place::Ended { parent, status } };
    let waiting = match places.get_mut(parent as usize) {
        Some(Place::Lives { waiting, .. }) => core::mem::take(waiting),
        _ => 0,
    };
    drop(places);
    let threads = (0..u128::BITS as u16).filter(|bit| waiting & 1 << bit != 0).map(Thread);
    threads.for_each(|thread| scheduler::wake(m, thread));
}

/// Waits until a child has ended, this one or any, and returns its id and its status.
pub(crate) fn wait(m: &Metal, process: &Process, child: Option<u32>) -> Result<(i64, i32), Errno> {
    let is_wanted = |number: usize| child.is_none_or(|child| child as usize == number);
    loop {
        let mut places = PLACES.lock(m);
        let mut has_children = false;
        for number in (0..N_PROCESSES).filter(|number| is_wanted(*number)) {
            if places[number].parent() != Some(process.number) {
                continue;
            }
            has_children = true;
            if let Place::Ended { status, .. } = places[number] {
                places[number] = Place::Free;
                return Ok((number as i64 + 1, status));
            }
        }
        if !has_children || process.is_ending() {
            return Err(Errno::NO_CHILD);
        }
        if let Place::Lives { waiting, .. } = &mut places[process.number as usize] {
            *waiting |= 1 << thread::current().0;
        }
        scheduler::prepare_to_sleep();
        drop(places);
        scheduler::sleep(m);
    }
}
