//! Linux's numbers for x86-64: of calls, and of what they are told. Of the kernel and of the program beside it.
#![expect(dead_code, reason = "the program makes calls that only Linux has, and not all that the kernel has")]

/// Which call.
pub(crate) mod call {
    pub(crate) const READ: u64 = 0;
    pub(crate) const WRITE: u64 = 1;
    pub(crate) const OPEN: u64 = 2;
    pub(crate) const CLOSE: u64 = 3;
    pub(crate) const MMAP: u64 = 9;
    pub(crate) const MPROTECT: u64 = 10;
    pub(crate) const MUNMAP: u64 = 11;
    pub(crate) const SCHED_YIELD: u64 = 24;
    pub(crate) const MREMAP: u64 = 25;
    pub(crate) const MADVISE: u64 = 28;
    pub(crate) const NANOSLEEP: u64 = 35;
    pub(crate) const GETPID: u64 = 39;
    pub(crate) const CLONE: u64 = 56;
    pub(crate) const FORK: u64 = 57;
    pub(crate) const EXIT: u64 = 60;
    pub(crate) const WAIT4: u64 = 61;
    pub(crate) const UNAME: u64 = 63;
    pub(crate) const FTRUNCATE: u64 = 77;
    pub(crate) const MKDIR: u64 = 83;
    pub(crate) const MOUNT: u64 = 165;
    pub(crate) const REBOOT: u64 = 169;
    pub(crate) const FUTEX: u64 = 202;
    pub(crate) const SCHED_SETAFFINITY: u64 = 203;
    pub(crate) const SCHED_GETAFFINITY: u64 = 204;
    pub(crate) const EXIT_GROUP: u64 = 231;
    pub(crate) const MEMFD_CREATE: u64 = 319;
    /// Not Linux's: where the thread goes on after a fault that nothing can be done about.
    pub(crate) const SET_WAY_OUT: u64 = 1000;
}

/// What a program may do with pages.
pub(crate) mod protection {
    pub(crate) const READ: u64 = 1;
    pub(crate) const WRITE: u64 = 2;
    pub(crate) const EXECUTE: u64 = 4;
}

/// Of `mmap`.
pub(crate) mod map {
    pub(crate) const SHARED: u64 = 1;
    pub(crate) const PRIVATE: u64 = 2;
    pub(crate) const FIXED: u64 = 0x10;
    pub(crate) const ANONYMOUS: u64 = 0x20;
    pub(crate) const NO_RESERVE: u64 = 0x4000;
    pub(crate) const POPULATE: u64 = 0x8000;
    pub(crate) const HUGE: u64 = 0x4_0000;
}

/// Of `mremap`.
pub(crate) mod remap {
    pub(crate) const MAY_MOVE: u64 = 1;
    pub(crate) const TO_TARGET: u64 = 2;
    pub(crate) const DONT_UNMAP: u64 = 4;
}

/// Of `madvise`.
pub(crate) mod advice {
    pub(crate) const DONT_NEED: u64 = 4;
    pub(crate) const NO_HUGE_PAGES: u64 = 15;
    pub(crate) const POPULATE_READ: u64 = 22;
    pub(crate) const POPULATE_WRITE: u64 = 23;
}

/// Of `clone`.
pub(crate) mod clone {
    /// Memory, file systems, files, handlers, thread group, semaphores.
    pub(crate) const THREAD: u64 = 0x100 | 0x200 | 0x400 | 0x800 | 0x1_0000 | 0x4_0000;
}

/// Of `futex`.
pub(crate) mod futex {
    pub(crate) const WAIT: u64 = 0;
    pub(crate) const WAKE: u64 = 1;
    pub(crate) const PRIVATE: u64 = 128;
}

/// Of `memfd_create`.
pub(crate) mod memory_file {
    pub(crate) const CLOSE_ON_EXEC: u64 = 1;
    pub(crate) const HUGE: u64 = 4;
}
