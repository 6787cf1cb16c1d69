//! What a call was asked to do.

use crate::{
    error::{Problem, shown},
    import::strace::{scan, value},
    syscall::Syscall,
};

const MAX_ARGS: usize = 6;

/// Reads the arguments of a call.
///
/// Those that decide what becomes of mappings have to be values; of other calls what is none is 0.
pub(super) fn arguments(call: Syscall, text: &[u8]) -> Result<[u64; MAX_ARGS], Problem> {
    let mut args = [0; MAX_ARGS];
    let needed = n_needed(call);
    if call.creates_task() {
        // In the order that x86-64 has them, the flags are first. clone3 has them in memory.
        args[0] = if call == Syscall::CLONE { flags(call, text)?.unwrap_or_default() } else { 0 };
        return Ok(args);
    }
    let mut found = 0;
    for (arg, text) in args.iter_mut().zip(scan::arguments(text)) {
        *arg = match value::argument(text) {
            Some(value) => value,
            None if found < needed => {
                let expected = "a number, or flags by the names that Linux has for them";
                return Err(Problem::Value { field: "syscall argument", found: shown(text), expected });
            }
            None => 0,
        };
        found += 1;
    }
    match found < needed {
        true => Err(Problem::TooFewFields { what: call.to_string(), found, expected: needed }),
        false => Ok(args),
    }
}

/// The `CLONE_*` flags of a call that creates a task; nothing if this part of the line has none.
pub(super) fn flags(call: Syscall, text: &[u8]) -> Result<Option<u64>, Problem> {
    const NAME: &[u8] = b"flags=";
    const CLONE_VM: u64 = 0x100;
    const CLONE_VFORK: u64 = 0x4000;
    match call {
        Syscall::FORK => return Ok(Some(0)),
        Syscall::VFORK => return Ok(Some(CLONE_VM | CLONE_VFORK)),
        _ => {}
    }
    let found = match text.windows(NAME.len()).position(|window| window == NAME) {
        Some(at) => text.get(at + NAME.len()..).unwrap_or_default(),
        // Undecoded (`-e raw=clone`).
        None if call == Syscall::CLONE && text.starts_with(b"0x") => text,
        None => return Ok(None),
    };
    let end = found.iter().position(|byte| matches!(byte, b',' | b'}' | b')')).unwrap_or(found.len());
    let found = found.get(..end).unwrap_or(found).trim_ascii();
    let expected = "flags of clone by the names that Linux has for them";
    value::argument(found).map(Some).ok_or_else(|| Problem::Value { field: "flags", found: shown(found), expected })
}

/// How many arguments of a call decide what becomes of mappings.
const fn n_needed(call: Syscall) -> usize {
    match call {
        Syscall::MMAP => 6,
        Syscall::PKEY_MPROTECT | Syscall::MREMAP => 4,
        Syscall::MPROTECT | Syscall::MADVISE | Syscall::MSYNC => 3,
        Syscall::MUNMAP | Syscall::MLOCK | Syscall::MLOCK2 => 2,
        Syscall::BRK | Syscall::SHMDT => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_that_matter_have_to_be_there() {
        let text = b"NULL, 8192, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0";
        let args = arguments(Syscall::MMAP, text).expect("whole");
        assert_eq!(args, [0, 8192, 3, 0x22, u64::MAX, 0]);
        let few = arguments(Syscall::MUNMAP, b"0x7f00").expect_err("a length is missing");
        assert_eq!(few.to_string(), "too few fields for munmap: found 1, expected 2");
        let unknown = arguments(Syscall::MADVISE, b"0x7f00, 1, MADV_FLY").expect_err("no such advice");
        assert!(unknown.to_string().starts_with("syscall argument is `MADV_FLY`; expected a number, or flags"));
        assert_eq!(arguments(Syscall::EXECVE, br#""/bin/sh", ["sh"], 0x7f00 /* 3 vars */"#).expect("any")[2], 0x7f00);
    }

    #[test]
    fn flags_of_clone_are_found_where_they_are() {
        let of = |call, text: &str| flags(call, text.as_bytes()).expect("known flags");
        assert_eq!(of(Syscall::CLONE3, "{flags=CLONE_VM|CLONE_THREAD, exit_signal=0} => {x=[1]}, 88"), Some(0x1_0100));
        assert_eq!(of(Syscall::CLONE, "child_stack=NULL, flags=CLONE_FS|SIGCHLD"), Some(0x211));
        assert_eq!(of(Syscall::CLONE, "0x1200011, 0, 0, 0x7f00, 0"), Some(0x120_0011));
        assert_eq!(of(Syscall::CLONE, ""), None);
        assert_eq!(of(Syscall::VFORK, ""), Some(0x4100));
    }
}
