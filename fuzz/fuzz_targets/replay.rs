//! A recording of any events, replayed in any way.

#![no_main]

use std::io::Cursor;

use arbitrary::Unstructured;
use libfuzzer_sys::{Corpus, fuzz_target};
use shootdown_fuzz::{NAME, any_recording, write_as_text};
use shootdown_recording::{Event, EventKind, Interpretation, Recording, Syscall};
use shootdown_replay::{Device, Grouping, Hardware, Options, Placement, Profile, ReplayError, replay};

/// Each may be a call that goes through a large range.
const MOST_EVENTS: usize = 200;
/// Of what is populated at once: the simulated machine has memory for much more, which takes its time.
const MOST_BYTES: u64 = 1 << 20;
const N_CPUS: u16 = 4;
const MAP_POPULATE: u64 = 0x8000;

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((choice, rest)) = input.split_first() else {
        return Corpus::Reject;
    };
    let Ok(mut told) = any_recording(&mut Unstructured::new(rest)) else {
        return Corpus::Reject;
    };
    told.events.truncate(MOST_EVENTS);
    told.events.iter_mut().for_each(make_short);
    let bytes = Cursor::new(write_as_text(&told));
    let recording = Recording::from_seekable(NAME, bytes, &Interpretation::default()).expect("a header");
    match replay(recording, &options(*choice), |_| {}) {
        Ok(report) => assert_eq!(report.stale_accesses, 0, "{:?}", report.violations.first()),
        Err(ReplayError::Read(error)) => panic!("{error}"),
        Err(_) => {}
    }
    Corpus::Keep
});

/// One bit for each choice.
fn options(choice: u8) -> Options {
    let is_chosen = |bit: u8| choice >> bit & 1 == 1;
    Options {
        machine: if is_chosen(0) { Hardware::Alpha } else { Hardware::RECORDED },
        device: is_chosen(1).then_some(Device::Iommu),
        placement: if is_chosen(2) { Placement::Spread { n_cpus: 3 } } else { Placement::AsRecorded },
        profile: Profile::ALL[usize::from(is_chosen(3))],
        by: Grouping::ALL.to_vec(),
        timeline: true,
        ..Options::default()
    }
}

/// Takes CPUs that the machine has, and makes ranges short that would be populated page by page.
fn make_short(event: &mut Event) {
    event.cpu.0 %= N_CPUS;
    if let EventKind::SyscallEntry { call, args } = &mut event.kind {
        match *call {
            Syscall::MMAP if args[3] & MAP_POPULATE != 0 => args[1] %= MOST_BYTES,
            Syscall::MADVISE | Syscall::MLOCK | Syscall::MLOCK2 => args[1] %= MOST_BYTES,
            _ => {}
        }
    }
}
