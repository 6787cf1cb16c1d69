//! Library and scenario code on coroutines.
//!
//! A [`Task`] is one run of a CPU's code, suspended at a question to the driver. It is made on a stack from a pool and
//! abandoned at any time; a suspended coroutine is never unwound, which would take a thousand times as long and run
//! guards' destructors on a machine that has moved on.

use std::{
    cell::RefCell,
    mem::ManuallyDrop,
    panic::{AssertUnwindSafe, Location as Source, catch_unwind},
};

use corosensei::{Coroutine, CoroutineResult, Yielder, stack::DefaultStack};
use shootdown::{CpuId, Machine};
use shootdown_sim::smp::Operation;

use crate::{
    left_out::LeftOut,
    machine::Sim,
    panics::{self, Panic},
    scenario::Scenario,
};

const STACK_BYTES: usize = 128 << 10;

/// Questions without an operation in between after which the code is said to be in an endless loop.
const MAX_MARKS: usize = 10_000;

/// What a coroutine wants to know from its driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// Perform this operation; the answer is its result, or an interrupt.
    Operation(Operation),
    /// A wait or a scope begins.
    Enter,
    /// The innermost wait was not ready and begins again.
    Again,
    /// The innermost wait or scope ends with this result.
    Leave(u64),
    /// The code has panicked. There is no answer.
    Panicked(Panic),
}

/// A question and the place in the source that asks.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) question: Question,
    pub(crate) at: &'static Source<'static>,
}

/// What a driver answers. Questions that are no operations are answered with a result that nobody looks at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    Result(u64),
    Interrupt,
    Tick,
}

/// Where a CPU's code stops: at something that takes time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It wants to perform this.
    Operation(Operation, &'static Source<'static>),
    /// It has panicked.
    Panicked(Panic),
}

impl Stop {
    /// The operation it wants to perform; a CPU that panicked performs nothing more.
    pub(crate) fn operation(&self) -> Operation {
        match self {
            Stop::Operation(operation, _) => *operation,
            Stop::Panicked(_) => Operation::Idle,
        }
    }
}

/// Which of a scenario's functions a task runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Setup,
    Main,
    Handler,
    Tick,
}

/// Everything that determines what a task does, apart from the answers it gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Code {
    pub(crate) scenario: &'static Scenario,
    pub(crate) left_out: LeftOut,
    pub(crate) cpu: CpuId,
    pub(crate) role: Role,
}

impl Code {
    fn run(self, yielder: &Yielder<Answer, Ask>) {
        let sim = Sim::new(self.cpu, self.scenario, self.left_out, yielder);
        let run = catch_unwind(AssertUnwindSafe(|| {
            match self.role {
                Role::Setup => (self.scenario.setup)(&sim),
                // A scope, since it does not matter how a CPU came to its end.
                Role::Main => sim.scope(self.scenario.main),
                Role::Handler => sim.handle_interrupt(),
                Role::Tick => sim.handle_tick(),
            }
            sim.idle();
        }));
        if run.is_err() {
            let question = Question::Panicked(panics::take());
            yielder.suspend(Ask { question, at: Source::caller() });
        }
    }
}

thread_local! {
    static STACKS: RefCell<Vec<DefaultStack>> = const { RefCell::new(Vec::new()) };
}

/// One run of a CPU's code.
pub(crate) struct Task {
    // Taken out only in `drop`.
    coroutine: ManuallyDrop<Coroutine<Answer, Ask, ()>>,
}

impl Task {
    /// Makes a run; [`Task::resume`] starts it.
    pub(crate) fn new(code: Code) -> Self {
        let stack = STACKS.with_borrow_mut(Vec::pop);
        let stack = stack.unwrap_or_else(|| DefaultStack::new(STACK_BYTES).expect("memory for a stack"));
        let coroutine = Coroutine::with_stack(stack, move |yielder: &_, _start| code.run(yielder));
        Task { coroutine: ManuallyDrop::new(coroutine) }
    }

    /// Runs on until the next question.
    pub(crate) fn resume(&mut self, answer: Answer) -> Ask {
        let _quiet = panics::Quiet::new();
        match self.coroutine.resume(answer) {
            CoroutineResult::Yield(ask) => ask,
            CoroutineResult::Return(()) => unreachable!("a task is not resumed after its panic"),
        }
    }

    /// Runs on until something that takes time.
    pub(crate) fn resume_to_stop(&mut self, answer: Answer) -> Stop {
        let mut ask = self.resume(answer);
        for _ in 0..MAX_MARKS {
            match ask.question {
                Question::Operation(operation) => return Stop::Operation(operation, ask.at),
                Question::Panicked(panic) => return Stop::Panicked(panic),
                Question::Enter | Question::Again | Question::Leave(_) => ask = self.resume(Answer::Result(0)),
            }
        }
        panic!("a wait at {} performs no operation", ask.at);
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        // SAFETY: the coroutine is not used again; the field is gone after this.
        #[expect(unsafe_code, reason = "the coroutine must be taken apart to get its stack back")]
        let mut coroutine = unsafe { ManuallyDrop::take(&mut self.coroutine) };
        // SAFETY: nothing on the stack needs its destructor to run.
        // - What lives there are library values (guards, gathers), scenario locals and the `Sim`. Leaving out their
        //   destructors forgets them, which is safe for every type that is not pinned; nothing there is pinned.
        // - Nobody outside holds a reference into the stack: the coroutine's function is `'static`, questions and
        //   answers are plain values, and no scoped thread or other scoped borrow is used in it.
        #[expect(unsafe_code, reason = "unwinding a suspended coroutine would run guards of an abandoned run")]
        unsafe {
            coroutine.force_reset();
        }
        STACKS.with_borrow_mut(|stacks| stacks.push(coroutine.into_stack()));
    }
}
