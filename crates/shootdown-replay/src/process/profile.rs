//! What a kernel does that is its own choice and not the law: numbers that differ from kernel to kernel.

/// A kernel whose behaviour a replay imitates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The name in reports.
    pub name: &'static str,
    /// Local flushes that a successful `execve` costs beside those of the mappings it changes.
    pub flushes_per_exec: u64,
}

impl Profile {
    /// Linux 6.18 on x86-64. An `execve` flushes twice: 9,335 flushes were recorded for 4,666 of them in one run of git's
    /// tests, and exactly two each in every bundled recording.
    pub const LINUX_6_18: Profile = Profile { name: "linux-6.18", flushes_per_exec: 2 };
}
