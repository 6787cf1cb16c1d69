//! Whose line it is, and what it tells of him.
//!
//! Owns [`Tasks`]: strace's ids, who is in which process and address space, and which call a line goes on with. strace says
//! who was created when the call returns, and the child may have done much by then; so a task that nobody has announced is
//! taken for the child of the one that is longest in such a call.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::{
    error::{Problem, shown},
    event::{Event, EventKind, TaskId},
    import::strace::{
        call,
        line::{self, Line, Returned, What},
        order::Order,
        value,
    },
    syscall::Syscall,
};

const CLONE_VM: u64 = 0x100;
const CLONE_THREAD: u64 = 0x1_0000;
/// The kernel keeps the signal for the parent apart from the flags.
const CSIGNAL: u64 = 0xff;

/// Stands for the task whose id strace does not say while there is no other.
const NAMELESS: u32 = 0;

/// A task by its id on the recorded machine.
type Pid = u32;

#[derive(Debug)]
struct Task {
    /// Counts all tasks, those outside of the tree, too.
    serial: u32,
    /// Nothing outside of the tree.
    id: Option<TaskId>,
    group: u32,
    space: u32,
    is_alive: bool,
    call: Option<Begun>,
    /// A call of it has been seen to begin.
    has_called: bool,
    /// Where in the order of those that create tasks it is, if it is one of them.
    creating: Option<u64>,
    /// Whose child it was taken for, until that one's call has returned and says so.
    taken_for_child_of: Option<Pid>,
}

/// A call that has not returned.
#[derive(Debug)]
struct Begun {
    /// Nothing if recordings do not name it.
    call: Option<Syscall>,
    at_ns: u64,
    /// Of a call that creates a task.
    flags: Option<u64>,
    /// Whom it was taken to have created.
    child: Option<Pid>,
}

/// Turns lines into events.
#[derive(Debug)]
pub(super) struct Tasks {
    /// Whose tree it is; that of the first task if nobody is named.
    root: Option<Pid>,
    /// All tasks that ever were, since strace goes on about those that we know to be dead.
    tasks: FxHashMap<Pid, Task>,
    /// By serial number.
    living: BTreeMap<u32, Pid>,
    /// Those in a call that creates a task, of which no child is known yet; the longest in it first.
    creating: BTreeMap<u64, Pid>,
    n_creating: u64,
    /// The living members of each thread group, by serial number.
    groups: FxHashMap<u32, BTreeMap<u32, Pid>>,
    /// How many tasks use each address space.
    spaces: FxHashMap<u32, usize>,
    n_spaces: u32,
    n_serials: u32,
    n_ids: u32,
    began_ns: Option<u64>,
    now_ns: u64,
    order: Order,
}

impl Tasks {
    pub(super) fn new(root: Option<Pid>) -> Self {
        Tasks {
            root,
            tasks: FxHashMap::default(),
            living: BTreeMap::new(),
            creating: BTreeMap::new(),
            n_creating: 0,
            groups: FxHashMap::default(),
            spaces: FxHashMap::default(),
            n_spaces: 0,
            n_serials: 0,
            n_ids: 0,
            began_ns: None,
            now_ns: 0,
            order: Order::default(),
        }
    }

    /// Returns the next event, if it is known which it is.
    pub(super) fn next(&mut self) -> Option<Event> {
        self.order.next()
    }

    /// Ends: there are no more lines.
    pub(super) fn finish(&mut self) -> Result<(), Problem> {
        self.order.release(u64::MAX);
        match self.root {
            Some(root) if self.n_ids == 0 => Err(Problem::NoRoot { root: format!("no process {root} is in it") }),
            _ => Ok(()),
        }
    }

