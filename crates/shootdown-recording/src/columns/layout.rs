//! The columns, and what the first of them says.
//!
//! Owns [`Column`] (which there are, in their order, and how long they may be) and [`Form`]: the kind of an event with
//! all that has few values, in one byte. It deliberately knows nothing of other bytes.

use crate::{
    columns::varint,
    error::Problem,
    event::{CallFunction, FaultAccess, FlushReason, Mode, PreviousState},
};

/// What the first line of a decompressed file begins with; its version follows.
pub(crate) const FIRST_LINE: &[u8] = b"# tlbt-columns ";
/// The version that is written and read.
pub(super) const VERSION: &[u8] = b"1";
/// Events in a block, at most.
pub(super) const BLOCK_EVENTS: usize = 1 << 16;
/// Arguments of a syscall.
pub(super) const MAX_ARGS: usize = 6;

/// The columns in the order in which they are in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Column {
    /// A byte of each event: its [`Form`].
    Form,
    /// The first byte of the varint that is the number of clock steps since the event before.
    StepsLow,
    /// The other bytes of those varints.
    StepsHigh,
    /// What the clock shows besides, in ns: zigzag.
    StepsRest,
    Cpu,
    Actor,
    /// Of entries and exits of syscalls: the number of the call.
    Call,
    /// How many arguments there are.
    NArgs,
    Args,
    Result,
    /// Of page faults: 0 where one was expected, else 1 and more.
    Page,
    OffsetLow,
    OffsetHigh,
    /// Of switches.
    Next,
    /// Of new tasks: child, flags.
    Child,
    /// Of flushes: pages.
    Pages,
    /// Of calls to CPUs the target, of lost events their number.
    Rest,
}

impl Column {
    pub(super) const ALL: [Self; 17] = [
        Self::Form,
        Self::StepsLow,
        Self::StepsHigh,
        Self::StepsRest,
        Self::Cpu,
        Self::Actor,
        Self::Call,
        Self::NArgs,
        Self::Args,
        Self::Result,
        Self::Page,
        Self::OffsetLow,
        Self::OffsetHigh,
        Self::Next,
        Self::Child,
        Self::Pages,
        Self::Rest,
    ];

    /// How many bytes of an event there may be in the column.
    pub(super) fn most_bytes(self) -> usize {
        match self {
            Self::Form | Self::StepsLow | Self::OffsetLow | Self::OffsetHigh => 1,
            Self::StepsHigh => varint::LONGEST_BYTES - 1,
            Self::Args => MAX_ARGS * varint::LONGEST_BYTES,
            Self::Child => 2 * varint::LONGEST_BYTES,
            _ => varint::LONGEST_BYTES,
        }
    }

    /// Says what is wrong with it.
    pub(super) fn problem(self, found: String) -> Problem {
        Problem::Value { field: self.name(), found, expected: self.expected() }
    }

    /// Its name in messages.
    fn name(self) -> &'static str {
        match self {
            Self::Form => "the column of kinds",
            Self::StepsLow => "the column of times (low)",
            Self::StepsHigh => "the column of times (high)",
            Self::StepsRest => "the column of times (rest)",
            Self::Cpu => "the column of CPUs",
            Self::Actor => "the column of tasks",
            Self::Call => "the column of syscalls",
            Self::NArgs => "the column of argument counts",
            Self::Args => "the column of arguments",
            Self::Result => "the column of results",
            Self::Page => "the column of pages",
            Self::OffsetLow => "the column of page offsets (low)",
            Self::OffsetHigh => "the column of page offsets (high)",
            Self::Next => "the column of switches",
            Self::Child => "the column of new tasks",
            Self::Pages => "the column of flushed pages",
            Self::Rest => "the column of other numbers",
        }
    }

    /// What it holds, in messages.
    fn expected(self) -> &'static str {
        match self {
            Self::Form => "one byte an event, of a known kind",
            Self::StepsLow => "one byte an event",
            Self::StepsRest => "one number an event, which keeps the time since the first below 2^64 ns",
            Self::OffsetLow | Self::OffsetHigh => "one byte a page fault that is told",
            Self::Cpu => "one CPU index from 0 to 4095 an event",
            Self::Actor => "one task an event: idle, a kernel thread, foreign or an id from 1000 to 4294967295",
            Self::Call => "one number from 0 to 4294967295 a syscall's entry or exit",
            Self::NArgs => "one number from 0 to 6 a syscall's entry",
            Self::Page => "one page below 2^52 a page fault",
            Self::Next => "one task a switch: idle, a kernel thread, foreign or an id from 1000 to 4294967295",
            Self::Child => "two numbers a new task: an id from 1000 to 4294967295, and flags",
            Self::Rest => "one number an event that has one, of a CPU from 0 to 4095",
            _ => "one number of at most 64 bits for each that its events need",
        }
    }
}

