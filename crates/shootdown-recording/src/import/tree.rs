//! Whose events matter: the tasks of one process tree, renumbered; everything else is told apart only as far as it is needed
//! to know what each CPU keeps loaded.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::{
    error::Problem,
    event::{Actor, Event, EventKind, FlushReason, RecordedCpu, TaskId},
    import::{
        Root,
        moment::{IDLE, KERNEL_THREAD_DAEMON, Moment, Name, Tid, What},
    },
    syscall::Syscall,
};

/// What `perf record` calls its child before the child executes the command.
const PERF_CHILD: &[u8] = b"perf-exec";

/// Names that only kernel threads begin with, for tracers that do not tell who created them.
const KERNEL_THREADS: [&[u8]; 22] = [
    b"kworker/",
    b"ksoftirqd/",
    b"migration/",
    b"rcu_",
    b"rcuog/",
    b"rcuop/",
    b"cpuhp/",
    b"kswapd",
    b"kcompactd",
    b"khugepaged",
    b"ksmd",
    b"kdamond",
    b"kthreadd",
    b"kauditd",
    b"khungtaskd",
    b"oom_reaper",
    b"jbd2/",
    b"irq/",
    b"idle_inject/",
    b"watchdog",
    b"napi/",
    b"dmcrypt_write",
];

const CLONE_VM: u64 = 0x100;
const CLONE_THREAD: u64 = 0x1_0000;

/// A task of the tree.
#[derive(Clone, Copy, Debug)]
struct Member {
    id: TaskId,
    /// The last task it created.
    child: Option<TaskId>,
}

/// Turns what happened on a machine into the events of one process tree.
#[derive(Debug)]
pub(crate) struct Tree {
    root: Root,
    members: FxHashMap<Tid, Member>,
    /// Of the tasks that something is known of, which are kernel threads.
    kernel_threads: FxHashMap<Tid, bool>,
    next: u32,
    /// What each CPU was last said to run.
    running: FxHashMap<u16, Actor>,
    began_ns: Option<u64>,
    last_ns: u64,
    ready: VecDeque<Event>,
}

impl Tree {
    pub(crate) fn new(root: Option<&Root>) -> Self {
        Tree {
            root: root.cloned().unwrap_or_else(|| Root::Named(String::from_utf8_lossy(PERF_CHILD).into_owned())),
            members: FxHashMap::default(),
            kernel_threads: FxHashMap::default(),
            next: TaskId::FIRST.0,
            running: FxHashMap::default(),
            began_ns: None,
            last_ns: 0,
            ready: VecDeque::new(),
        }
    }

