//! Why a flush happened, as reports show it.
//!
//! Owns [`Cause`] and which syscalls fall under it. Who is in which syscall is `cause_tracker.rs`.

use std::fmt;

use shootdown_recording::Syscall;

/// What the kernel was busy with when it flushed.
///
/// The variants stand in the order reports list them in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Creating a task: clone, fork, vfork or clone3.
    Fork,
    /// Replacing the address space: execve or execveat.
    Exec,
    /// Exiting, by a call or by a signal.
    Exit,
    /// mmap, which unmaps what was there if told so (`MAP_FIXED`).
    Mmap,
    /// munmap.
    Munmap,
    /// mprotect or pkey_mprotect.
    Mprotect,
    /// madvise or process_madvise.
    Madvise,
    /// mremap.
    Mremap,
    /// brk, which unmaps when the heap shrinks.
    Brk,
    /// msync.
    Msync,
    /// Anything outside of a syscall: a page fault.
    Fault,
    /// Any other syscall.
    Other,
}

impl Cause {
    /// All causes, in the order reports list them in.
    pub const ALL: [Self; 12] = [
        Self::Fork,
        Self::Exec,
        Self::Exit,
        Self::Mmap,
        Self::Munmap,
        Self::Mprotect,
        Self::Madvise,
        Self::Mremap,
        Self::Brk,
        Self::Msync,
        Self::Fault,
        Self::Other,
    ];

    /// Returns the cause's name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fork => "fork",
            Self::Exec => "exec",
            Self::Exit => "exit",
            Self::Mmap => "mmap",
            Self::Munmap => "munmap",
            Self::Mprotect => "mprotect",
            Self::Madvise => "madvise",
            Self::Mremap => "mremap",
            Self::Brk => "brk",
            Self::Msync => "msync",
            Self::Fault => "fault",
            Self::Other => "other",
        }
    }

    /// Returns the cause that events within `call` have.
    #[must_use]
    pub fn of_syscall(call: Syscall) -> Self {
        match call {
            Syscall::CLONE | Syscall::FORK | Syscall::VFORK | Syscall::CLONE3 => Self::Fork,
            Syscall::EXECVE | Syscall::EXECVEAT => Self::Exec,
            Syscall::EXIT | Syscall::EXIT_GROUP => Self::Exit,
            Syscall::MMAP => Self::Mmap,
            Syscall::MUNMAP => Self::Munmap,
            Syscall::MPROTECT | Syscall::PKEY_MPROTECT => Self::Mprotect,
            Syscall::MADVISE | Syscall::PROCESS_MADVISE => Self::Madvise,
            Syscall::MREMAP => Self::Mremap,
            Syscall::BRK => Self::Brk,
            Syscall::MSYNC => Self::Msync,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
