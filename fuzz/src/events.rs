//! Events in an order that a recording may have them in.

use arbitrary::{Result, Unstructured};
use shootdown_recording::{
    Actor, CallFunction, Detail, Event, EventKind, FaultAccess, FlushReason, Header, Mode, PreviousState, RecordedCpu,
    Syscall, TaskId,
};

use crate::read::Told;

/// Names that say something else in a header than a note.
const RESERVED: [&str; 3] = ["workload", "root", "detail"];

/// Makes a recording, of any header and any events that fit together.
///
/// # Errors
/// If there are too few bytes.
pub fn any_recording(bytes: &mut Unstructured<'_>) -> Result<Told> {
    let header = Header {
        workload: bytes.arbitrary()?,
        root: TaskId(bytes.int_in_range(TaskId::FIRST.0..=u32::MAX)?),
        detail: if bytes.arbitrary()? { Detail::Full } else { Detail::Calls },
        notes: bytes.arbitrary_iter::<(String, String)>()?.collect::<Result<_>>()?,
    };
    let notes = header.notes.into_iter().filter(|(name, _)| !name.contains(": ") && !RESERVED.contains(&name.as_str()));
    let header = Header { notes: notes.collect(), ..header };
    let events = events(header.root, bytes)?;
    Ok(Told { header, events, error: None })
}

/// Makes events of tasks that are there, from bytes up to the last.
///
/// # Errors
/// If there are too few bytes for the last one.
pub fn events(root: TaskId, bytes: &mut Unstructured<'_>) -> Result<Vec<Event>> {
    let (mut tasks, mut events, mut at_ns) = (vec![root], Vec::new(), 0_u64);
    while !bytes.is_empty() {
        at_ns = at_ns.saturating_add(number(bytes)?);
        let cpu = RecordedCpu(u16::from(bytes.arbitrary::<u8>()?) << bytes.int_in_range(0..=4)?);
        let (actor, kind) = occurrence(&mut tasks, bytes)?;
        events.push(Event { at_ns, cpu, actor, kind });
    }
    Ok(events)
}

/// Small, in the middle of an address space, or anything.
fn number(bytes: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match bytes.int_in_range(0..=3_u8)? {
        0 => bytes.arbitrary::<u8>()?.into(),
        1 => bytes.arbitrary::<u16>()?.into(),
        2 => 0x7f00_0000_0000 + (u64::from(bytes.arbitrary::<u16>()?) << 12),
        _ => bytes.arbitrary()?,
    })
}

fn occurrence(tasks: &mut Vec<TaskId>, bytes: &mut Unstructured<'_>) -> Result<(Actor, EventKind)> {
    let task = *bytes.choose(tasks)?;
    let actors = [Actor::Task(task), Actor::Idle, Actor::KernelThread, Actor::Foreign];
    let of_task = |kind| Ok((Actor::Task(task), kind));
    match bytes.int_in_range(0..=10_u8)? {
        0 => of_task(EventKind::SyscallEntry { call: call(bytes)?, args: args(bytes)? }),
        1 => of_task(EventKind::SyscallExit { call: call(bytes)?, result: number(bytes)? as i64 }),
        2 => {
            let child = TaskId(bytes.int_in_range(TaskId::FIRST.0..=u32::MAX)?);
            if tasks.contains(&child) {
                return of_task(EventKind::Exec);
            }
            tasks.push(child);
            of_task(EventKind::NewTask { child, flags: number(bytes)? })
        }
        3 => of_task(EventKind::Exec),
        4 => of_task(EventKind::Exit),
        5 => of_task(EventKind::TornDown),
        6 => {
            let next = *bytes.choose(tasks)?;
            let next = *bytes.choose(&[Actor::Task(next), Actor::Idle, Actor::KernelThread, Actor::Foreign])?;
            let previous = *bytes.choose(&[PreviousState::Runnable, PreviousState::Asleep])?;
            Ok((*bytes.choose(&actors)?, EventKind::Switch { next, previous }))
        }
        7 => {
            let (address, from) = (number(bytes)?, *bytes.choose(&[Mode::User, Mode::Kernel])?);
            of_task(EventKind::Fault { address, from, access: FaultAccess::from_error_code(bytes.arbitrary()?) })
        }
        8 => {
            let pages = if bytes.arbitrary()? { Some(number(bytes)?) } else { None };
            Ok((*bytes.choose(&actors)?, EventKind::FlushTruth { reason: *bytes.choose(&FlushReason::ALL)?, pages }))
        }
        9 => {
            let functions = [CallFunction::FlushTlb, CallFunction::TableSync, CallFunction::Other];
            let target = RecordedCpu(bytes.int_in_range(0..=RecordedCpu::MAX.0)?);
            Ok((*bytes.choose(&actors)?, EventKind::CallTruth { target, function: *bytes.choose(&functions)? }))
        }
        _ => Ok((*bytes.choose(&actors)?, EventKind::Lost { n_events: number(bytes)? })),
    }
}

fn call(bytes: &mut Unstructured<'_>) -> Result<Syscall> {
    let is_any = bytes.ratio(1, 16)?;
    let number = if is_any { bytes.arbitrary()? } else { *bytes.choose(&CALLS)? };
    Ok(Syscall::from_number(number))
}

/// Those that a replay has a use for.
const CALLS: [u32; 24] =
    [9, 10, 11, 12, 25, 26, 28, 30, 56, 57, 58, 59, 60, 67, 74, 77, 149, 151, 216, 231, 285, 325, 329, 435];

fn args(bytes: &mut Unstructured<'_>) -> Result<[u64; 6]> {
    let mut args = [0; 6];
    for arg in &mut args {
        *arg = number(bytes)?;
    }
    Ok(args)
}
