//! What is on a thread's kernel stack while it is not in user mode.

/// The program's registers, as `gates.s` pushes them.
#[derive(Clone)]
#[repr(C, align(16))]
pub(crate) struct Trap {
    /// What FXSAVE writes.
    vectors: [u64; 64],
    pub(crate) r15: u64,
    pub(crate) r14: u64,
    pub(crate) r13: u64,
    pub(crate) r12: u64,
    pub(crate) rbx: u64,
    pub(crate) rbp: u64,
    pub(crate) r11: u64,
    pub(crate) r10: u64,
    pub(crate) r9: u64,
    pub(crate) r8: u64,
    pub(crate) rdi: u64,
    pub(crate) rsi: u64,
    pub(crate) rdx: u64,
    pub(crate) rcx: u64,
    pub(crate) rax: u64,
    pub(crate) vector: u64,
    pub(crate) error: u64,
    pub(crate) instruction: u64,
    code_segment: u64,
    flags: u64,
    pub(crate) stack: u64,
    stack_segment: u64,
}

/// Words of a [`Trap`].
pub(crate) const N_WORDS: usize = size_of::<Trap>() / 8;

const USER_CODE: u64 = 0x23;
const USER_DATA: u64 = 0x1b;
/// Interrupts are open; the bit that is always set.
const FLAGS: u64 = 0x202;
/// What FNINIT and the architecture begin with: SDM 1, "x87 FPU Control Word" and "MXCSR Control and Status Register".
const CONTROL_WORD: u64 = 0x37f;
const MXCSR: u64 = 0x1f80;

impl Trap {
    /// A program that begins here, with this stack and nothing in its registers.
    pub(crate) fn beginning(instruction: u64, stack: u64) -> Trap {
        let mut vectors = [0; 64];
        (vectors[0], vectors[3]) = (CONTROL_WORD, MXCSR);
        Trap {
            vectors,
            r15: 0,
            r14: 0,
            r13: 0,
            r12: 0,
            rbx: 0,
            rbp: 0,
            r11: 0,
            r10: 0,
            r9: 0,
            r8: 0,
            rdi: 0,
            rsi: 0,
            rdx: 0,
            rcx: 0,
            rax: 0,
            vector: 0,
            error: 0,
            instruction,
            code_segment: USER_CODE,
            flags: FLAGS,
            stack,
            stack_segment: USER_DATA,
        }
    }

    /// The same program, in a child or a thread, which a call returns 0 to.
    pub(crate) fn of_child(&self) -> Trap {
        Trap { rax: 0, ..self.clone() }
    }

    /// Its words, as they lie on the stack.
    pub(crate) fn words(&self) -> &[u64; N_WORDS] {
        // SAFETY: it is made of words, without gaps, and as large.
        unsafe { &*core::ptr::from_ref(self).cast() }
    }
}
