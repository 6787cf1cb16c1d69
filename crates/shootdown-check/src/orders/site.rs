//! A place where the library asks for a memory order, and what happens if it gets a weaker one.

use std::{
    fmt,
    panic::Location as Source,
    sync::atomic::Ordering::{self, *},
};

use shootdown_sim::smp::{Location, Operation};

use crate::{
    places::PLACES,
    races::{acquires, releases},
};

/// A place in library code that performs an operation with an order stronger than relaxed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Nothing for the one operation that has an order and whose place is that of the library's caller: taking a lock.
    at: Option<Source<'static>>,
    /// The name of the word, whoever's it is.
    word: &'static str,
    kind: Kind,
    order: Ordering,
}

/// What the operation is, by the name of the method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Load,
    Store,
    Modify,
    Update,
    Fence,
}

impl Site {
    /// The place of an operation, if it is one in the library and has an order. Scenarios' own words are none of it.
    pub(super) fn of(operation: Operation, at: &Source<'static>) -> Option<Site> {
        let (kind, touched, order) = parts(operation)?;
        let word = touched.map_or("-", name);
        let at = Some(*at).filter(|at| in_library(at).is_some());
        let is_the_librarys = at.is_some() || word == LOCK;
        (order != Relaxed && is_the_librarys).then_some(Site { at, word, kind, order })
    }

    /// Sorts sites by where they are; each is there once afterwards.
    pub(super) fn sort(sites: &mut Vec<Site>) {
        sites.sort_by_key(|site| (site.file(), site.at.map(|at| (at.line(), at.column())), site.word, site.kind));
        sites.dedup();
    }

    /// The file in the library's source, or that of the lock.
    #[must_use]
    pub fn file(&self) -> &'static str {
        self.at.as_ref().map_or("lock.rs", |at| in_library(at).expect("it is the library's"))
    }

    /// What it does to what, as `space.generation modify`.
    pub(super) fn operation(&self) -> String {
        format!("{} {}", self.word, format!("{:?}", self.kind).to_lowercase())
    }

    /// Tells whether it is the same but for its line.
    pub(super) fn is_like(&self, other: &Site) -> bool {
        self.file() == other.file() && Site { at: self.at, ..*other } == *self
    }

    /// The order it asks for.
    #[must_use]
    pub const fn order(&self) -> Ordering {
        self.order
    }

    /// Weaker orders, none at all first.
    pub(super) fn weaker(&self) -> impl Iterator<Item = Weakened> + use<> {
        let site = *self;
        let halves: &[Ordering] = match (site.kind, site.order) {
            (Kind::Load, SeqCst) => &[Acquire],
            (Kind::Store, SeqCst) => &[Release],
            (_, SeqCst) => &[Acquire, Release, AcqRel],
            (_, AcqRel) => &[Acquire, Release],
            _ => &[],
        };
        std::iter::once(&Relaxed).chain(halves).map(move |to| Weakened { site, to: *to })
    }
}

/// The only word that operations with an order reach from outside of the library, through functions that pass the place of
/// their caller on.
const LOCK: &str = "lock";

/// The name of a word without whose it is.
fn name(at: Location) -> &'static str {
    match at {
        Location::Word(word) => PLACES.name(word).split('[').next().unwrap_or_default(),
        Location::Entry(_) => "entry",
    }
}

/// The path of a file in the library's source.
fn in_library(at: &Source<'static>) -> Option<&'static str> {
    let (before, file) = at.file().rsplit_once("shootdown/src/")?;
    (before.is_empty() || before.ends_with('/')).then_some(file)
}

fn parts(operation: Operation) -> Option<(Kind, Option<Location>, Ordering)> {
    match operation {
        Operation::Load(at, order) => Some((Kind::Load, Some(at), order)),
        Operation::Store(at, _, order) => Some((Kind::Store, Some(at), order)),
        Operation::Modify(at, _, order) => Some((Kind::Modify, Some(at), order)),
        Operation::Update(at, _, order) => Some((Kind::Update, Some(at), order)),
        Operation::Fence(order) => Some((Kind::Fence, None, order)),
        _ => None,
    }
}

/// An order of the library's that is made weaker, in one place. A fence without an order is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weakened {
    site: Site,
    to: Ordering,
}

impl Weakened {
    /// Where.
    #[must_use]
    pub const fn site(&self) -> &Site {
        &self.site
    }

    /// What is left of the order.
    #[must_use]
    pub const fn to(&self) -> Ordering {
        self.to
    }

    pub(crate) fn apply(self, operation: Operation, at: &Source<'static>) -> Operation {
        if Site::of(operation, at) != Some(self.site) {
            return operation;
        }
        match operation {
            Operation::Load(at, _) => Operation::Load(at, self.to),
            Operation::Store(at, value, _) => Operation::Store(at, value, self.to),
            Operation::Modify(at, modify, _) => Operation::Modify(at, modify, self.to),
            Operation::Update(at, modify, _) => Operation::Update(at, modify, self.to),
            Operation::Fence(_) => Operation::Fence(self.to),
            other => other,
        }
    }

    /// Tells whether the simulated memory may be another one for it: it knows no acquires but those of `SeqCst`.
    pub(super) fn is_seen_by_hardware(&self) -> bool {
        self.site.order == SeqCst || releases(self.site.order) && !releases(self.to)
    }

    /// Tells whether it hands less over, or takes less over: what vector clocks see.
    pub(super) fn hands_over_less(&self) -> bool {
        releases(self.site.order) != releases(self.to) || acquires(self.site.order) != acquires(self.to)
    }
}

impl fmt::Display for Weakened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Weakened { site, to } = self;
        write!(f, "{} {} {:?} as {to:?}", site.file(), site.operation(), site.order)
    }
}
