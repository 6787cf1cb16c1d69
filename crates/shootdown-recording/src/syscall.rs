//! Syscalls by their x86-64 number.
//!
//! Owns [`Syscall`] and the table of those that the recording command asks for. Which [`Cause`](crate::Cause) a
//! syscall belongs to is `cause.rs`.

use std::fmt;

/// A syscall, by its x86-64 number.
///
/// A number rather than an enum: a recording may hold calls this crate has no name for, and they count as "other".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Syscall(u32);

/// Declares the named syscalls once, as constants and for [`Syscall::name`].
macro_rules! named_syscalls {
    ($($constant:ident = $number:literal $name:literal,)*) => {
        impl Syscall {
            $(
                #[doc = concat!("`", $name, "`, number ", stringify!($number), ".")]
                pub const $constant: Self = Self($number);
            )*

            /// Those that have names here.
            pub const NAMED: &[Self] = &[$(Self::$constant,)*];

            /// Returns the syscall's name, or `None` if it is not one that recordings usually hold.
            #[must_use]
            pub fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$constant => Some($name),)*
                    _ => None,
                }
            }

            /// Finds a syscall by its name, if it is one that recordings usually hold.
            #[must_use]
            pub fn by_name(name: &[u8]) -> Option<Self> {
                $(
                    if name == $name.as_bytes() {
                        return Some(Self::$constant);
                    }
                )*
                None
            }
        }
    };
}

named_syscalls! {
    MMAP = 9 "mmap",
    MPROTECT = 10 "mprotect",
    MUNMAP = 11 "munmap",
    BRK = 12 "brk",
    MREMAP = 25 "mremap",
    MSYNC = 26 "msync",
    MADVISE = 28 "madvise",
    SHMAT = 30 "shmat",
    SHMCTL = 31 "shmctl",
    CLONE = 56 "clone",
    FORK = 57 "fork",
    VFORK = 58 "vfork",
    EXECVE = 59 "execve",
    EXIT = 60 "exit",
    SHMDT = 67 "shmdt",
    FSYNC = 74 "fsync",
    FDATASYNC = 75 "fdatasync",
    TRUNCATE = 76 "truncate",
    FTRUNCATE = 77 "ftruncate",
    MLOCK = 149 "mlock",
    MLOCKALL = 151 "mlockall",
    SCHED_SETAFFINITY = 203 "sched_setaffinity",
    REMAP_FILE_PAGES = 216 "remap_file_pages",
    EXIT_GROUP = 231 "exit_group",
    MBIND = 237 "mbind",
    MIGRATE_PAGES = 256 "migrate_pages",
    MOVE_PAGES = 279 "move_pages",
    FALLOCATE = 285 "fallocate",
    PROCESS_VM_WRITEV = 311 "process_vm_writev",
    EXECVEAT = 322 "execveat",
    MEMBARRIER = 324 "membarrier",
    MLOCK2 = 325 "mlock2",
    PKEY_MPROTECT = 329 "pkey_mprotect",
    CLONE3 = 435 "clone3",
    PROCESS_MADVISE = 440 "process_madvise",
}

impl Syscall {
    /// Names a syscall by its x86-64 number.
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }

    /// Returns the x86-64 number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// Returns how many of its arguments matter to a replay, from the first on. Those that do not are as good as 0; some would
    /// tell about the machine that was recorded.
    #[must_use]
    pub fn n_args(self) -> usize {
        match self {
            Self::MMAP => 6,
            Self::MREMAP | Self::REMAP_FILE_PAGES => 5,
            Self::FALLOCATE | Self::PKEY_MPROTECT => 4,
            Self::MPROTECT | Self::MSYNC | Self::MADVISE | Self::SHMAT | Self::MBIND | Self::MLOCK2 => 3,
            Self::MUNMAP | Self::MLOCK | Self::FTRUNCATE => 2,
            Self::BRK | Self::CLONE | Self::SHMDT | Self::MLOCKALL | Self::MEMBARRIER => 1,
            _ => 0,
        }
    }

    /// Says whether the call creates a task, so that its result is a task id (or 0 in the new task).
    #[must_use]
    pub fn creates_task(self) -> bool {
        matches!(self, Self::CLONE | Self::FORK | Self::VFORK | Self::CLONE3)
    }
}

impl fmt::Display for Syscall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "syscall {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Syscall;

    #[test]
    fn a_known_syscall_has_its_name_and_any_other_its_number() {
        assert_eq!(Syscall::from_number(28).to_string(), "madvise");
        assert_eq!(Syscall::from_number(7).to_string(), "syscall 7");
        assert_eq!(Syscall::from_number(7).name(), None);
    }

    #[test]
    fn a_name_finds_the_syscall_that_has_it() {
        assert_eq!(Syscall::by_name(b"pkey_mprotect"), Some(Syscall::PKEY_MPROTECT));
        assert_eq!(Syscall::by_name(b"poll"), None);
    }
}