    /// Takes in a line.
    pub(super) fn observe(&mut self, line: &Line<'_>) -> Result<(), Problem> {
        let began_ns = *self.began_ns.get_or_insert(line.at_ns);
        // The clock of `-ttt` may be set back.
        self.now_ns = self.now_ns.max(line.at_ns.saturating_sub(began_ns));
        if let Some(pid) = self.whose(line)? {
            if let Some(id) = self.id_of(pid) {
                self.order.hurry(id, self.now_ns);
            }
            match line.what {
                What::Call { name, rest } => self.call(pid, name, rest)?,
                What::Resumed { name, rest } => self.resume(pid, name, rest)?,
                What::Ended => self.end(pid, self.now_ns),
                What::Superseded { by } => self.supersede(pid, by),
                What::Nothing => {}
            }
        }
        self.order.release(self.now_ns);
        Ok(())
    }

    // Who is who.

    /// Finds out whose line it is; nobody's if he is known to be dead.
    fn whose(&mut self, line: &Line<'_>) -> Result<Option<Pid>, Problem> {
        // Where strace leaves the id out, one task is left.
        let pid = line.who.unwrap_or_else(|| self.living.values().next().copied().unwrap_or(NAMELESS));
        let is_call = matches!(line.what, What::Call { .. });
        match self.tasks.get(&pid).map(|task| task.is_alive) {
            Some(true) => Ok(Some(pid)),
            // Its id was given out anew, or its last words are printed.
            Some(false) if !is_call || self.creating.is_empty() => Ok(None),
            Some(false) => self.appear(pid).map(|()| Some(pid)),
            None => {
                let is_resumed = matches!(line.what, What::Resumed { .. });
                if self.tasks.contains_key(&NAMELESS) && (is_resumed || self.creating.is_empty()) {
                    self.rename(NAMELESS, pid);
                } else {
                    self.appear(pid)?;
                }
                Ok(Some(pid))
            }
        }
    }

    /// Lets a task appear that nobody has announced.
    fn appear(&mut self, pid: Pid) -> Result<(), Problem> {
        if self.is_first(pid) && self.creating.is_empty() {
            return self.add_stranger(pid);
        }
        if let Some((_, parent)) = self.creating.pop_first() {
            let begun = self.tasks.get_mut(&parent).and_then(|task| {
                task.creating = None;
                task.call.as_mut()
            });
            let flags = begun.and_then(|begun| {
                begun.child = Some(pid);
                begun.flags
            });
            // Old versions of strace print them when the call returns.
            self.create(parent, pid, flags.unwrap_or_default(), self.now_ns)?;
            if let Some(child) = self.tasks.get_mut(&pid) {
                child.taken_for_child_of = Some(parent);
            }
            return Ok(());
        }
        // It was there when strace came (`-p`, which with `-f` takes all threads of a process).
        let oldest = self.living.values().next().copied();
        // If nobody is named, all are of the tree until nobody of it is left.
        match (self.root, oldest.filter(|pid| self.id_of(*pid).is_some())) {
            (None, Some(thread)) => self.create(thread, pid, CLONE_VM | CLONE_THREAD, self.now_ns),
            _ => self.add_stranger(pid),
        }
    }

    /// Whether the tree begins with this task.
    fn is_first(&self, pid: Pid) -> bool {
        self.n_ids == 0 && self.root.is_none_or(|root| root == pid)
    }

    /// A process that nobody is known to have created.
    fn add_stranger(&mut self, pid: Pid) -> Result<(), Problem> {
        let space = self.new_space()?;
        self.add(pid, None, space, space)
    }

    /// Lets `parent` create a task. If there is one of this id, its end has gone unseen.
    fn create(&mut self, parent: Pid, pid: Pid, flags: u64, at_ns: u64) -> Result<(), Problem> {
        self.end(pid, at_ns);
        let Some(Task { id, group, space, .. }) = self.tasks.get(&parent) else {
            return Ok(());
        };
        let (parent_id, mut group, mut space) = (*id, *group, *space);
        if flags & CLONE_VM == 0 {
            space = self.new_space()?;
        }
        if flags & CLONE_THREAD == 0 {
            // Its process has the number of what it begins with, of which no other process has been the first.
            group = self.new_space()?;
        }
        let id = parent_id.map(|_| self.new_id()).transpose()?;
        if let (Some(parent), Some(child)) = (parent_id, id) {
            self.order.say(at_ns, parent, EventKind::NewTask { child, flags: flags & !CSIGNAL });
        }
        self.add(pid, id, group, space)
    }

