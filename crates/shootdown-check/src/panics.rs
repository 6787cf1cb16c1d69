//! Panics of simulated code: caught, kept, and not printed, since they are results.

use std::{
    cell::{Cell, RefCell},
    fmt,
    panic::{self, PanicHookInfo},
    sync::Once,
};

/// What a panic said and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panic {
    /// Its message.
    pub message: String,
    /// The place in the source, as `file:line`.
    pub place: String,
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panic at {}: {}", self.place, self.message)
    }
}

thread_local! {
    static IS_SIMULATED: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<Option<Panic>> = const { RefCell::new(None) };
}

/// While it lives, panics of this thread are kept for [`take`] and not printed.
pub(crate) struct Quiet;

impl Quiet {
    pub(crate) fn new() -> Self {
        static HOOK: Once = Once::new();
        HOOK.call_once(install);
        IS_SIMULATED.set(true);
        Quiet
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        IS_SIMULATED.set(false);
    }
}

/// Puts a hook in front of the one that is there, which still hears of every panic that is not simulated.
fn install() {
    let others = panic::take_hook();
    panic::set_hook(Box::new(move |info| if IS_SIMULATED.get() { keep(info) } else { others(info) }));
}

fn keep(info: &PanicHookInfo<'_>) {
    let message = info.payload_as_str().unwrap_or("a panic without a message").to_owned();
    let place = info.location().map_or_else(String::new, |at| format!("{}:{}", at.file(), at.line()));
    LAST.set(Some(Panic { message, place }));
}

/// Returns the last panic of this thread's simulated code.
pub(crate) fn take() -> Panic {
    LAST.take().unwrap_or_else(|| Panic { message: "a panic that no hook saw".into(), place: String::new() })
}
