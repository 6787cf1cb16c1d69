//! The tasks a recording has announced so far.
//!
//! Owns [`KnownTasks`], which catches a recording whose parts do not belong together: a task nobody created, or one
//! created twice.

use rustc_hash::FxHashMap;

use crate::{
    error::Problem,
    event::{Actor, Event, EventKind, TaskId},
};

enum Life {
    Alive,
    /// Exits, or has: such a task still switches and tears down, so it stays known. Its id may be given out anew.
    Exited,
}

/// Every task seen to be created.
pub(crate) struct KnownTasks {
    tasks: FxHashMap<TaskId, Life>,
    /// The task last looked up: events come in runs of one task, and this saves most look-ups.
    last: TaskId,
}

impl KnownTasks {
    pub(crate) fn new(root: TaskId) -> Self {
        Self { tasks: FxHashMap::from_iter([(root, Life::Alive)]), last: root }
    }

    /// Checks the tasks of an event, and learns of those that it creates or ends.
    pub(crate) fn admit(&mut self, event: &Event) -> Result<(), Problem> {
        self.check("tid", event.actor)?;
        match event.kind {
            EventKind::Switch { next, .. } => self.check("next tid", next)?,
            EventKind::NewTask { child, .. } => {
                if let Some(Life::Alive) = self.tasks.insert(child, Life::Alive) {
                    return Err(Problem::TaskReused { task: child });
                }
            }
            EventKind::Exit => {
                if let Some(task) = event.actor.task() {
                    self.tasks.insert(task, Life::Exited);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn check(&mut self, field: &'static str, actor: Actor) -> Result<(), Problem> {
        match actor.task() {
            Some(task) if task != self.last => {
                if !self.tasks.contains_key(&task) {
                    return Err(Problem::UnknownTask { field, task });
                }
                self.last = task;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