    fn add(&mut self, pid: Pid, id: Option<TaskId>, group: u32, space: u32) -> Result<(), Problem> {
        let id = match id {
            None if self.is_first(pid) => Some(self.new_id()?),
            id => id,
        };
        let serial = next(&mut self.n_serials)?;
        self.living.insert(serial, pid);
        self.groups.entry(group).or_default().insert(serial, pid);
        *self.spaces.entry(space).or_default() += 1;
        let task = Task {
            serial,
            id,
            group,
            space,
            is_alive: true,
            call: None,
            has_called: false,
            creating: None,
            taken_for_child_of: None,
        };
        self.tasks.insert(pid, task);
        Ok(())
    }

    /// Gives a living task another id.
    fn rename(&mut self, was: Pid, pid: Pid) {
        let Some(task) = self.tasks.remove(&was) else {
            return;
        };
        let member = self.groups.get_mut(&task.group).and_then(|members| members.get_mut(&task.serial));
        let creating = task.creating.and_then(|place| self.creating.get_mut(&place));
        let living = self.living.get_mut(&task.serial);
        [member, creating, living].into_iter().flatten().for_each(|known| *known = pid);
        self.tasks.insert(pid, task);
    }

    /// The leader of a process ends, since one of its threads executes a program, which then has the leader's id.
    fn supersede(&mut self, leader: Pid, by: Pid) {
        if self.tasks.get(&by).is_some_and(|task| task.is_alive) && by != leader {
            self.end(leader, self.now_ns);
            self.rename(by, leader);
        }
    }

    /// Ends a task that lives; and its address space, if nobody else uses that.
    fn end(&mut self, pid: Pid, at_ns: u64) {
        let Some(task) = self.tasks.get_mut(&pid).filter(|task| task.is_alive) else {
            return;
        };
        task.is_alive = false;
        task.call = None;
        let (id, serial, group, space) = (task.id, task.serial, task.group, task.space);
        self.living.remove(&serial);
        self.stop_creating(pid);
        if let Some(members) = self.groups.get_mut(&group) {
            members.remove(&serial);
            if members.is_empty() {
                self.groups.remove(&group);
            }
        }
        let is_last = self.leave(space);
        if let Some(id) = id {
            self.order.hurry(id, at_ns);
            self.order.say(at_ns, id, EventKind::Exit);
            if is_last {
                self.order.say(at_ns, id, EventKind::TornDown);
            }
        }
    }

    /// Ends the other threads of a task's process.
    fn end_others(&mut self, pid: Pid, at_ns: u64) {
        let group = self.tasks.get(&pid).and_then(|task| self.groups.get(&task.group));
        let others: Vec<Pid> =
            group.into_iter().flat_map(BTreeMap::values).copied().filter(|member| *member != pid).collect();
        others.into_iter().for_each(|other| self.end(other, at_ns));
    }

    /// Tells whether nobody uses the address space any more.
    fn leave(&mut self, space: u32) -> bool {
        let Some(n_users) = self.spaces.get_mut(&space) else {
            return false;
        };
        *n_users = n_users.saturating_sub(1);
        let is_unused = *n_users == 0;
        if is_unused {
            self.spaces.remove(&space);
        }
        is_unused
    }

    fn new_space(&mut self) -> Result<u32, Problem> {
        next(&mut self.n_spaces)
    }