    /// Returns an event that is ready.
    pub(crate) fn next(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    /// Looks, at the end, whether there was any tree at all.
    pub(crate) fn finish(&self) -> Result<(), Problem> {
        if !self.has_no_root() {
            return Ok(());
        }
        let root = match &self.root {
            Root::Process(process) => format!("no process {process} is in it"),
            Root::Named(name) => format!("no task named `{name}` is in it"),
            Root::ChildOf(process) => format!("no child of process {process} is in it"),
        };
        Err(Problem::NoRoot { root })
    }

    /// Takes in what happened; moments come in the order of time.
    pub(crate) fn observe(&mut self, moment: &Moment) {
        self.find_root(moment);
        match moment.what {
            What::Named { task, name } => self.learn_name(task, name),
            What::Known { task, parent, .. } => self.learn_parent(task, parent),
            What::NewTask { child, flags } => self.create(moment, child, flags),
            What::Exec { old } => self.execute(moment, old),
            What::Exit => {
                self.tell_of_member(moment, EventKind::Exit);
            }
            What::TornDown => self.tell_of_member(moment, EventKind::TornDown),
            What::Switch { .. } => self.switch(moment),
            What::Enter { number, args } => self.enter(moment, number, args),
            What::Leave { number, result } => self.leave(moment, number, result),
            What::Fault { address, from, access } => {
                self.tell_of_member(moment, EventKind::Fault { address, from, access });
            }
            What::Flush { reason, pages } => self.flush(moment, reason, pages),
            What::Call { target, function } => {
                self.tell_of_member(moment, EventKind::CallTruth { target: RecordedCpu(target), function });
            }
            What::Lost { n_events } => self.tell(moment, Actor::Foreign, EventKind::Lost { n_events }),
        }
    }

    // Who is who.

    /// Looks for the first task of the tree, and for others of its process that were there before the recorder.
    fn find_root(&mut self, moment: &Moment) {
        match (&self.root, moment.what) {
            (Root::Process(root), _) => {
                let root = *root;
                if moment.process == Some(root) || moment.task == root {
                    self.adopt(moment, moment.task);
                }
                if let What::Switch { to, .. } = moment.what
                    && to == root
                {
                    self.adopt(moment, to);
                }
            }
            (Root::ChildOf(root), What::Known { task: child, parent, is_thread: false })
                if parent == *root && self.has_no_root() =>
            {
                self.adopt(moment, child);
            }
            (Root::Named(root), What::Switch { to, to_name: name, .. } | What::Named { task: to, name })
                if self.has_no_root() && name.bytes() == root.as_bytes() =>
            {
                self.adopt(moment, to);
            }
            _ => {}
        }
    }

    fn has_no_root(&self) -> bool {
        self.next == TaskId::FIRST.0
    }

    /// Makes a task that nobody was seen to create a member.
    fn adopt(&mut self, moment: &Moment, task: Tid) {
        if task == IDLE || self.members.contains_key(&task) {
            return;
        }
        let is_root = self.has_no_root();
        let child = self.admit(task);
        if !is_root {
            let event = EventKind::NewTask { child, flags: CLONE_VM | CLONE_THREAD };
            self.tell(moment, Actor::Task(TaskId::FIRST), event);
        }
    }

    fn admit(&mut self, task: Tid) -> TaskId {
        let id = TaskId(self.next);
        self.next = self.next.saturating_add(1);
        self.members.insert(task, Member { id, child: None });
        id
    }

    fn learn_name(&mut self, task: Tid, name: Name) {
        let is_kernel = KERNEL_THREADS.iter().any(|kernel| name.bytes().starts_with(kernel));
        self.kernel_threads.entry(task).or_insert(is_kernel);
    }

    fn learn_parent(&mut self, task: Tid, parent: Tid) {
        let is_kernel = parent == KERNEL_THREAD_DAEMON || task == KERNEL_THREAD_DAEMON;
        self.kernel_threads.insert(task, is_kernel);
    }

    fn actor(&self, task: Tid) -> Actor {
        if task == IDLE {
            return Actor::Idle;
        }
        match self.members.get(&task) {
            Some(member) => Actor::Task(member.id),
            None if self.kernel_threads.get(&task) == Some(&true) => Actor::KernelThread,
            None => Actor::Foreign,
        }
    }

    // What happened.

    fn create(&mut self, moment: &Moment, child: Tid, flags: u64) {
        self.learn_parent(child, moment.task);
        // The number may be that of a task that has ended.
        self.members.remove(&child);
        if self.members.contains_key(&moment.task) {
            let id = self.admit(child);
            if let Some(parent) = self.members.get_mut(&moment.task) {
                parent.child = Some(id);
            }
            self.tell_of_member(moment, EventKind::NewTask { child: id, flags });
        } else if flags & CLONE_THREAD == 0 && self.root == Root::ChildOf(moment.task) && self.has_no_root() {
            self.adopt(moment, child);
        }
    }

    /// A thread that executes a program takes over the number of its process's first.
    fn execute(&mut self, moment: &Moment, old: Tid) {
        if old != moment.task
            && let Some(member) = self.members.remove(&old)
        {
            self.members.insert(moment.task, member);
        }
        self.tell_of_member(moment, EventKind::Exec);
    }

    fn enter(&mut self, moment: &Moment, number: u32, mut args: [u64; 6]) {
        let call = Syscall::from_number(number);
        if call.name().is_some() {
            args.iter_mut().skip(call.n_args()).for_each(|arg| *arg = 0);
            self.tell_of_member(moment, EventKind::SyscallEntry { call, args });
        }
    }

    fn leave(&mut self, moment: &Moment, number: u32, result: i64) {
        let call = Syscall::from_number(number);
        let Some(member) = self.members.get(&moment.task) else {
            return;
        };
        let result = match member.child {
            // What the call returns may be the number that the task has in some container.
            Some(child) if call.creates_task() && result > 0 => i64::from(child.0),
            _ => result,
        };
        if call.name().is_some() {
            self.tell_of_member(moment, EventKind::SyscallExit { call, result });
        }
    }

    /// Flushes of others are no concern of the tree, but for those of reclaim: it takes pages from everybody.
    fn flush(&mut self, moment: &Moment, reason: FlushReason, pages: Option<u64>) {
        let actor = self.actor(moment.task);
        let concerns = match actor {
            Actor::Task(_) => true,
            Actor::KernelThread => reason == FlushReason::LocalBatch,
            Actor::Idle | Actor::Foreign => false,
        };
        if concerns {
            self.tell(moment, actor, EventKind::FlushTruth { reason, pages });
        }
    }

    fn switch(&mut self, moment: &Moment) {
        let What::Switch { from, state, to, to_name } = moment.what else {
            return;
        };
        if to != IDLE && !self.kernel_threads.contains_key(&to) {
            self.learn_name(to, to_name);
        }
        let (from, to) = (self.actor(from), self.actor(to));
        let was = self.running.insert(moment.cpu, to);
        // Between others, only what changes for the CPU is of interest.
        if from.task().is_some() || to.task().is_some() || was != Some(to) {
            self.tell(moment, from, EventKind::Switch { next: to, previous: state });
        }
    }

    fn tell_of_member(&mut self, moment: &Moment, kind: EventKind) {
        if let Some(member) = self.members.get(&moment.task) {
            self.tell(moment, Actor::Task(member.id), kind);
        }
    }

    fn tell(&mut self, moment: &Moment, actor: Actor, kind: EventKind) {
        let began_ns = *self.began_ns.get_or_insert(moment.at_ns);
        // Clocks of CPUs differ a little.
        self.last_ns = self.last_ns.max(moment.at_ns.saturating_sub(began_ns));
        self.ready.push_back(Event { at_ns: self.last_ns, cpu: RecordedCpu(moment.cpu), actor, kind });
    }
}
