//! What a kernel does that is its own choice and not the law, as data.

use shootdown::{Strength, WhenLooser};
use shootdown_mm::{Exit, Habits, LargeTables, LastSharer};
use shootdown_sim::sequential::{EndOfWalks, Masks};

/// A kernel whose behaviour a replay imitates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The name on command lines and in reports.
    pub name: &'static str,
    /// What it stands for, and where that is from.
    pub about: &'static str,
    /// Which CPUs count as users of an address space.
    pub masks: Masks,
    /// What it waits for before a table that was shared is put to another use. Linux interrupts all online CPUs, whatever
    /// flush came before (`tlb_remove_table_sync_one`, called from `huge_pmd_unshare` of mm/hugetlb.c and since 8ce720d5bd91
    /// from `tlb_flush_unshared_tables` of include/asm-generic/tlb.h). Tables that are freed wait for no interrupt there, but
    /// for RCU (`tlb_remove_table` of mm/mmu_gather.c).
    pub end_of_walks: EndOfWalks,
    /// What memory management does beyond the law.
    pub habits: Habits,
    /// Local flushes that a successful `execve` costs beside those of the mappings it changes. Two in every bundled
    /// recording, and 9,335 for 4,666 of them in a recorded run of git's tests.
    pub flushes_per_exec: u64,
}

/// Linux's memory management: `fork` and `mremap` flush as if they had freed tables (`flush_tlb_mm` and
/// `flush_tlb_range` of arch/x86/include/asm/tlbflush.h), rights that are given by `mprotect` are flushed (`pte_flags_need_flush`,
/// there), a page with one user left is not copied (`wp_can_reuse_anon_folio`
/// of mm/memory.c), and tables of huge pages are shared (`huge_pmd_share` of mm/hugetlb.c).
const LINUX: Habits = Habits {
    fork: Strength::Walk,
    relocation: Strength::Walk,
    looser: WhenLooser::Flush,
    exit: Exit::Flushes,
    last_sharer: LastSharer::KeepsPage,
    large_tables: LargeTables::Shared,
};

impl Profile {
    /// Linux 6.18 on x86-64, of which the bundled recordings are.
    pub const LINUX_6_18: Profile = Profile {
        name: "linux-6.18",
        about: "Linux since 6.14 on x86-64: a CPU's bit stays in the mask when it switches away, and is trimmed once a \
                second, not before the address space is a second old (arch/x86/mm/tlb.c, should_trim_cpumask)",
        masks: Masks::Trimmed { interval_ns: 1_000_000_000 },
        end_of_walks: EndOfWalks::OwnRound,
        habits: LINUX,
        flushes_per_exec: 2,
    };

    /// Linux before 6.14.
    pub const LINUX_6_12: Profile = Profile {
        name: "linux-6.12",
        about: "Linux before 6.14 on x86-64: a CPU leaves the mask when it switches away (arch/x86/mm/tlb.c, \
                switch_mm_irqs_off)",
        masks: Masks::Exact,
        ..Profile::LINUX_6_18
    };

    /// All of them.
    pub const ALL: [Profile; 2] = [Profile::LINUX_6_18, Profile::LINUX_6_12];

    /// Finds a profile by its name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Profile> {
        Profile::ALL.into_iter().find(|profile| profile.name == name)
    }
}
