//! Everything that is to be checked: each scenario with all fixes kept, and without each fix that it proves.
//!
//! Scenarios run on several threads; their verdicts come in the order in which they were asked for.

use std::time::{Duration, Instant};

use crate::{
    fix_set::FixSet,
    graph::{self, Limits},
    in_order,
    report::Report,
    scenario::Scenario,
    scenarios,
};

/// What no machine of any scenario does.
pub const NOWHERE_EXPLORED: &str = "reordered loads, more than 3 CPUs, 4 pages or 2 levels, global entries";

/// One thing to check, and what must come of it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The scenario.
    pub scenario: &'static Scenario,
    /// The fixes that are left out.
    pub left_out: FixSet,
    /// What must come of it.
    pub expected: Expected,
}

/// What must come of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Every interleaving comes to its end without a failure.
    Pass,
    /// Some interleaving fails; the shortest does in this way, if one is named.
    Violation(Option<&'static str>),
}

impl Case {
    /// Says what must come of a scenario without some fixes: a violation if it proves one of them, or is a model of a
    /// protocol that does not hold.
    #[must_use]
    pub fn new(scenario: &'static Scenario, left_out: FixSet) -> Self {
        let mut proofs = left_out.iter().filter_map(|fix| scenario.proof_of(fix));
        let expected = match (proofs.next(), proofs.next()) {
            (Some(proof), None) => Expected::Violation(Some(proof.failure)),
            // What is for a soak proves nothing by name, and what is left out should show all the same.
            (None, _) if is_soak(scenario) && left_out != FixSet::NONE => Expected::Violation(None),
            (None, _) if scenarios::must_hold(scenario) => Expected::Pass,
            _ => Expected::Violation(None),
        };
        Case { scenario, left_out, expected }
    }

    /// Checks it with the graph driver.
    #[must_use]
    pub fn check(self, limits: Limits) -> Verdict {
        self.check_on(1, limits)
    }

    /// Does the same on several threads.
    #[must_use]
    pub fn check_on(self, n_threads: usize, limits: Limits) -> Verdict {
        let began = Instant::now();
        let left_out: Vec<_> = self.left_out.iter().collect();
        let report = graph::check_on(n_threads, self.scenario, &left_out, limits);
        Verdict { case: self, report, took: began.elapsed() }
    }
}

fn is_soak(scenario: &Scenario) -> bool {
    scenarios::soak::ALL.iter().any(|soak| soak.name == scenario.name)
}

/// What came of a case.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The case.
    pub case: Case,
    /// What the graph driver did.
    pub report: Report,
    /// How long it took.
    pub took: Duration,
}

impl Verdict {
    /// Tells whether it is the expected one. A search that was cut without a finding never is: it proves nothing.
    #[must_use]
    pub fn is_expected(&self) -> bool {
        match (self.case.expected, &self.report.finding) {
            (Expected::Pass, _) => self.report.is_proof(),
            (Expected::Violation(_), None) => false,
            (Expected::Violation(kind), Some(finding)) => kind.is_none_or(|kind| kind == finding.failure.kind()),
        }
    }
}

/// Returns all there is to check, scenario by scenario, models of others' protocols last.
#[must_use]
pub fn cases() -> Vec<Case> {
    let of_scenario = |scenario: &'static Scenario| {
        let without = scenario.proves.iter().map(|proof| FixSet::from(&[proof.fix][..]));
        std::iter::once(FixSet::NONE).chain(without).map(move |left_out| Case::new(scenario, left_out))
    };
    scenarios::all_and_models().flat_map(of_scenario).collect()
}

/// Checks cases on several threads, each case on one, and hands on the verdicts in the order of the cases.
pub fn run(cases: &[Case], limits: Limits, n_threads: usize, each: impl FnMut(Verdict)) {
    in_order::run(cases, n_threads, |case| case.check(limits), each);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_come_in_the_order_of_the_cases_however_many_threads_there_are() {
        let cases = &cases()[..12];
        let run = |n_threads| {
            let mut seen = Vec::new();
            run(cases, Limits::default(), n_threads, |verdict| {
                assert!(verdict.is_expected(), "{}", verdict.report);
                seen.push(verdict.report);
            });
            seen
        };
        let alone = run(1);
        assert_eq!(alone.len(), cases.len());
        assert_eq!(alone, run(3));
    }

    #[test]
    fn models_fail_but_those_that_hold() {
        for model in scenarios::models::ALL {
            let verdict = Case::new(model, FixSet::NONE).check(Limits::default());
            assert!(verdict.is_expected(), "{}", verdict.report);
            let holds = scenarios::models::HOLDING.iter().any(|other| other.name == model.name);
            assert_eq!(verdict.case.expected == Expected::Pass, holds, "{}", model.name);
        }
    }

    #[test]
    fn a_search_that_was_cut_is_not_what_was_expected() {
        let case = cases()[0];
        assert_eq!(case.expected, Expected::Pass);
        assert!(!case.check(Limits { max_states: 10, ..Limits::default() }).is_expected());
    }
}
