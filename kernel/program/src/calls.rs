//! System calls, by Linux's numbers for x86-64.

use core::arch::asm;

use crate::numbers::{advice, call, futex, memory_file, protection::WRITE, remap};
pub(crate) use crate::numbers::{
    map::{ANONYMOUS, FIXED, NO_RESERVE, PRIVATE, SHARED},
    protection::READ,
};

/// Why a call has failed: Linux's number for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i64);

pub(crate) type Outcome = Result<u64, Errno>;

pub(crate) const READ_WRITE: u64 = READ | WRITE;

/// Makes a call.
///
/// # Safety
/// The call does nothing to memory that Rust uses but what the caller says.
unsafe fn call(number: u64, arguments: [u64; 6]) -> Outcome {
    let [a, b, c, d, e, f] = arguments;
    let result: i64;
    // SAFETY: the kernel keeps all registers but these; of memory the caller says so.
    unsafe {
        asm!("syscall", inout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
            in("r9") f, out("rcx") _, out("r11") _, options(nostack));
    }
    if result < 0 { Err(Errno(-result)) } else { Ok(result.cast_unsigned()) }
}

/// The same with fewer arguments.
unsafe fn call_with(number: u64, arguments: &[u64]) -> Outcome {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    // SAFETY: the caller says so.
    unsafe { call(number, all) }
}

/// Where a value is, for the kernel.
pub(crate) fn address_of<T: ?Sized>(value: &T) -> u64 {
    (&raw const *value).cast::<u8>().expose_provenance() as u64
}

pub(crate) fn read(file: u64, to: &mut [u8]) -> Outcome {
    // SAFETY: it writes to what is borrowed for that.
    unsafe { call_with(call::READ, &[file, to.as_mut_ptr().expose_provenance() as u64, to.len() as u64]) }
}

pub(crate) fn write(file: u64, bytes: &[u8]) -> Outcome {
    // SAFETY: it reads only.
    unsafe { call_with(call::WRITE, &[file, address_of(bytes), bytes.len() as u64]) }
}

pub(crate) fn open(name: &core::ffi::CStr) -> Outcome {
    // SAFETY: it reads a name that ends with a zero byte.
    unsafe { call_with(call::OPEN, &[address_of(name.to_bytes_with_nul())]) }
}

pub(crate) fn close(file: u64) -> Outcome {
    // SAFETY: memory stays as it is.
    unsafe { call_with(call::CLOSE, &[file]) }
}

/// Maps something.
///
/// # Safety
/// If it is [`FIXED`], no Rust value lies there.
pub(crate) unsafe fn map(address: u64, n_bytes: u64, protection: u64, flags: u64, file: u64) -> Outcome {
    // SAFETY: elsewhere it finds room that nobody has; there, the caller says so.
    unsafe { call(call::MMAP, [address, n_bytes, protection, flags, file, 0]) }
}

/// Changes what may be done with pages.
///
/// # Safety
/// No Rust value lies there.
pub(crate) unsafe fn protect(address: u64, n_bytes: u64, protection: u64) -> Outcome {
    // SAFETY: the caller says so.
    unsafe { call_with(call::MPROTECT, &[address, n_bytes, protection]) }
}

/// Unmaps pages.
///
/// # Safety
/// No Rust value lies there.
pub(crate) unsafe fn unmap(address: u64, n_bytes: u64) -> Outcome {
    // SAFETY: the caller says so.
    unsafe { call_with(call::MUNMAP, &[address, n_bytes]) }
}

/// Moves pages to an address, where whatever is there is unmapped.
///
/// # Safety
/// No Rust value lies here or there.
pub(crate) unsafe fn relocate(address: u64, n_bytes: u64, target: u64) -> Outcome {
    // SAFETY: the caller says so.
    unsafe { call_with(call::MREMAP, &[address, n_bytes, n_bytes, remap::MAY_MOVE | remap::TO_TARGET, target]) }
}

/// Drops what pages contain.
///
/// # Safety
/// No Rust value lies there.
pub(crate) unsafe fn discard(address: u64, n_bytes: u64) -> Outcome {
    // SAFETY: the caller says so.
    unsafe { call_with(call::MADVISE, &[address, n_bytes, advice::DONT_NEED]) }
}

/// Has pages of the smallest size only, on a kernel that would choose others by itself.
pub(crate) fn use_small_pages(address: u64, n_bytes: u64) -> Outcome {
    // SAFETY: memory stays as it is.
    unsafe { call_with(call::MADVISE, &[address, n_bytes, advice::NO_HUGE_PAGES]) }
}

/// Lets another thread of this CPU run; and other CPUs, which share an emulator's thread.
pub(crate) fn give_way() {
    core::hint::spin_loop();
    // SAFETY: memory stays as it is. It cannot fail.
    unsafe { call_with(call::SCHED_YIELD, &[]) }.unwrap_or_default();
}

/// Does nothing for a while, where the kernel knows how; without that it returns at once.
pub(crate) fn sleep(seconds: u64) {
    let time = [seconds, 0];
    // SAFETY: it reads two words.
    unsafe { call_with(call::NANOSLEEP, &[address_of(&time), 0]) }.unwrap_or_default();
}

