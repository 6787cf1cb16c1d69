//! What a target is asked to do, as plain words, so that the explorer can run it.

use crate::{
    call::closure::{self, Trampoline},
    flush::{self, Request},
    machine::Machine,
    stale::Stale,
};

/// Words that an operation takes to its target: what it is, and up to four arguments.
pub(crate) const N_WORDS: usize = 5;

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

/// What a target is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Nothing: to have taken the request is the answer.
    Rendezvous,
    /// Invalidate what this request names.
    Flush(Request),
    /// Fetch instructions anew.
    SynchronizeInstructions,
    /// Invalidate this of kernel addresses, in every address space.
    FlushKernel(Stale),
    /// What the kernel knows by a number.
    Work(Work),
    /// Call a closure in memory that all CPUs share.
    Closure(Trampoline),
}

// The lowest byte of the first word. A flush has its strength there, 1 to 3.
const RENDEZVOUS: u64 = 0;
const WORK: u64 = 4;
const CLOSURE: u64 = 5;
const FLUSH_KERNEL: u64 = 6;
const SYNCHRONIZE_INSTRUCTIONS: u64 = 7;
const KIND: u64 = 0xff;

impl Operation {
    pub(crate) fn encode(self) -> [u64; N_WORDS] {
        match self {
            Operation::Rendezvous => [RENDEZVOUS; N_WORDS],
            Operation::Flush(request) => request.encode(),
            Operation::Work(Work { number, arguments: [first, second, third, fourth] }) => {
                [u64::from(number) << 8 | WORK, first, second, third, fourth]
            }
            Operation::SynchronizeInstructions => [SYNCHRONIZE_INSTRUCTIONS, 0, 0, 0, 0],
            Operation::FlushKernel(stale) => {
                let [what, start, end] = stale.encode();
                [what << 8 | FLUSH_KERNEL, start, end, 0, 0]
            }
            Operation::Closure(trampoline) => {
                let [function, data] = trampoline.encode();
                [CLOSURE, function, data, 0, 0]
            }
        }
    }

    pub(crate) fn decode(words: [u64; N_WORDS]) -> Self {
        let [what, first, second, third, fourth] = words;
        match what & KIND {
            WORK => Operation::Work(Work { number: (what >> 8) as u32, arguments: [first, second, third, fourth] }),
            SYNCHRONIZE_INSTRUCTIONS => Operation::SynchronizeInstructions,
            FLUSH_KERNEL => {
                let stale = Stale::decode([what >> 8, first, second]);
                Operation::FlushKernel(stale.unwrap_or(Stale::EVERYTHING))
            }
            CLOSURE => Operation::Closure(Trampoline::decode([first, second])),
            _ => Request::decode(words).map_or(Operation::Rendezvous, Operation::Flush),
        }
    }

    /// Does it on this CPU, with interrupts masked.
    pub(crate) fn run<M: Machine>(self, m: &M) {
        match self {
            Operation::Rendezvous => {}
            Operation::Flush(request) => {
                flush::flush_here(m, request);
            }
            Operation::SynchronizeInstructions => m.synchronize_instructions(),
            Operation::FlushKernel(stale) => flush::flush_kernel_here(m, stale),
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
        for operation in without_words.into_iter().chain([Operation::FlushKernel(Stale::EVERYTHING)]) {
            assert_eq!(Operation::decode(operation.encode()), operation);
        }
    }
}
