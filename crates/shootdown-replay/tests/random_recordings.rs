//! Recordings that no kernel would make: well-formed lines in any order, with arguments of any size.

use std::io::Cursor;

use shootdown::Fix;
use shootdown_recording::Recording;
use shootdown_replay::{Grouping, Hardware, Options, Placement, Profile, ReplayError, Report, replay};

/// Marsaglia's xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// Mostly near others, sometimes anywhere.
    fn address(&mut self) -> u64 {
        match self.below(20) {
            0 => self.0,
            1 => 0,
            _ => self.one_of(&[0x7f00_0000_0000, 0x7f00_0010_0000, 0x5555_0000_0000]) + self.below(0x60_0000),
        }
    }

    fn length(&mut self) -> u64 {
        match self.below(40) {
            0 => self.0,
            1 => 0,
            _ => self.below(0x30_0000),
        }
    }

    fn result(&mut self, call: u64) -> String {
        match self.below(4) {
            0 => "-12".to_owned(),
            1 => "0".to_owned(),
            // A task's number is decimal, and everything else is not.
            _ if [56, 57, 58, 435].contains(&call) => "1000".to_owned(),
            _ => format!("{:x}", self.address() & 0x7fff_ffff_ffff_f000 | 0x10_0000),
        }
    }
}

const CALLS: [u64; 18] = [9, 10, 11, 12, 25, 26, 28, 30, 67, 56, 57, 58, 59, 60, 149, 231, 435, 325];
const FLAGS: [u64; 8] = [0x22, 0x32, 0x1, 0x2, 0x21, 0x4_0021, 0x4_0022, 0x8022];

fn call(random: &mut Random) -> String {
    let number = random.one_of(&CALLS);
    let (address, length, third) = (random.address(), random.length(), random.below(26));
    match number {
        // Populating takes its time, so only a little of it.
        9 => {
            let flags = random.one_of(&FLAGS);
            let length = if flags & 0x8000 != 0 { length % 0x10_0000 } else { length };
            format!("E\t9\t0\t{length:x}\t{:x}\t{flags:x}\t3\t{:x}", random.below(8), random.below(99) * 4096)
        }
        25 => format!("E\t25\t{address:x}\t{length:x}\t{:x}\t{:x}\t0", random.length(), random.below(6)),
        12 | 60 | 231 | 67 => format!("E\t{number}\t{address:x}"),
        11 | 56 | 435 => format!("E\t{number}\t{address:x}\t{:x}", length % 0x1000_0000),
        57..=59 => format!("E\t{number}"),
        28 | 149 | 325 => format!("E\t{number}\t{address:x}\t{:x}\t{third:x}", length % 0x40_0000),
        _ => format!("E\t{number}\t{address:x}\t{length:x}\t{third:x}"),
    }
}

fn recording(seed: u64, n_lines: usize) -> String {
    let mut random = Random(seed);
    let mut text = String::from("# tlbt-sample 0\n# workload: random\n# root: 1000\n");
    let mut tasks = vec![1000_u64];
    let mut gone = Vec::new();
    let mut last_call = 9;
    for _ in 0..n_lines {
        let (cpu, task) = (random.below(3), random.one_of(&tasks));
        let event = match random.below(20) {
            0..6 => call(&mut random),
            6..9 => format!("X\t{last_call}\t{}", random.result(last_call)),
            9..14 => format!("{}\t{:x}\t{}", random.one_of(&["F", "K"]), random.address(), random.below(32)),
            14 => {
                let (state, next) = (random.one_of(&["R", "S", "D"]), random.below(6));
                let next = match next {
                    0 => "0".to_owned(),
                    1 => "-1".to_owned(),
                    2 => "-2".to_owned(),
                    _ => random.one_of(&tasks).to_string(),
                };
                format!("S\t{next}\t{state}")
            }
            15 if tasks.len() < 30 => {
                // Sometimes with the number of a task that has exited.
                let child = gone.pop().unwrap_or(1000 + (tasks.len() + gone.len()) as u64 * 7 + random.below(7));
                if tasks.contains(&child) {
                    continue;
                }
                tasks.push(child);
                format!("N\t{child}\t{:x}", random.one_of(&[0_u64, 0x100, 0x4100, 0x50f00]))
            }
            16 if tasks.len() > 2 => {
                tasks.retain(|other| *other != task);
                gone.push(task);
                "Q".to_owned()
            }
            17 => "M".to_owned(),
            18 => "C".to_owned(),
            _ => format!("T\t{}\t{}", random.below(6), random.below(50)),
        };
        if let Some(number) = event.strip_prefix("E\t") {
            last_call = number.split('\t').next().and_then(|number| number.parse().ok()).expect("a number");
        }
        text += &format!("{}\t{cpu}\t{task}\t{event}\n", random.below(30_000_000));
    }
    text
}