/// The kind of an event, and all that is in its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    SyscallEntry,
    SyscallExit,
    NewTask,
    Exec,
    Exit,
    TornDown,
    Switch(PreviousState),
    Lost,
    Call(CallFunction),
    /// Whether it is of some pages, and not of all.
    Flush(FlushReason, HasPages),
    Fault(Mode, FaultAccess),
}

/// What a flush is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HasPages {
    Some,
    All,
}

const SIMPLE: [Form; 12] = [
    Form::SyscallEntry,
    Form::SyscallExit,
    Form::NewTask,
    Form::Exec,
    Form::Exit,
    Form::TornDown,
    Form::Switch(PreviousState::Runnable),
    Form::Switch(PreviousState::Asleep),
    Form::Lost,
    Form::Call(CallFunction::FlushTlb),
    Form::Call(CallFunction::TableSync),
    Form::Call(CallFunction::Other),
];
const FLUSH_OF_PAGES: u8 = 16;
const FLUSH_OF_ALL: u8 = 24;
const USER_FAULT: u8 = 32;
const KERNEL_FAULT: u8 = 64;

impl Form {
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Flush(reason, HasPages::Some) => FLUSH_OF_PAGES + reason.number(),
            Self::Flush(reason, HasPages::All) => FLUSH_OF_ALL + reason.number(),
            Self::Fault(Mode::User, access) => USER_FAULT | access.error_code() as u8,
            Self::Fault(Mode::Kernel, access) => KERNEL_FAULT | access.error_code() as u8,
            simple => SIMPLE.iter().position(|form| *form == simple).unwrap_or_default() as u8,
        }
    }

    pub(super) fn from_code(code: u8) -> Option<Self> {
        let flush = |first: u8| FlushReason::from_number(u64::from(code - first));
        match code {
            FLUSH_OF_PAGES..FLUSH_OF_ALL => flush(FLUSH_OF_PAGES).map(|reason| Self::Flush(reason, HasPages::Some)),
            FLUSH_OF_ALL..USER_FAULT => flush(FLUSH_OF_ALL).map(|reason| Self::Flush(reason, HasPages::All)),
            USER_FAULT..KERNEL_FAULT => fault(Mode::User, code - USER_FAULT),
            KERNEL_FAULT.. => fault(Mode::Kernel, code - KERNEL_FAULT),
            _ => SIMPLE.get(usize::from(code)).copied(),
        }
    }
}

/// A page fault with this error code, if it is one that stands for all it says.
fn fault(from: Mode, code: u8) -> Option<Form> {
    let access = FaultAccess::from_error_code(u16::from(code));
    (access.error_code() == u16::from(code)).then_some(Form::Fault(from, access))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_listed_in_their_order() {
        for (index, column) in Column::ALL.into_iter().enumerate() {
            assert_eq!(column as usize, index);
        }
    }

    #[test]
    fn every_byte_is_one_form_or_none() {
        let forms: Vec<(u8, Form)> = (0..=255).filter_map(|code| Some((code, Form::from_code(code)?))).collect();
        assert_eq!(forms.len(), 12 + 2 * 6 + 2 * 16);
        for (code, form) in forms {
            assert_eq!(form.code(), code);
        }
    }
}