    fn new_id(&mut self) -> Result<TaskId, Problem> {
        let n_before = next(&mut self.n_ids)?;
        TaskId::FIRST.0.checked_add(n_before).map(TaskId).ok_or_else(too_many)
    }

    fn id_of(&self, pid: Pid) -> Option<TaskId> {
        self.tasks.get(&pid)?.id
    }

    // Calls.

    fn call(&mut self, pid: Pid, name: &[u8], rest: &[u8]) -> Result<(), Problem> {
        let call = Syscall::by_name(name);
        self.stop_creating(pid);
        if let Some(args) = line::unfinished(rest) {
            let flags =
                call.filter(|call| call.creates_task()).map(|call| call::flags(call, args)).transpose()?.flatten();
            self.set_call(pid, Some(Begun { call, at_ns: self.now_ns, flags, child: None }));
            return match call {
                Some(call) => self.enter(pid, call, args),
                None => Ok(()),
            };
        }
        self.set_call(pid, None);
        let Some(call) = call else {
            return Ok(());
        };
        match line::returned(rest)? {
            Some(returned) => {
                self.enter(pid, call, returned.args)?;
                let end_ns = self.now_ns.saturating_add(returned.took_ns);
                let begun = Begun { call: Some(call), at_ns: self.now_ns, flags: None, child: None };
                self.leave_call(pid, call, &begun, &returned, end_ns)
            }
            None => {
                let close = rest.iter().rposition(|byte| *byte == b')').unwrap_or(rest.len());
                self.enter(pid, call, rest.get(..close).unwrap_or(rest))
            }
        }
    }

    fn resume(&mut self, pid: Pid, name: &[u8], rest: &[u8]) -> Result<(), Problem> {
        let call = Syscall::by_name(name);
        let Some(task) = self.tasks.get_mut(&pid) else {
            return Ok(());
        };
        let begun = match task.call.take() {
            Some(begun) if begun.call == call => begun,
            // It was in the call when strace came, or is a child, which returns from its parent's.
            None if !task.has_called => return Ok(()),
            _ => return Err(Problem::NotBegun { call: shown(name) }),
        };
        let Some(call) = call else {
            return Ok(());
        };
        if line::unfinished(rest).is_some() {
            task.call = Some(begun);
            return Ok(());
        }
        self.stop_creating(pid);
        match line::returned(rest)? {
            Some(returned) => {
                // The line's own time is when it was printed.
                let end_ns = begun.at_ns.saturating_add(returned.took_ns).min(self.now_ns);
                self.leave_call(pid, call, &begun, &returned, end_ns)
            }
            None => Ok(()),
        }
    }

    fn set_call(&mut self, pid: Pid, begun: Option<Begun>) {
        let creates_task = begun.as_ref().and_then(|begun| begun.call).is_some_and(Syscall::creates_task);
        if let Some(task) = self.tasks.get_mut(&pid) {
            task.call = begun;
            task.has_called = true;
        }
        if creates_task {
            self.start_creating(pid);
        }
    }

    fn start_creating(&mut self, pid: Pid) {
        if let Some(task) = self.tasks.get_mut(&pid)
            && task.creating.is_none()
        {
            task.creating = Some(self.n_creating);
            self.creating.insert(self.n_creating, pid);
            self.n_creating += 1;
        }
    }

    fn stop_creating(&mut self, pid: Pid) {
        if let Some(place) = self.tasks.get_mut(&pid).and_then(|task| task.creating.take()) {
            self.creating.remove(&place);
        }
    }

    /// Begins a call, or the end of who makes it.
    fn enter(&mut self, pid: Pid, call: Syscall, args: &[u8]) -> Result<(), Problem> {
        let args = call::arguments(call, args)?;
        if let Some(id) = self.id_of(pid) {
            self.order.say(self.now_ns, id, EventKind::SyscallEntry { call, args });
        }
        if call == Syscall::EXIT_GROUP {
            self.end_others(pid, self.now_ns);
        }
        if matches!(call, Syscall::EXIT | Syscall::EXIT_GROUP) {
            self.end(pid, self.now_ns);
        }
        Ok(())
    }

