//! Calls on real threads where there are so few CPUs that all of an inbox is one word. See `host_threads.rs`.
#![deny(unsafe_code)]
#![cfg(target_os = "linux")]
#![expect(dead_code, reason = "the machine can do more than calls")]

#[path = "../examples/host_threads/calls.rs"]
mod calls;
#[path = "../examples/host_threads/host.rs"]
mod host;
#[path = "../examples/host_threads/ledger.rs"]
mod ledger;
#[path = "../examples/host_threads/machine.rs"]
mod machine;
#[path = "../examples/host_threads/mmu.rs"]
mod mmu;
#[path = "../examples/host_threads/outcome.rs"]
mod outcome;

use calls::calls;
use shootdown::UpTo;

type Geometry = UpTo<1, 8>;

/// The same as the test of that name on machines with more CPUs.
#[test]
fn every_call_is_run_once() {
    const N_CALLS: u64 = 100_000;
    let outcome = calls(calls::settings(2, N_CALLS, None), N_CALLS);
    println!("{outcome}");
    outcome.assert_clean();
}
