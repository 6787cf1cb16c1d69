//! Runs the library on real threads, where signals are the interrupts, and looks for stale accesses.
//!
//! The machine is that of `examples/host_threads`. Threads cannot be replayed: a seed gives the same operations on each
//! CPU, not the same interleaving of them.
#![deny(unsafe_code)]
#![cfg(target_os = "linux")]

#[path = "../examples/host_threads/host.rs"]
mod host;
#[path = "../examples/host_threads/machine.rs"]
mod machine;
#[path = "../examples/host_threads/mmu.rs"]
mod mmu;
#[path = "../examples/host_threads/stress.rs"]
mod stress;

use shootdown::{Counter, Fix};
use stress::stress;

/// A use of a page after it was freed, a frame or table lost, or a deadlock: four CPUs do everything at once, and each
/// access asks whose the frame is that it reached.
#[test]
fn nothing_stale_is_used_and_nothing_is_lost() {
    for seed in 1..=4 {
        let outcome = stress(seed, 10_000, None);
        let host = &outcome.host;
        let replay = format!("seed {seed}: cargo run -p shootdown --example host_threads -- {seed}");
        assert_eq!(host.memory.n_stale(), 0, "stale accesses; {replay}");
        assert_eq!(outcome.n_overtaken, 0, "a rendezvous did not wait for a masked section; {replay}");
        assert_eq!(host.counted(Counter::PageReleased), outcome.n_mapped, "pages released and mapped; {replay}");
        assert_eq!(host.memory.n_taken(), 0, "frames lost; {replay}");
        // The run has been where it matters.
        assert!(outcome.n_accesses > 0, "no access succeeded; {replay}");
        for counter in [
            Counter::BatchRefused,
            Counter::FlushLocal,
            Counter::FlushEverything,
            Counter::Kick,
            Counter::SkippedLazy,
            Counter::TableReleased,
        ] {
            assert!(host.counted(counter) > 0, "never happened: {counter:?}; {replay}");
        }
    }
}

#[test]
fn early_free_is_seen() {
    assert_is_seen(Fix::FlushBeforeFree);
}

#[test]
fn flush_of_only_this_cpu_is_seen() {
    assert_is_seen(Fix::FlushRemote);
}

#[test]
fn unawaited_answer_is_seen() {
    assert_is_seen(Fix::WaitForAcks);
}

/// A test that cannot fail shows nothing: without `fix` the same run must go wrong before long.
fn assert_is_seen(fix: Fix) {
    const N_ROUNDS: u64 = 300;
    for seed in 1..=N_ROUNDS {
        let n_stale = stress(seed, 1_000, Some(fix)).host.memory.n_stale();
        if n_stale > 0 {
            println!("without {}: {n_stale} stale accesses in round {seed}", fix.name());
            return;
        }
    }
    panic!("{} was left out {N_ROUNDS} times, with seeds 1 to {N_ROUNDS}, and no access was stale", fix.name());
}
