//! Random operations on all CPUs: nothing goes wrong, and much does if a step is left out.

use shootdown::Fix;
use shootdown_check::{scenarios::soak::ALL, soak};

/// `check --soak` is for more.
const N_OPERATIONS: u64 = 30_000;

#[test]
fn nothing_goes_wrong() {
    let soaked = soak(&ALL, &[], 7, N_OPERATIONS, 2, |_| {});
    assert!(soaked.finding.is_none(), "{}", soaked.finding.expect("it is there").trace);
    assert!(soaked.n_operations >= N_OPERATIONS);
}

/// What a few thousand operations come by. The other steps are for what is seldom, or what these operations do not do.
const VISIBLE: [Fix; 18] = [
    Fix::FlushBeforeFree,
    Fix::WaitForAcks,
    Fix::FlushRemote,
    Fix::AtomicDrain,
    Fix::ServeWhileWaiting,
    Fix::AtomicUnhook,
    Fix::DropWalkCaches,
    Fix::FlushWithoutRoom,
    Fix::RecordChanges,
    Fix::KeepTablesInMind,
    Fix::MaskWhileSwitching,
    Fix::DropAllWhenBehind,
    Fix::CatchUp,
    Fix::RecordUnshared,
    Fix::FlushUnsharedAsFreed,
    Fix::GiveBackOffer,
    Fix::FlushBeforeReuse,
    Fix::LookAgainAtFault,
];

#[test]
fn what_is_left_out_is_noticed() {
    for fix in VISIBLE {
        let soaked = soak(&ALL, &[fix], 1, 10 * N_OPERATIONS, 2, |_| {});
        let finding = soaked.finding.unwrap_or_else(|| panic!("nobody notices that {} is left out", fix.name()));
        println!("{:24} {:>7} operations: {}", fix.name(), soaked.n_operations, finding.failure.kind());
    }
}