    /// Ends a call that has returned, with what comes of it.
    fn leave_call(
        &mut self,
        pid: Pid,
        call: Syscall,
        begun: &Begun,
        returned: &Returned<'_>,
        end_ns: u64,
    ) -> Result<(), Problem> {
        let mut result = value::result(returned.result)?;
        if call.creates_task() && result > 0 {
            let child = self.created(pid, call, begun, returned, result)?;
            // Outside of the tree nothing is said.
            result = child.map_or(result, |child| i64::from(child.0));
        }
        if matches!(call, Syscall::EXECVE | Syscall::EXECVEAT) && result == 0 {
            self.execute(pid, end_ns)?;
        }
        if let Some(id) = self.id_of(pid) {
            self.order.say(end_ns, id, EventKind::SyscallExit { call, result });
        }
        Ok(())
    }

    /// Learns whom a call has created.
    fn created(
        &mut self,
        parent: Pid,
        call: Syscall,
        begun: &Begun,
        returned: &Returned<'_>,
        result: i64,
    ) -> Result<Option<TaskId>, Problem> {
        let child = Pid::try_from(result).map_err(|_| {
            let expected = "the id of the new task, below 2^32";
            Problem::Value { field: "result", found: shown(returned.result), expected }
        })?;
        let taken = self.tasks.get(&child).and_then(|task| task.taken_for_child_of);
        match taken {
            Some(of) => self.confirm(child, of, parent, begun.child),
            None => {
                let flags = match begun.flags {
                    Some(flags) => flags,
                    None => call::flags(call, returned.args)?.ok_or_else(|| {
                        let (found, expected) = (shown(returned.args), "`flags=` and their names");
                        Problem::Value { field: "clone's arguments", found, expected }
                    })?,
                };
                // Its first lines may come before the parent's call has returned.
                self.create(parent, child, flags, begun.at_ns)?;
            }
        }
        Ok(self.id_of(child))
    }

    /// A task that was taken for the child of `of` is that of `parent`: who was taken for its child instead may be the other's.
    fn confirm(&mut self, child: Pid, of: Pid, parent: Pid, instead: Option<Pid>) {
        if let Some(task) = self.tasks.get_mut(&child) {
            task.taken_for_child_of = None;
        }
        if of == parent {
            return;
        }
        let Some(other) = self.tasks.get_mut(&of).and_then(|task| task.call.as_mut()) else {
            return;
        };
        other.child = instead;
        match instead {
            Some(instead) => {
                if let Some(task) = self.tasks.get_mut(&instead) {
                    task.taken_for_child_of = Some(of);
                }
            }
            None => self.start_creating(of),
        }
    }

    /// A task has a new program, and an address space of its own.
    fn execute(&mut self, pid: Pid, at_ns: u64) -> Result<(), Problem> {
        self.end_others(pid, at_ns);
        let new = self.new_space()?;
        let Some(task) = self.tasks.get_mut(&pid) else {
            return Ok(());
        };
        let (id, old) = (task.id, std::mem::replace(&mut task.space, new));
        self.spaces.insert(new, 1);
        let is_last = self.leave(old);
        if let Some(id) = id {
            // The kernel has torn the old one down when it says so.
            if is_last {
                self.order.say(at_ns, id, EventKind::TornDown);
            }
            self.order.say(at_ns, id, EventKind::Exec);
        }
        Ok(())
    }
}

/// Counts on.
fn next(count: &mut u32) -> Result<u32, Problem> {
    let before = *count;
    *count = before.checked_add(1).ok_or_else(too_many)?;
    Ok(before)
}

#[cold]
fn too_many() -> Problem {
    Problem::Value { field: "tasks", found: "more than 2^32 - 1000".to_owned(), expected: "fewer" }
}
