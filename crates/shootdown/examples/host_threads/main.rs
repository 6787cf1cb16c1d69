//! The library on the threads of an ordinary process: how it is ported, what it does, and what goes wrong without it.
//!
//! ```text
//! cargo run --release -p shootdown --example host_threads [SEED]
//! cargo run --release -p shootdown --example host_threads -- calls 10000000 [SEED]
//! ```
//!
//! The first shows address spaces, and what goes wrong when a step is left out. The second makes that many calls of every
//! kind, and accounts for each.
//!
//! Read `machine.rs` first: it is the port. A kernel writes the same, with these in place of what a process has:
//!
//! | here | in a kernel |
//! |---|---|
//! | `Cpu`, `cpu` | an empty type; the number comes from per-CPU data, and preemption is off during library calls |
//! | `HostWord`, `word` | the same atomics; entries are reached through the direct map of physical memory |
//! | `Format` | one of `shootdown::arch`, or the kernel's own `EntryFormat` |
//! | `Policy`, `Batch` | the default; a page |
//! | `invalidate`, `complete` | `invlpg` and nothing, `tlbi` and `dsb; isb`, `sfence.vma` and nothing |
//! | `load_root` | a write to `cr3`, `ttbr0_el1` or `satp`; for `None`, of the kernel's own root |
//! | `mask`, `restore` | the interrupt flag, saved and cleared, put back |
//! | `kick` | the interrupt controller, after a barrier that makes earlier stores visible to the handler |
//! | `on_kick` | the handler of that vector: `call::handle_kick`, and the end of the interrupt |
//! | `spin`, `is_overdue` | a loop with a pause in it; nobody need lose patience |
//! | `alloc_table`, `free_table` | the page allocator, without sleeping: the caller holds the page-table lock |
//! | `alloc_batch` | the page allocator, which may refuse |
//! | `per_cpu`, `slot` | per-CPU data; each slot on cache lines of its own |
//! | `space` | the kernel's table of address spaces; an entry outlives its `Space::destroy` |
//! | `descriptor` | a field of what the kernel knows about each frame |
//! | `keeps`, `count` | left out: the defaults vanish |
//! | `Kernel` | what the kernel wants done on other CPUs, and what it does at the end of an interrupt |
//! | `cpus_come_and_go`, `LeaveTogether` | hotplug, if there is any: `call::depart` is the last that a CPU does here |
//! | `mmu.rs`; `stress.rs`, `calls.rs` and its `ledger.rs`, `outcome.rs` | nothing: the processor; the programs |
#![deny(unsafe_code)]
#![expect(clippy::disallowed_types, reason = "the counts are of the example, not of the library")]

use std::{
    env,
    error::Error,
    sync::atomic::{AtomicU64, Ordering::*},
    time::Instant,
};

use calls::calls;
use host::{Host, N_CPUS, Settings};
use shootdown::{Attributes, Counter, CpuId, Fix, Machine, UpTo, Vpn, VpnRange};
use stress::{Outcome, map, stress, unmap};

mod calls;
mod host;
mod ledger;
mod machine;
mod mmu;
mod outcome;
mod stress;

/// Room for 64 CPUs, in one word.
pub(crate) type Geometry = UpTo<1>;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1).peekable();
    let n_calls = arguments.next_if_eq("calls").map(|_| arguments.next().ok_or("how many calls?")).transpose()?;
    let seed = arguments.next().map_or(Ok(1), |seed| seed.parse())?;
    if let Some(n_calls) = n_calls {
        call_each_other(seed, n_calls.parse()?);
        return Ok(());
    }
    share_and_unmap(seed);
    for left_out in [None, Some(Fix::FlushBeforeFree), Some(Fix::WaitForAcks), Some(Fix::FlushRemote)] {
        let begin = Instant::now();
        let outcome = stress(seed, 10_000, left_out);
        let name = left_out.map_or("nothing", Fix::name);
        println!("\nstress, {name} left out, seed {seed}, {} ms", begin.elapsed().as_millis());
        print(&outcome);
    }
    Ok(())
}

/// Every CPU maps some pages, all use all of them, every CPU unmaps its own, and nobody finds one any more.
fn share_and_unmap(seed: u64) {
    const N_PAGES: u64 = 16;
    let (n_before, n_after) = (AtomicU64::new(0), AtomicU64::new(0));
    let host = Host::new(Settings::new(seed, None, format!("cargo run -p shootdown --example host_threads -- {seed}")));
    host.run(|m| {
        let space = &m.host.spaces[0];
        if m.cpu() == CpuId(0) {
            space.create(m).expect("there is a frame for the root");
        }
        m.meet();
        space.switch_to(m);
        let mine = VpnRange::from_len(Vpn(u64::from(m.cpu().0) * N_PAGES), N_PAGES);
        let n_reached =
            || (0..N_CPUS as u64 * N_PAGES).filter(|page| m.access(Vpn(*page), Attributes::USER_READ)).count();
        let n_mapped = (mine.start.0..mine.end.0).filter(|page| map(m, space, Vpn(*page))).count();
        assert_eq!(n_mapped as u64, N_PAGES, "there are frames for all");
        m.meet();
        n_before.fetch_add(n_reached() as u64, Relaxed);
        m.meet();
        unmap(m, space, mine, mine);
        m.meet();
        n_after.fetch_add(n_reached() as u64, Relaxed);
    });
    println!("{N_CPUS} CPUs use {} pages each, then unmap {N_PAGES} each", N_CPUS as u64 * N_PAGES);
    println!("  pages reached: {} before, {} after", n_before.into_inner(), n_after.into_inner());
    println!("  stale accesses: {}, interrupts: {}", host.memory.n_stale(), host.counted(Counter::Kick));
}

fn print(outcome: &Outcome) {
    let host = &outcome.host;
    println!("  stale accesses: {}, masked sections overtaken: {}", host.memory.n_stale(), outcome.n_overtaken);
    println!("  pages mapped: {}, released: {}", outcome.n_mapped, host.counted(Counter::PageReleased));
    println!("  frames lost: {}, accesses: {}", host.memory.n_taken(), outcome.n_accesses);
    for (name, counter) in [
        ("flushes", Counter::Flush),
        ("requests", Counter::RemoteRequest),
        ("interrupts", Counter::Kick),
        ("lazy CPUs left alone", Counter::SkippedLazy),
        ("page tables released", Counter::TableReleased),
    ] {
        println!("  {name}: {}", host.counted(counter));
    }
}

/// Makes calls of every kind, each of which must be run exactly once.
fn call_each_other(seed: u64, n_calls: u64) {
    let begin = Instant::now();
    let outcome = calls(calls::settings(seed, n_calls, None), n_calls);
    let seconds = begin.elapsed().as_secs_f64();
    println!("{n_calls} calls, seed {seed}, {seconds:.1} s, {:.0} a second\n{outcome}", n_calls as f64 / seconds);
    outcome.assert_clean();
    println!("nothing was lost, nothing run twice");
}