fn play(seed: u64, n_lines: usize, options: &Options) -> Result<Report, ReplayError> {
    let text = recording(seed, n_lines);
    let recording = Recording::from_reader("random.tlbt", Cursor::new(text)).expect("a whole header");
    replay(recording, options, |_| {})
}

/// Whatever a recording says happened: no panic, an error at most, and nothing stale.
#[test]
fn nothing_panics_and_nothing_stale_is_used() {
    let mut n_whole = 0;
    for seed in 1..=150 {
        let options = Options {
            profile: Profile::ALL[seed as usize % 2],
            placement: if seed % 3 == 0 { Placement::Spread { n_cpus: 5 } } else { Placement::AsRecorded },
            by: vec![Grouping::Range],
            ..Options::default()
        };
        match play(seed, 1_500, &options) {
            Ok(report) => {
                assert_eq!(report.stale_accesses, 0, "seed {seed}: {:?}", report.violations.first());
                n_whole += 1;
            }
            Err(ReplayError::OutOfMemory { .. }) => {}
            Err(error) => panic!("seed {seed}: the recording is well-formed: {error}"),
        }
    }
    assert!(n_whole > 100, "{n_whole} ran to their end");
}

/// Addresses all over the place do not fit there, which is an error and no more.
#[test]
fn nothing_panics_on_a_machine_with_a_smaller_address_space() {
    let mut n_without_room = 0;
    for seed in 1..=60 {
        match play(seed, 1_500, &Options { machine: Hardware::Alpha, ..Options::default() }) {
            Ok(report) => assert_eq!(report.stale_accesses, 0, "seed {seed}: {:?}", report.violations.first()),
            Err(ReplayError::OutOfMemory { .. }) => {}
            Err(ReplayError::NoRoom { .. }) => n_without_room += 1,
            Err(error) => panic!("seed {seed}: the recording is well-formed: {error}"),
        }
    }
    assert!((1..60).contains(&n_without_room), "{n_without_room} of 60 found no room");
}

/// With a step left out the library's own assumptions break; what comes of it is told, and still nothing panics.
#[test]
fn what_is_left_out_is_found_without_a_panic() {
    for fix in Fix::ALL {
        let options = Options { without: vec![fix], ..Options::default() };
        let reports: Vec<Report> = (1..=40).filter_map(|seed| play(seed, 1_500, &options).ok()).collect();
        let n_stale: u64 = reports.iter().map(|report| report.stale_accesses).sum();
        // The others are about what happens between two steps of a CPU, where nothing does on this machine.
        let is_seen = [
            Fix::FlushBeforeFree,
            Fix::WaitForAcks,
            Fix::FlushRemote,
            Fix::DropWalkCaches,
            Fix::RecordChanges,
            Fix::TellLazyOfTables,
            Fix::CatchUp,
        ]
        .contains(&fix);
        assert_eq!(n_stale > 0, is_seen, "{}: {n_stale}", fix.name());
    }
}

/// What is due some time after the last moment that there can be is never due.
#[test]
fn nothing_panics_at_the_end_of_time() {
    let text = "# tlbt-sample 0\n# workload: late\n# root: 1000\n\
        18446744073709551615\t0\t1000\tF\t7000\t6\n\
        0\t0\t1000\tN\t1001\t0\n\
        0\t0\t1000\tS\t1001\tR\n\
        0\t0\t1001\tF\t7000\t6\n";
    for machine in [Hardware::X86_64, Hardware::Alpha] {
        let recording = Recording::from_reader("late.tlbt", Cursor::new(text)).expect("a whole header");
        let report = replay(recording, &Options { machine, ..Options::default() }, |_| {}).expect("a whole recording");
        assert_eq!(report.stale_accesses, 0);
    }
}
