//! What came of a boot: what the kernel said, and how it ended.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Arguments,
    bench::{Measured, Operation},
};

/// How the machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Passed,
    Failed,
    /// The kernel panicked before the tests began.
    Broken,
    /// With another exit status; 0 after a triple fault.
    Strange(Option<i32>),
    /// Not by itself.
    TimeLimit(Duration),
}

impl Ending {
    /// QEMU's debug device makes twice the kernel's value plus one of it, see the kernel's `exit.rs`.
    pub(super) fn of_status(status: Option<i32>) -> Ending {
        match status {
            Some(0x21) => Ending::Passed,
            Some(0x23) => Ending::Failed,
            Some(0x25) => Ending::Broken,
            _ => Ending::Strange(status),
        }
    }
}

/// One test.
#[derive(Debug, Serialize)]
struct Test {
    test: String,
    passed: bool,
    /// Why not.
    reason: Option<String>,
}

/// A row of the bench: the instructions for one page, on all CPUs together.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    targets: u64,
    spinning: u64,
    halted: u64,
}

/// What came of a boot.
#[derive(Debug)]
pub(super) struct Outcome {
    tests: Vec<Test>,
    bench: Vec<Row>,
    /// What the program has measured, and the kernel's name, if it has one.
    operations: Vec<Operation>,
    kernel: Option<String>,
    /// The program's, where it is the first process of a whole system.
    status: Option<String>,
    ending: Ending,
}

impl Outcome {
    pub(super) fn new(said: &[u8], ending: Ending) -> Outcome {
        let said = String::from_utf8_lossy(said);
        Outcome {
            tests: tests(&said),
            bench: said.lines().filter_map(row).collect(),
            operations: said.lines().filter_map(Operation::of_line).collect(),
            kernel: field(&said, "kernel"),
            status: field(&said, "status"),
            ending,
        }
    }

    /// What the program has measured, if it has.
    pub(super) fn measured(&self, cpus: u16) -> Option<Measured> {
        let kernel = self.kernel.clone().unwrap_or_else(|| "shootdown".to_owned());
        (!self.operations.is_empty()).then(|| Measured { kernel, cpus, operations: self.operations.clone() })
    }

    /// The program says that all went well, and the system has ended.
    pub(super) fn has_ended_well(&self) -> bool {
        self.status.as_deref() == Some("0") && self.ending == Ending::Strange(Some(0))
    }

    /// All that ran has passed, and something ran.
    pub(super) fn is_fine(&self) -> bool {
        self.ending == Ending::Passed && !self.tests.is_empty() && self.tests.iter().all(|test| test.passed)
    }

    /// Why the kernel has not said by itself what came of it, if so.
    pub(super) fn without_verdict(&self) -> Option<String> {
        match self.ending {
            Ending::Passed | Ending::Failed | Ending::Broken => None,
            Ending::Strange(Some(0)) => Some("the machine reset itself: an exception in an exception".to_owned()),
            Ending::Strange(status) => Some(format!("the machine ended by itself, with status {status:?}")),
            Ending::TimeLimit(limit) => Some(format!("the machine did not end within {} s", limit.as_secs())),
        }
    }

    pub(super) fn json(&self, arguments: &Arguments, took: Duration) -> Value {
        let n_passed = self.tests.iter().filter(|test| test.passed).count();
        json!({
            "cpus": arguments.cpus,
            "seed": arguments.seed,
            "without": arguments.without,
            "operations": arguments.operations,
            "icount": arguments.icount,
            "parallel": arguments.parallel,
            "tests": self.tests,
            "bench": self.bench,
            "programs": self.operations,
            "passed": n_passed,
            "failed": self.tests.len() - n_passed,
            "verdict": if self.is_fine() { "pass" } else { "violation" },
            "ended": self.without_verdict(),
            "seconds": took.as_secs_f64(),
        })
    }
}

/// The tests that have begun, with the verdict of each: behind its name, or at the beginning of a later line.
fn tests(said: &str) -> Vec<Test> {
    let mut tests: Vec<Test> = Vec::new();
    let mut is_open = false;
    for line in said.lines().map(str::trim_end) {
        let verdict = match line.strip_prefix("test ").and_then(|rest| rest.split_once(" ...")) {
            Some((name, rest)) => {
                let reason = Some("did not end".to_owned());
                tests.push(Test { test: name.to_owned(), passed: false, reason });
                is_open = true;
                rest.trim_start()
            }
            None => line,
        };
        let Some(test) = tests.last_mut().filter(|_| is_open) else {
            continue;
        };
        let failed = verdict.strip_prefix("FAILED: ");
        if verdict == "ok" || failed.is_some() {
            (test.passed, test.reason) = (failed.is_none(), failed.map(str::to_owned));
            is_open = false;
        }
    }
    tests
}

/// What the program says under a name.
fn field(said: &str, name: &str) -> Option<String> {
    let lines = said.lines().filter_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix('\t'));
    lines.map(str::to_owned).next()
}

fn row(line: &str) -> Option<Row> {
    let numbers: Result<Vec<u64>, _> = line.split_whitespace().map(str::parse).collect();
    match numbers.ok()?[..] {
        [targets, spinning, halted] => Some(Row { targets, spinning, halted }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_understood() {
        let said =
            b"shootdown on 4 CPUs\ntest control ... ok\ntest unmap ... FAILED: 3 stale accesses\n1 passed, 1 failed\n";
        let outcome = Outcome::new(said, Ending::Failed);
        let results: Vec<_> = outcome.tests.iter().map(|test| (test.test.as_str(), test.reason.as_deref())).collect();
        assert_eq!(results, [("control", None), ("unmap", Some("3 stale accesses"))]);
        assert!(!outcome.is_fine());
    }

    #[test]
    fn a_verdict_may_come_after_what_the_program_says() {
        let said =
            b"test user ...\nprocess 0: is used\nFAILED: wrong\ntest bench ...\nok\nok\ntest last ... \nnot ok\n";
        let outcome = Outcome::new(said, Ending::Failed);
        let results: Vec<_> = outcome.tests.iter().map(|test| (test.test.as_str(), test.reason.as_deref())).collect();
        assert_eq!(results, [("user", Some("wrong")), ("bench", None), ("last", Some("did not end"))]);
    }

    #[test]
    fn rows_of_the_bench_are_numbers() {
        let said = b"targets  spinning  halted\n      1       894     895\na target      522     523\n";
        let outcome = Outcome::new(said, Ending::Passed);
        assert_eq!(outcome.bench, [Row { targets: 1, spinning: 894, halted: 895 }]);
    }

    #[test]
    fn a_kernel_that_says_nothing_has_not_passed() {
        assert!(!Outcome::new(b"", Ending::Passed).is_fine());
        assert!(Outcome::new(b"test control ... ok\n", Ending::Passed).is_fine());
        let hung = Outcome::new(b"test control ... ", Ending::TimeLimit(Duration::from_secs(3)));
        assert!(!hung.is_fine());
        assert_eq!(hung.without_verdict().as_deref(), Some("the machine did not end within 3 s"));
        assert!(Outcome::new(b"", Ending::of_status(Some(0))).without_verdict().is_some());
    }
}
