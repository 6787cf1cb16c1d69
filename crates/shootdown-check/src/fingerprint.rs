//! What tells a schedule of this code from one of other code.
//!
//! Two hashes. The *setting* is that of the scenario's name, its machine and what was left out; it is known
//! before anything runs, so a schedule also tells what was left out. The *run* is that of what each act did: the
//! operation's kind and the name of what it touched, not the values. So a schedule survives a rebuild, a new line number
//! and a change of code that its run never comes to; it does not survive another order of operations.
//!
//! FNV-1a, since these hashes are printed and must be the same on every machine and with every compiler.

use std::fmt;

use shootdown_sim::smp::{Act, Config, Location, Operation};

use crate::{
    driver::Driver,
    fix_set::FixSet,
    left_out::LeftOut,
    places::{PLACES, touched},
    scenario::Scenario,
};

/// Which code a schedule is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    setting: u32,
    run: u32,
}

impl Fingerprint {
    /// Reads one as it is printed.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() != 16 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let half = |digits| u32::from_str_radix(digits, 16).ok();
        Some(Fingerprint { setting: half(&text[..8])?, run: half(&text[8..])? })
    }

    /// Tells whether the schedule was made of `scenario` without these fixes.
    pub(crate) fn has_setting(self, scenario: &Scenario, left_out: LeftOut) -> bool {
        self.setting == setting(scenario, left_out)
    }

    /// Finds what was left out, if it was two fixes at most.
    pub(crate) fn left_out(self, scenario: &Scenario) -> Option<FixSet> {
        FixSet::up_to_two().find(|left_out| self.has_setting(scenario, (*left_out).into()))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}{:08x}", self.setting, self.run)
    }
}

/// Listens to a run.
pub(crate) struct Fingerprinting {
    setting: u32,
    run: Fnv,
}

impl Fingerprinting {
    pub(crate) fn new(scenario: &Scenario, left_out: LeftOut) -> Self {
        Fingerprinting { setting: setting(scenario, left_out), run: Fnv::new() }
    }

    /// Hears that `act` is about to happen.
    pub(crate) fn hear(&mut self, driver: &impl Driver, act: Act) {
        match act {
            Act::Step { cpu, outcome } => {
                let operation = driver.pending(cpu);
                let touched = touched(operation).map_or_else(String::new, place);
                self.run.write(&format!("{} {outcome} {} {touched}", cpu.0, kind(operation)));
            }
            other => self.run.write(&format!("{other:?}")),
        }
    }

    pub(crate) fn finish(self) -> Fingerprint {
        Fingerprint { setting: self.setting, run: self.run.0 }
    }
}

fn setting(scenario: &Scenario, left_out: LeftOut) -> u32 {
    let mut hash = Fnv::new();
    hash.write(&format!("{} {} {left_out}", scenario.name, machine(&scenario.machine)));
    hash.0
}

/// Switches of machines that are as old as schedules, and count where they are off, too. Any other counts only where it is
/// on, so that a schedule from before there was such a switch is still one of its machine.
const AS_OLD_AS_SCHEDULES: [&str; 13] = [
    "late_changes",
    "serializes",
    "walker_forwards",
    "has_tags",
    "caches_walks",
    "evicts",
    "sets_accessed",
    "sets_dirty",
    "faults_forget",
    "loses_masked_kicks",
    "has_clock",
    "ticks",
    "may_refuse_batches",
];

/// The machine as text. Its last switch has a brace behind it and always counts, so others come before it.
fn machine(machine: &Config) -> String {
    let text = format!("{machine:?}");
    let is_counted =
        |field: &&str| field.strip_suffix(": false").is_none_or(|switch| AS_OLD_AS_SCHEDULES.contains(&switch));
    text.split(", ").filter(is_counted).collect::<Vec<_>>().join(", ")
}

/// The operation's name, without what it is done to.
fn kind(operation: Operation) -> String {
    let mut text = format!("{operation:?}");
    text.truncate(text.find('(').unwrap_or(text.len()));
    text
}

fn place(at: Location) -> String {
    match at {
        Location::Word(word) => PLACES.name(word).to_owned(),
        Location::Entry(at) => format!("{}.{}", at.table.0.0, at.index),
    }
}

struct Fnv(u32);

impl Fnv {
    const fn new() -> Self {
        Fnv(0x811c_9dc5)
    }

    /// Takes in a line; the line's end counts, so that lines cannot run into each other.
    fn write(&mut self, line: &str) {
        for byte in line.bytes().chain([b'\n']) {
            self.0 = (self.0 ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios;

    /// A schedule names its scenario, so only what was left out is to be told by the hash alone.
    #[test]
    fn no_two_settings_of_a_scenario_have_the_same_hash() {
        for scenario in scenarios::all_and_models() {
            let mut settings: Vec<u32> = FixSet::up_to_two().map(|fixes| setting(scenario, fixes.into())).collect();
            let n_settings = settings.len();
            settings.sort_unstable();
            settings.dedup();
            assert_eq!(settings.len(), n_settings, "{}", scenario.name);
        }
    }

    #[test]
    fn newer_switches_count_only_where_they_are_on() {
        let plain = Config::with_cpus(2);
        assert_eq!(
            machine(&plain),
            "Config { cpus: 2, memory: Pso, late_changes: false, serializes: false, walker_forwards: false, tlb: Fills, \
             has_tags: false, caches_walks: false, evicts: false, sets_accessed: false, sets_dirty: true, \
             faults_forget: false, loses_masked_kicks: false, has_clock: false, ticks: false, may_refuse_batches: false, \
             may_refuse_tables: false }"
        );
        let newer = Config { forbids_two_sizes: true, remembers_absent: true, ..plain };
        assert!(machine(&newer).contains("forbids_two_sizes: true, remembers_absent: true, "));
    }

    #[test]
    fn a_fingerprint_survives_as_text_and_nothing_else_is_one() {
        let fingerprint = Fingerprint { setting: 0xab, run: 0x0100_0000 };
        assert_eq!(fingerprint.to_string(), "000000ab01000000");
        assert_eq!(Fingerprint::parse(&fingerprint.to_string()), Some(fingerprint));
        for text in ["", "ab", "+00000ab01000000", "000000ab0100000é", "000000ab010000000"] {
            assert_eq!(Fingerprint::parse(text), None, "{text}");
        }
    }
}
