//! What a target is asked to do, as plain words, so that the explorer can run it.

use crate::{
    call::closure::{self, Trampoline},
    flush::{self, Request},
    invalidations::Invalidations,
    machine::Machine,
};

/// Words that an operation takes to its target: what it is, and up to four arguments.
pub(crate) const N_WORDS: usize = 5;

/// An operation as words.
pub(crate) type Words = [u64; N_WORDS];

/// Something that a kernel wants done on another CPU: a number to which it gives a meaning, and up to four words.
///
/// [`Machine::run`] does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// What is to be done.
    pub number: u32,
    /// To what.
    pub arguments: [u64; 4],
}

/// What a target is asked to do, but for a [`Request`] to flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Nothing: to have taken the request is the answer.
    Rendezvous,
    /// Fetch instructions anew.
    SynchronizeInstructions,
    /// Do this to kernel addresses, in every address space.
    FlushKernel(Invalidations),
    /// What the kernel knows by a number.
    Work(Work),
    /// Call a closure in memory that all CPUs share.
    Closure(Trampoline),
}

// The lowest byte of the first word. A `Request` has 1 or 2 there.
const RENDEZVOUS: u64 = 0;
const WORK: u64 = 4;
const CLOSURE: u64 = 5;
const FLUSH_KERNEL: u64 = 6;
const SYNCHRONIZE_INSTRUCTIONS: u64 = 7;
const KIND: u64 = 0xff;

impl Operation {
    pub(crate) fn encode(self) -> Words {
        match self {
            Operation::Rendezvous => [RENDEZVOUS; N_WORDS],
            Operation::Work(Work { number, arguments: [first, second, third, fourth] }) => {
                [u64::from(number) << 8 | WORK, first, second, third, fourth]
            }
            Operation::SynchronizeInstructions => [SYNCHRONIZE_INSTRUCTIONS, 0, 0, 0, 0],
            Operation::FlushKernel(invalidations) => {
                let [what, first, n_pages, stride_pages] = invalidations.encode();
                [what << 8 | FLUSH_KERNEL, first, n_pages, stride_pages, 0]
            }
            Operation::Closure(trampoline) => {
                let [function, data] = trampoline.encode();
                [CLOSURE, function, data, 0, 0]
            }
        }
    }

    pub(crate) fn decode(words: Words) -> Self {
        let [what, first, second, third, fourth] = words;
        match what & KIND {
            WORK => Operation::Work(Work { number: (what >> 8) as u32, arguments: [first, second, third, fourth] }),
            SYNCHRONIZE_INSTRUCTIONS => Operation::SynchronizeInstructions,
            FLUSH_KERNEL => {
                let invalidations = Invalidations::decode([what >> 8, first, second, third]);
                Operation::FlushKernel(invalidations.unwrap_or(Invalidations::EVERYTHING))
            }
            CLOSURE => Operation::Closure(Trampoline::decode([first, second])),
            _ => Operation::Rendezvous,
        }
    }

    /// Does on this CPU, with interrupts masked, what these words say.
    #[inline(always)]
    pub(crate) fn run_words<M: Machine>(m: &M, words: Words) {
        if let Some(request) = Request::decode(words) {
            flush::flush_masked(m, request);
        } else {
            let [what, first, second, third, fourth] = words;
            Self::run_other(m, what, first, second, third, fourth);
        }
    }

    // Apart, so that a flush makes no detour through all that there is. Takes each word by itself, in a register.
    #[inline(never)]
    fn run_other<M: Machine>(m: &M, what: u64, first: u64, second: u64, third: u64, fourth: u64) {
        Operation::decode([what, first, second, third, fourth]).run(m);
    }

    /// Does it on this CPU, with interrupts masked.
    pub(crate) fn run<M: Machine>(self, m: &M) {
        match self {
            Operation::Rendezvous => {}
            Operation::SynchronizeInstructions => m.synchronize_instructions(),
            Operation::FlushKernel(invalidations) => flush::flush_kernel_here(m, invalidations),
            Operation::Work(work) => m.run(work),
            Operation::Closure(trampoline) => closure::run(m, trampoline),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_survives_the_slot() {
        let work = Operation::Work(Work { number: u32::MAX, arguments: [1, u64::MAX, 3, 4] });
        assert_eq!(Operation::decode(work.encode()), work);
        let without_words = [Operation::Rendezvous, Operation::SynchronizeInstructions];
        for operation in without_words.into_iter().chain([Operation::FlushKernel(Invalidations::EVERYTHING)]) {
            assert_eq!(Operation::decode(operation.encode()), operation);
        }
    }
}
