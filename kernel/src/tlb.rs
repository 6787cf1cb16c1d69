//! This CPU's TLB: what it translates through, and making it forget, with the instructions that it has.
//!
//! The most that is made use of is known here; what there is of it is looked up once, before any CPU takes part, and is the
//! same on all of them. Tags are process-context identifiers, SDM 3A §4.10.1 (rev 86): the library's from 1 on, and 0 for
//! the kernel's own tables. Broadcast invalidation (AMD's INVLPGB) is only reported.

use core::{
    arch::{asm, x86_64::__cpuid_count as cpuid},
    sync::atomic::{AtomicBool, Ordering::*},
};

use shootdown::Tag;

use crate::cpu;

const GLOBAL_PAGES: u64 = 1 << 7;
const PROCESS_CONTEXTS: u64 = 1 << 17;
/// In what is written to CR3: what is remembered under the tag stays.
const KEEPS: u64 = 1 << 63;
/// Of CR3, the address.
const ROOT: u64 = 0x000f_ffff_ffff_f000;
/// The type of INVPCID for all contexts, global translations included: SDM 2A, "INVPCID".
const ALL_CONTEXTS: u64 = 2;

static HAS_TAGS: AtomicBool = AtomicBool::new(false);
static HAS_INVPCID: AtomicBool = AtomicBool::new(false);

/// Finds out what this CPU can do, and switches tags on where it has them. With the kernel's own root loaded.
///
/// # Panics
/// If the first CPU could do something else.
pub(crate) fn set_up() {
    let has_tags = cpuid(1, 0).ecx & 1 << 17 != 0;
    let has_invpcid = cpuid(0, 0).eax >= 7 && cpuid(7, 0).ebx & 1 << 10 != 0;
    if cpu::number().0 == 0 {
        HAS_TAGS.store(has_tags, Relaxed);
        HAS_INVPCID.store(has_invpcid, Relaxed);
    }
    assert_eq!((has_tags, has_invpcid), (self::has_tags(), HAS_INVPCID.load(Relaxed)), "all CPUs can do the same");
    if has_tags {
        // SAFETY: the CPU has the bit, and CR3 names context 0 as it must: a page's address was written to it. What is
        // translated stays as it is.
        unsafe {
            asm!("mov {all}, cr4", "or {all}, {bit}", "mov cr4, {all}", all = out(reg) _, bit = in(reg) PROCESS_CONTEXTS,
                options(nostack));
        }
    }
}

/// Tells whether the TLB keeps what it remembers of several address spaces, each under a tag.
#[inline]
pub(crate) fn has_tags() -> bool {
    HAS_TAGS.load(Relaxed)
}

/// What there is beyond INVLPG and CR3, for reports.
pub(crate) fn abilities() -> impl Iterator<Item = &'static str> {
    // Where the leaf is missing, QEMU and processors answer with zeroes, or with the last one there is.
    let has_invlpgb = cpuid(0x8000_0000, 0).eax >= 0x8000_0008 && cpuid(0x8000_0008, 0).ebx & 1 << 3 != 0;
    [(has_tags(), "PCID"), (HAS_INVPCID.load(Relaxed), "INVPCID"), (has_invlpgb, "INVLPGB (unused)")]
        .into_iter()
        .filter_map(|(is_there, name)| is_there.then_some(name))
}

/// Drops the translation of one page, and the cached pointers to tables on its path: those of the tag in use, and global
/// ones.
#[inline]
pub(crate) fn invalidate_page(address: u64) {
    // SAFETY: a translation that is dropped is read anew. Not `nomem`: accesses stay on their side of it.
    unsafe { asm!("invlpg [{}]", in(reg) address, options(nostack, preserves_flags)) }
}

/// Drops every translation of the tag in use that is not global.
#[inline]
pub(crate) fn invalidate_all() {
    // SAFETY: root and tag stay what they are. `KEEPS` reads as zero.
    unsafe { asm!("mov {all}, cr3", "mov cr3, {all}", all = out(reg) _, options(nostack, preserves_flags)) }
}

/// Drops every translation, of every tag and global ones too.
pub(crate) fn invalidate_everything() {
    if HAS_INVPCID.load(Relaxed) {
        // Of this type nothing is looked at, but it must be zero.
        let nothing = [0_u64; 2];
        // SAFETY: the CPU has the instruction, and translations that are dropped are read anew.
        unsafe {
            asm!("invpcid {}, [{}]", in(reg) ALL_CONTEXTS, in(reg) &nothing, options(nostack, preserves_flags));
        }
        return;
    }
    // A change of CR4.PGE does it: SDM 3A §4.10.4.1 (rev 86).
    // SAFETY: the bit is as before at the end. Interrupts in between see no global pages, which is no difference to
    // them.
    unsafe {
        asm!("mov {was}, cr4", "mov {without}, {was}", "and {without}, {mask}", "mov cr4, {without}", "mov cr4, {was}",
            was = out(reg) _, without = out(reg) _, mask = in(reg) !GLOBAL_PAGES, options(nostack));
    }
}

/// The physical address of the root table in use.
#[inline]
pub(crate) fn root() -> u64 {
    let root: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr3", out(reg) root, options(nostack, preserves_flags)) }
    root & ROOT
}

/// Translates through another root table from now on, and forgets everything of the one before, or, with tags, of the
/// kernel's own tables.
///
/// # Safety
/// The table maps the kernel as the one in use does, and lives as long as it is in use. With tags it is the kernel's own.
#[inline]
pub(crate) unsafe fn load_root(root: u64) {
    // SAFETY: the caller says that code, stack and data stay where they are.
    unsafe { asm!("mov cr3, {}", in(reg) root, options(nostack, preserves_flags)) }
}

/// Translates through another root table from now on, under a tag; what is remembered under it is used again if it `keeps`.
///
/// # Safety
/// As [`load_root`], for any table; there are tags; and if it `keeps`, what is remembered is as the tables are.
#[inline]
pub(crate) unsafe fn load_tagged_root(root: u64, tag: Tag, keeps: bool) {
    let context = u64::from(tag.0) + 1;
    // SAFETY: as in `load_root`, and the context is one of 4096: the library gives six.
    unsafe { load_root(root | context | if keeps { KEEPS } else { 0 }) }
}
