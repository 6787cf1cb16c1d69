//! The code of each CPU as a graph: what it does next, after each result that its operations had.
//!
//! A node stands for the code suspended at an operation, an edge for the operation's result. To find what lies behind
//! an edge for the first time, the code is run from its beginning with the results on the way to the node; it must come
//! the same way, or it is not deterministic.
//!
//! Two things keep the graph finite and small. A wait that was not ready leaves nothing behind, so it leads back to the
//! node at its head. A scope or a wait that ends leaves only its result behind, so all ways through it that had the
//! same result lead to the same node.

use rustc_hash::FxHashMap;
use shootdown::CpuId;
use shootdown_sim::smp::Violation;

use crate::{
    coroutine::{Answer, Ask, Code, Question, Role, Stop, Task},
    failure::Failure,
    left_out::LeftOut,
    scenario::Scenario,
};

/// A node's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(pub(super) u32);

impl NodeId {
    /// No node: where a CPU runs no handler, or does not exist.
    pub(crate) const NONE: NodeId = NodeId(u32::MAX);
}

/// A node and a result that its operation never had before: the code must be run to know where it leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unseen {
    node: NodeId,
    result: u64,
}

/// Why an act could not be performed.
#[derive(Debug)]
pub(crate) enum Obstacle {
    /// It fails.
    Failure(Failure),
    /// Nobody knows yet what the code does after it.
    Unseen(Unseen),
}

impl From<Violation> for Obstacle {
    fn from(violation: Violation) -> Self {
        Obstacle::Failure(violation.into())
    }
}

impl From<Unseen> for Obstacle {
    fn from(unseen: Unseen) -> Self {
        Obstacle::Unseen(unseen)
    }
}

/// The code of a CPU, suspended.
struct Node {
    stop: Stop,
    code: Code,
    /// One way here: the node before and its result; none for the beginning of the code.
    came_by: Option<(NodeId, u64)>,
    /// For each wait and scope that the code is in, outermost first, the first node in it.
    heads: Vec<NodeId>,
    next: Vec<(u64, NodeId)>,
}

/// The end of a wait or a scope: its first node, how many others it is in, and its result.
type Exit = (NodeId, usize, u64);

/// What is known of all code of a scenario.
pub(crate) struct Unfolding {
    nodes: Vec<Node>,
    exits: FxHashMap<Exit, NodeId>,
    mains: Vec<NodeId>,
    handlers: Vec<NodeId>,
    /// None where timers do not tick.
    ticks: Vec<NodeId>,
}

impl Unfolding {
    /// Runs every CPU's main code and handlers up to their first operation.
    pub(crate) fn new(scenario: &'static Scenario, left_out: LeftOut) -> Self {
        let mut unfolding = Unfolding {
            nodes: Vec::new(),
            exits: FxHashMap::default(),
            mains: Vec::new(),
            handlers: Vec::new(),
            ticks: Vec::new(),
        };
        let mut begin = |role| -> Vec<NodeId> {
            scenario.cpus().map(|cpu| unfolding.begin(Code { scenario, left_out, cpu, role })).collect()
        };
        let (mains, handlers) = (begin(Role::Main), begin(Role::Handler));
        let ticks = if scenario.machine.ticks { begin(Role::Tick) } else { Vec::new() };
        Unfolding { mains, handlers, ticks, ..unfolding }
    }

    /// The beginning of the CPU's main code.
    pub(crate) fn main(&self, cpu: CpuId) -> NodeId {
        self.mains[usize::from(cpu.0)]
    }

    /// The beginning of the CPU's handler for kicks.
    pub(crate) fn handler(&self, cpu: CpuId) -> NodeId {
        self.handlers[usize::from(cpu.0)]
    }

    /// The beginning of the CPU's handler for ticks.
    pub(crate) fn tick(&self, cpu: CpuId) -> NodeId {
        self.ticks[usize::from(cpu.0)]
    }

    pub(crate) fn n_nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Where the code stands at each node.
    pub(crate) fn into_stops(self) -> impl Iterator<Item = Stop> {
        self.nodes.into_iter().map(|node| node.stop)
    }

