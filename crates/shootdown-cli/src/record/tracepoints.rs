//! What has to be recorded, and what is unknown where it is not.

use shootdown_recording::Syscall;

/// A tracepoint that a recording is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tracepoint {
    pub(crate) system: &'static str,
    pub(crate) name: &'static str,
    /// Whether only the calls that concern memory, processes and placement are wanted.
    is_filtered: bool,
    /// What the lack of it costs; nothing is left of a recording without those that say nothing here.
    pub(crate) cost: Option<&'static str>,
}

impl Tracepoint {
    /// All of them, in the order of the command line.
    pub(crate) const ALL: [Tracepoint; 11] = [
        Tracepoint { is_filtered: true, ..needed("raw_syscalls", "sys_enter") },
        Tracepoint { is_filtered: true, ..needed("raw_syscalls", "sys_exit") },
        needed("task", "task_newtask"),
        needed("sched", "sched_process_exec"),
        needed("sched", "sched_process_exit"),
        needed("sched", "sched_switch"),
        needed("exceptions", "page_fault_user"),
        needed("exceptions", "page_fault_kernel"),
        Tracepoint {
            cost: Some(
                "it is unknown when address spaces end, so that their pages and tables are never freed in a replay",
            ),
            ..needed("mmap", "exit_mmap")
        },
        Tracepoint {
            cost: Some("the kernel's own flushes are unknown, and there is nothing to compare a replay with"),
            ..needed("tlb", "tlb_flush")
        },
        Tracepoint {
            cost: Some(
                "the kernel's own remote requests are unknown, and there is nothing to compare a replay with; Linux has it \
                 since 6.5",
            ),
            ..needed("csd", "csd_queue_cpu")
        },
    ];

    /// Its arguments for `perf record`.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["-e".to_owned(), self.to_string()];
        if self.is_filtered {
            arguments.extend(["--filter".to_owned(), wanted_calls()]);
        }
        arguments
    }
}

impl std::fmt::Display for Tracepoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.system, self.name)
    }
}

const fn needed(system: &'static str, name: &'static str) -> Tracepoint {
    Tracepoint { system, name, is_filtered: false, cost: None }
}

/// A filter for the calls that matter, in the kernel's words.
fn wanted_calls() -> String {
    let calls: Vec<String> = Syscall::NAMED.iter().map(|call| format!("id=={}", call.number())).collect();
    calls.join("||")
}