/// Makes a second process. Returns the child's id in the parent, and 0 in the child, whose memory is a copy.
///
/// # Safety
/// There is one thread; or the child needs nothing that another thread may have been changing.
pub(crate) unsafe fn fork() -> Outcome {
    // SAFETY: the caller says so.
    unsafe { call_with(call::FORK, &[]) }
}

/// Ends this process.
pub(crate) fn exit(status: i32) -> ! {
    loop {
        // SAFETY: nothing is there afterwards.
        unsafe { call_with(call::EXIT_GROUP, &[status as u64]) }.unwrap_or_default();
    }
}

/// Waits until a child has ended, and returns its status as `wait4` writes it.
pub(crate) fn wait(child: u64) -> Result<i32, Errno> {
    let mut status = 0_i32;
    // SAFETY: it writes to a number that is borrowed for that.
    unsafe { call_with(call::WAIT4, &[child, (&raw mut status).expose_provenance() as u64, 0, 0]) }?;
    Ok(status)
}

/// Makes a file of a length.
pub(crate) fn truncate(file: u64, n_bytes: u64) -> Outcome {
    // SAFETY: only files that are not mapped yet are given here.
    unsafe { call_with(call::FTRUNCATE, &[file, n_bytes]) }
}

/// Memory without a name.
pub(crate) fn create_memory() -> Outcome {
    // SAFETY: it reads a name.
    unsafe { call_with(call::MEMFD_CREATE, &[address_of(c"small".to_bytes_with_nul()), 0]) }
}

/// The same, of large pages.
pub(crate) fn create_large_memory() -> Outcome {
    // SAFETY: it reads a name.
    unsafe { call_with(call::MEMFD_CREATE, &[address_of(c"large".to_bytes_with_nul()), memory_file::HUGE]) }
}

/// Makes this thread run on one CPU only.
pub(crate) fn run_on(cpu: u64) -> Outcome {
    let set = 1_u64 << cpu;
    // SAFETY: it reads a word.
    unsafe { call_with(call::SCHED_SETAFFINITY, &[0, 8, address_of(&set)]) }
}

/// How many CPUs there are.
pub(crate) fn n_cpus() -> Result<u64, Errno> {
    let mut set = [0_u64; 16];
    // SAFETY: it writes to words that are borrowed for that.
    unsafe {
        call_with(call::SCHED_GETAFFINITY, &[0, size_of_val(&set) as u64, set.as_mut_ptr().expose_provenance() as u64])
    }?;
    Ok(set.iter().map(|word| u64::from(word.count_ones())).sum())
}

/// Sleeps as long as the word has this value.
pub(crate) fn wait_while(word: &core::sync::atomic::AtomicU32, value: u32) {
    while word.load(core::sync::atomic::Ordering::Acquire) == value {
        // SAFETY: it reads the word. If the value is another one by now, it returns at once.
        unsafe { call_with(call::FUTEX, &[address_of(word), futex::WAIT, u64::from(value), 0]) }.unwrap_or_default();
    }
}

/// Wakes all who wait for a word.
pub(crate) fn wake_all(word: &core::sync::atomic::AtomicU32) {
    // SAFETY: memory stays as it is.
    unsafe { call_with(call::FUTEX, &[address_of(word), futex::WAKE, i32::MAX as u64]) }.unwrap_or_default();
}

/// Has `/proc`, where the kernel wants to be asked for it.
pub(crate) fn mount_proc() {
    let proc = address_of(c"/proc".to_bytes_with_nul());
    let kind = address_of(c"proc".to_bytes_with_nul());
    // SAFETY: both read names. If there is one already, they fail.
    unsafe {
        call_with(call::MKDIR, &[proc, 0o755]).unwrap_or_default();
        call_with(call::MOUNT, &[kind, proc, kind, 0, 0]).unwrap_or_default();
    }
}

/// What a kernel writes of itself: six texts of 65 bytes.
pub(crate) const NAME_BYTES: usize = 6 * 65;

/// The kernel's name and its release, if it has any.
pub(crate) fn kernel_name(texts: &mut [u8; NAME_BYTES]) -> Result<[&str; 2], Errno> {
    // SAFETY: it writes to what is borrowed for that.
    unsafe { call_with(call::UNAME, &[texts.as_mut_ptr().expose_provenance() as u64])? };
    Ok([0, 2].map(|index| {
        let text = core::ffi::CStr::from_bytes_until_nul(&texts[65 * index..]).unwrap_or_default();
        text.to_str().unwrap_or_default()
    }))
}

/// Ends the machine, if this is its first process and the kernel lets it.
pub(crate) fn power_off() {
    const MAGIC: [u64; 2] = [0xfee1_dead, 672_274_793];
    const RESTART: u64 = 0x123_4567;
    // SAFETY: nothing is there afterwards; or it fails.
    unsafe { call_with(call::REBOOT, &[MAGIC[0], MAGIC[1], RESTART, 0]) }.unwrap_or_default();
}

/// Where this thread goes on after a fault, that nothing can be done about, of an instruction from `begin` on and before
/// `end`. Not on Linux.
pub(crate) fn set_way_out(begin: u64, end: u64, way_out: u64) -> Outcome {
    // SAFETY: `access` gives places where that is right.
    unsafe { call_with(call::SET_WAY_OUT, &[begin, end, way_out]) }
}