    /// Where the code stands at `node`.
    pub(crate) fn stop(&self, node: NodeId) -> &Stop {
        &self.node(node).stop
    }

    /// Returns where the code goes from `node` when its operation has this result, if it has been run for that.
    pub(crate) fn follow(&self, node: NodeId, result: u64) -> Result<NodeId, Unseen> {
        let known = self.node(node).next.iter().find(|(other, _)| *other == result);
        known.map(|(_, next)| *next).ok_or(Unseen { node, result })
    }

    /// Tries something until all code has been run that it comes by.
    pub(crate) fn run_until_seen<T>(
        &mut self,
        mut attempt: impl FnMut(&Unfolding) -> Result<T, Obstacle>,
    ) -> Result<T, Failure> {
        loop {
            match attempt(self) {
                Ok(done) => return Ok(done),
                Err(Obstacle::Failure(failure)) => return Err(failure),
                Err(Obstacle::Unseen(unseen)) => self.grow(unseen),
            }
        }
    }

    fn node(&self, node: NodeId) -> &Node {
        &self.nodes[node.0 as usize]
    }

    fn begin(&mut self, code: Code) -> NodeId {
        let mut task = Task::new(code);
        let ask = task.resume(Answer::Result(0));
        self.run_to_node(task, ask, code, None, Vec::new())
    }

    /// Runs the code to find out where it goes.
    pub(crate) fn grow(&mut self, Unseen { node, result }: Unseen) {
        let mut task = self.rerun(node);
        let ask = task.resume(Answer::Result(result));
        let Node { code, heads, .. } = self.node(node);
        let next = self.run_to_node(task, ask, *code, Some((node, result)), heads.clone());
        self.nodes[node.0 as usize].next.push((result, next));
    }

    /// Runs the code on from a question until it is at a node, known or new.
    fn run_to_node(
        &mut self,
        mut task: Task,
        mut ask: Ask,
        code: Code,
        came_by: Option<(NodeId, u64)>,
        mut heads: Vec<NodeId>,
    ) -> NodeId {
        let new = NodeId(u32::try_from(self.nodes.len()).expect("no scenario has so much code"));
        // Ends of waits and scopes passed on the way: from now on they lead where this way leads.
        let mut passed = Vec::new();
        let found = loop {
            match ask.question {
                Question::Enter => heads.push(new),
                Question::Again => {
                    let head = heads.last().copied().expect("a wait that was entered");
                    assert_ne!(head, new, "a wait at {} performs no operation", ask.at);
                    break head;
                }
                Question::Leave(result) => {
                    let head = heads.pop().expect("a wait or scope that was entered");
                    // One without any operation has just one way through it.
                    if head != new {
                        let exit = (head, heads.len(), result);
                        if let Some(known) = self.exits.get(&exit) {
                            break *known;
                        }
                        passed.push(exit);
                    }
                }
                Question::Operation(operation) => {
                    let stop = Stop::Operation(operation, ask.at);
                    self.nodes.push(Node { stop, code, came_by, heads, next: Vec::new() });
                    break new;
                }
                Question::Panicked(panic) => {
                    let stop = Stop::Panicked(panic);
                    self.nodes.push(Node { stop, code, came_by, heads, next: Vec::new() });
                    break new;
                }
            }
            ask = task.resume(Answer::Result(0));
        };
        self.exits.extend(passed.into_iter().map(|exit| (exit, found)));
        found
    }

    /// Runs the code from its beginning until it is suspended at `node`.
    ///
    /// # Panics
    /// If it goes another way than it went before.
    fn rerun(&self, node: NodeId) -> Task {
        let mut way = Vec::new();
        let mut at = node;
        while let Some((before, result)) = self.node(at).came_by {
            way.push((at, result));
            at = before;
        }
        let mut task = Task::new(self.node(node).code);
        self.assert_same(at, &task.resume_to_stop(Answer::Result(0)));
        for (at, result) in way.into_iter().rev() {
            self.assert_same(at, &task.resume_to_stop(Answer::Result(result)));
        }
        task
    }

    fn assert_same(&self, node: NodeId, stop: &Stop) {
        assert_eq!(self.stop(node), stop, "the code of a scenario is not deterministic");
    }
}
