//! The text of tracers, behind two lines that make it one and begin a process tree.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shootdown_fuzz::{read_bytes, round_trip_as_text};

const BEGINNING: &[u8] = b"# tracer: nop\n\
    sh-7 [000] d..2. 1.000000: sched_switch: \
    prev_comm=sh prev_pid=7 prev_prio=120 prev_state=S ==> next_comm=perf-exec next_pid=8 next_prio=120\n";

fuzz_target!(|input: &[u8]| {
    if let Some(told) = read_bytes(&[BEGINNING, input].concat()) {
        round_trip_as_text(&told);
    }
});
