//! Reads what strace wrote: whole recordings, and one short text for each thing that has to be put together.

mod xorshift;

use std::{
    collections::BTreeMap,
    fs,
    io::{Cursor, Read},
    path::{Path, PathBuf},
    time::Instant,
};

use shootdown_recording::{
    Detail, Event, EventKind, Interpretation, Problem, ReadError, Recording, Root, Syscall, TaskId,
};
use xorshift::Xorshift;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn decompressed(path: &Path) -> String {
    let compressed = fs::read(path).expect("a fixture");
    let mut text = String::new();
    let mut decoder = ruzstd::decoding::StreamingDecoder::new(Cursor::new(compressed)).expect("a zstd stream");
    decoder.read_to_string(&mut text).expect("UTF-8");
    text
}

fn read(text: &str) -> Result<Vec<Event>, ReadError> {
    Recording::from_reader("small.strace", Cursor::new(text.to_owned()))?.collect()
}

fn events(text: &str) -> Vec<Event> {
    read(text).unwrap_or_else(|error| panic!("{error}"))
}

fn letter(event: &Event) -> char {
    match event.kind {
        EventKind::SyscallEntry { .. } => 'E',
        EventKind::SyscallExit { .. } => 'X',
        EventKind::NewTask { .. } => 'N',
        EventKind::Exec => 'C',
        EventKind::Exit => 'Q',
        EventKind::TornDown => 'M',
        _ => '?',
    }
}

/// Events as `TIME TASK KIND ARGUMENTS`, with times in microseconds.
fn told(text: &str) -> Vec<String> {
    events(text).iter().map(tell).collect()
}

fn tell(event: &Event) -> String {
    let task = event.actor.task().expect("strace knows only tasks");
    let about = match event.kind {
        EventKind::SyscallEntry { call, .. } => format!(" {call}"),
        EventKind::SyscallExit { call, result } => format!(" {call} {result}"),
        EventKind::NewTask { child, flags } => format!(" {child} {flags:x}"),
        _ => String::new(),
    };
    format!("{} {task} {}{about}", event.at_ns / 1000, letter(event))
}

#[track_caller]
fn assert_refused(line: &str, message: &str) {
    let error = read(&format!("1 1.0 brk(NULL) = 0x1000 <0.1>\n{line}\n")).expect_err("a line that is none");
    assert_eq!(error.to_string(), format!("small.strace, line 2: {message}"));
}

/// What a text has, counted without taking it apart.
fn counted(text: &str) -> BTreeMap<char, usize> {
    let mut counts = BTreeMap::new();
    let mut add = |letter: char| *counts.entry(letter).or_insert(0) += 1;
    add('M');
    for line in text.lines() {
        let mut words = line.splitn(2, ' ');
        let (_, rest) = words.nth(1).expect("a time").trim_start().split_once(' ').expect("a call");
        let is_resumed = rest.starts_with("<... ");
        let name: String =
            rest.trim_start_matches("<... ").chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        if Syscall::by_name(name.as_bytes()).is_none() {
            continue;
        }
        if !is_resumed {
            add('E');
        }
        let Some((_, result)) = rest.rsplit_once(" = ").filter(|_| !rest.ends_with("...>")) else {
            continue;
        };
        if result == "?" {
            continue;
        }
        add('X');
        match &*name {
            "clone" | "vfork" | "clone3" => {
                add('N');
                if rest.contains("child_stack=NULL") {
                    add('M');
                }
            }
            "execve" => {
                add('C');
                add('M');
            }
            _ => {}
        }
    }
    // All of them end, and one of java's threads does nothing else.
    counts.insert('Q', counts.get(&'N').map_or(1, |n| n + 1));
    counts
}

/// Nothing is left out and nothing is made up: each kind of event is as often there as a look at the text says.
#[test]
fn recorded_programs_are_read_to_the_last_line() {
    for name in ["gitscript", "java"] {
        let path = fixture(&format!("{name}.strace.txt.zst"));
        let recording = Recording::open(&path).expect("strace's");
        assert_eq!((recording.workload(), recording.detail(), recording.root()), (name, Detail::Calls, TaskId::FIRST));
        let mut counts = BTreeMap::new();
        let mut last_ns = 0;
        for event in recording {
            let event = event.unwrap_or_else(|error| panic!("{error}"));
            assert!(event.at_ns >= last_ns, "{name}: {event:?} comes after {last_ns}");
            last_ns = event.at_ns;
            *counts.entry(letter(&event)).or_insert(0) += 1;
        }
        assert_eq!(counts, counted(&decompressed(&path)), "{name}");
    }
}

#[test]
fn a_call_begins_and_ends_when_it_did() {
    let text = "7 100.000000 mmap(NULL, 8192, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f0000000000 <0.000050>
7 100.000100 openat(AT_FDCWD, \"a, (b)\\\"\", O_RDONLY) = -1 ENOENT (No such file or directory) <0.000010>
7 100.000200 munmap(0x7f0000000000, 8192) = -1 EINVAL (Invalid argument) <0.000001>
";
    assert_eq!(
        told(text),
        ["0 1000 E mmap", "50 1000 X mmap 139637976727552", "200 1000 E munmap", "201 1000 X munmap -22"]
    );
    let EventKind::SyscallEntry { call, args } = events(text)[0].kind else { panic!("a call comes first") };
    assert_eq!((call, args), (Syscall::MMAP, [0, 8192, 3, 0x22, u64::MAX, 0]));
}

/// A thread's line can be put between the two halves of another's; and lines merged from several files are whole, although
/// calls overlap.
#[test]
fn events_come_in_the_order_of_time() {
    let begin =
        "7 1.000000 clone3({flags=CLONE_VM|CLONE_THREAD, exit_signal=0} => {parent_tid=[8]}, 88) = 8 <0.000010>\n";
    let halves = "7 1.000020 munmap(0x7f0000000000, 4096 <unfinished ...>
8 1.000030 madvise(0x7f0000000000, 4096, MADV_DONTNEED) = 0 <0.000005>
7 1.000060 <... munmap resumed>) = 0 <0.000030>
";
    let expected = [
        "0 1000 E clone3",
        "0 1000 N 1001 10100",
        "10 1000 X clone3 1001",
        "20 1000 E munmap",
        "30 1001 E madvise",
        "35 1001 X madvise 0",
        "50 1000 X munmap 0",
    ];
    assert_eq!(told(&format!("{begin}{halves}")), expected);
    let merged = "7 1.000020 munmap(0x7f0000000000, 4096) = 0 <0.000030>
8 1.000030 madvise(0x7f0000000000, 4096, MADV_DONTNEED) = 0 <0.000005>
";
    assert_eq!(told(&format!("{begin}{merged}")), expected);
}

/// Times are rounded and clocks set back; a task still does one thing after the other.
#[test]
fn a_task_ends_a_call_before_it_begins_the_next() {
    let text = "7 1.000000 brk(NULL) = 0x1000 <0.5>\n7 0.900000 brk(0x2000) = 0x2000 <0.000001>\n";
    assert_eq!(told(text), ["0 1000 E brk", "0 1000 X brk 4096", "0 1000 E brk", "1 1000 X brk 8192"]);
}

#[test]
fn a_child_may_do_much_before_its_parent_says_who_it_is() {
    let text = "7 1.000000 vfork( <unfinished ...>
8 1.000010 execve(\"/bin/true\", [\"true\"], 0x7ffd0000 /* 3 vars */ <unfinished ...>
7 1.000030 <... vfork resumed>) = 8 <0.000029>
8 1.000040 <... execve resumed>) = 0 <0.000025>
8 1.000050 exit_group(0) = ?
8 1.000060 +++ exited with 0 +++
7 1.000061 --- SIGCHLD {si_signo=SIGCHLD, si_pid=8, si_stime=3 /* 0.03 s */} ---
7 1.000070 exit_group(0) = ?
";
    let expected = [
        "0 1000 E vfork",
        "10 1000 N 1001 4100",
        "10 1001 E execve",
        "29 1000 X vfork 1001",
        // The address space it leaves is its parent's.
        "35 1001 C",
        "35 1001 X execve 0",
        "50 1001 E exit_group",
        "50 1001 Q",
        "50 1001 M",
        "70 1000 E exit_group",
        "70 1000 Q",
        "70 1000 M",
    ];
    assert_eq!(told(text), expected);
}

/// Two parents fork at once, and the first child to be seen is not that of the first.
#[test]
fn children_that_were_mistaken_for_each_other_exist_once() {
    let text = "7 1.000000 clone(child_stack=NULL, flags=SIGCHLD) = 8 <0.000001>
7 1.000010 clone(child_stack=NULL, flags=SIGCHLD <unfinished ...>
8 1.000020 clone(child_stack=NULL, flags=SIGCHLD <unfinished ...>
10 1.000030 brk(NULL) = 0x1000 <0.000001>
8 1.000040 <... clone resumed>) = 10 <0.000020>
9 1.000050 brk(NULL) = 0x1000 <0.000001>
7 1.000060 <... clone resumed>) = 9 <0.000050>
";
    let told = told(text);
    let created: Vec<&String> = told.iter().filter(|event| event.contains(" N ")).collect();
    assert_eq!(created, ["0 1000 N 1001 0", "30 1000 N 1002 0", "50 1000 N 1003 0"]);
    let returned: Vec<&String> = told.iter().filter(|event| event.contains(" X clone")).collect();
    assert_eq!(returned, ["1 1000 X clone 1001", "40 1001 X clone 1002", "60 1000 X clone 1003"]);
}

#[test]
fn the_last_thread_tears_the_address_space_down() {
    let text = "7 1.000000 clone3({flags=CLONE_VM|CLONE_THREAD} => {parent_tid=[8]}, 88) = 8 <0.000001>
7 1.000010 clone3({flags=CLONE_VM|CLONE_THREAD} => {parent_tid=[9]}, 88) = 9 <0.000001>
8 1.000020 exit(0) = ?
9 1.000030 futex(0x7f0000000000, FUTEX_WAIT, 0, NULL <unfinished ...>
7 1.000040 exit_group(0) = ?
9 1.000050 <... futex resumed>) = ?
9 1.000051 +++ exited with 0 +++
7 1.000052 +++ exited with 0 +++
";
    let ends: Vec<String> = told(text).into_iter().filter(|event| event.ends_with(['Q', 'M'])).collect();
    assert_eq!(ends, ["20 1001 Q", "40 1002 Q", "40 1000 Q", "40 1000 M"]);
    let killed = "7 1.000000 --- SIGSEGV {si_signo=SIGSEGV} ---\n7 1.000001 +++ killed by SIGSEGV (core dumped) +++\n";
    assert_eq!(told(killed), ["1 1000 Q", "1 1000 M"]);
}

#[test]
fn a_thread_that_executes_a_program_goes_on_as_the_leader() {
    let text = "7 1.000000 clone3({flags=CLONE_VM|CLONE_THREAD} => {parent_tid=[8]}, 88) = 8 <0.000001>
8 1.000010 execve(\"/bin/true\", [\"true\"], 0x7ffd0000 /* 3 vars */ <pid changed to 7 ...>
7 1.000020 +++ superseded by execve in pid 8 +++
7 1.000030 <... execve resumed>) = 0 <0.000018>
7 1.000040 brk(NULL) = 0x1000 <0.000001>
";
    let expected = [
        "10 1001 E execve",
        "20 1000 Q",
        "28 1001 M",
        "28 1001 C",
        "28 1001 X execve 0",
        "40 1001 E brk",
        "41 1001 X brk 4096",
    ];
    assert_eq!(told(text)[3..], expected);
}

/// On standard error strace leaves ids out while there is one task, and writes messages into its own lines.
#[test]
fn what_was_written_to_standard_error_is_put_together() {
    let text = "1.000000 brk(NULL)                       = 0x1000 <0.000001>
1.000010 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLDstrace: Process 8 attached
, child_tidptr=0x7f0dce7d2a10) = 8 <0.000002>
strace: Process 8 attached
[pid     8] 1.000020 exit_group(0)     = ?
[pid     7] 1.000030 wait4(-1,  <unfinished ...>
[pid     8] 1.000040 +++ exited with 0 +++
1.000050 <... wait4 resumed>[{WIFEXITED(s) && WEXITSTATUS(s) == 0}], 0, NULL) = 8 <0.000059>
1.000060 brk(NULL) = 0x1000 <0.000001>
1.000070 vfork(strace: Process 9 attached
 <unfinished ...>
[pid     9] 1.000080 exit_group(0)     = ?
[pid     7] 1.000090 <... vfork resumed>)              = 9 <0.000020>
[pid     9] 1.000091 +++ exited with 0 +++
1.000100 +++ exited with 0 +++
";
    let expected = [
        "0 1000 E brk",
        "1 1000 X brk 4096",
        "10 1000 E clone",
        "10 1000 N 1001 1000000",
        "12 1000 X clone 1001",
        "20 1001 E exit_group",
        "20 1001 Q",
        "20 1001 M",
        "60 1000 E brk",
        "61 1000 X brk 4096",
        "70 1000 E vfork",
        "80 1000 N 1002 4100",
        "80 1002 E exit_group",
        "80 1002 Q",
        "90 1000 X vfork 1002",
        "100 1000 Q",
        "100 1000 M",
    ];
    assert_eq!(told(text), expected);
    assert_eq!(told("strace: Process 7 attached\n[pid 7] 1.0 brk(NULL) = 0x1000\n").len(), 2);
}

#[test]
fn who_was_there_before_strace_is_a_thread_of_the_first() {
    let text = "7 1.000000 <... munmap resumed>) = 0 <0.1>
7 1.000010 brk(NULL) = 0x1000 <0.000001>
8 1.000020 brk(NULL) = 0x1000 <0.000001>
8 1.000030 munmap(0x1000, 4096 <detached ...>
";
    let expected = [
        "10 1000 E brk",
        "11 1000 X brk 4096",
        "20 1000 N 1001 10100",
        "20 1001 E brk",
        "21 1001 X brk 4096",
        "30 1001 E munmap",
    ];
    assert_eq!(told(text), expected);
}

#[test]
fn an_id_that_is_given_out_again_is_another_task() {
    let text = "7 1.000000 fork() = 8 <0.000001>
8 1.000010 exit_group(0) = ?
7 1.000020 fork() = 8 <0.000001>
7 1.000030 fork() = 8 <0.000001>
";
    let told = told(text);
    let of_tasks: Vec<&String> =
        told.iter().filter(|event| event.contains(" N ") || event.ends_with(['Q', 'M'])).collect();
    // The end of the second one went unseen.
    let expected =
        ["0 1000 N 1001 0", "10 1001 Q", "10 1001 M", "20 1000 N 1002 0", "30 1002 Q", "30 1002 M", "30 1000 N 1003 0"];
    assert_eq!(of_tasks, expected);
}

#[test]
fn the_tree_of_one_process_can_be_asked_for() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("two.trees.txt");
    let text = "7 1.000000 fork() = 8 <0.000001>
8 1.000010 fork() = 9 <0.000001>
9 1.000020 brk(NULL) = 0x1000 <0.000001>
7 1.000030 brk(NULL) = 0x2000 <0.000001>
";
    fs::write(&path, text).expect("the temporary folder can be written");
    let read = |root| -> Result<Vec<String>, ReadError> {
        let interpretation = Interpretation { root: Some(root), workload: Some("mine".to_owned()), symbols: None };
        let recording = Recording::open_as(&path, &interpretation)?;
        assert_eq!(recording.workload(), "mine");
        recording.map(|event| event.map(|event| tell(&event))).collect()
    };
    let expected = ["10 1000 E fork", "10 1000 N 1001 0", "11 1000 X fork 1001", "20 1001 E brk", "21 1001 X brk 4096"];
    assert_eq!(read(Root::Process(8)).expect("it is there"), expected);
    let error = read(Root::Process(99)).expect_err("it is not there").to_string();
    assert!(error.contains("no process 99 is in it, so nobody knows"), "{error}");
    let error = read(Root::Named("git".to_owned())).expect_err("no names").to_string();
    assert!(error.contains("`git`, and strace does not tell names; expected a process id"), "{error}");
}

#[test]
fn lines_that_are_none_are_refused_with_what_was_expected() {
    assert_refused("garbage", "not a line of strace: `garbage`; expected a task's id, a time, and what it did");
    let time = "expected a time in seconds since 1970 with 1 to 9 decimals, which `strace -ttt` writes";
    assert_refused("1 10:20:30 brk(NULL) = 0", &format!("not a line of strace: `1 10:20:30 brk(NULL) = 0`; {time}"));
    let forms = "expected `name(...) = result`, `<... name resumed>`, `+++ ... +++` or `--- ... ---`";
    assert_refused("1 2.0 brk", &format!("not a line of strace: `1 2.0 brk`; {forms}"));
    let result = "expected `) = ` and what the call returned, or `<unfinished ...>`";
    assert_refused("1 2.0 brk(NULL", &format!("not a line of strace: `NULL`; {result}"));
    assert_refused("1 2.0 brk(NULL) 0", &format!("not a line of strace: `NULL) 0`; {result}"));
    let number = "expected a number, or -1 or ? and the name of an error of Linux";
    assert_refused("1 2.0 brk(NULL) = -1 EODD (Odd)", &format!("result is `-1 EODD (Odd)`; {number}"));
    let argument = "expected a number, or flags by the names that Linux has for them";
    assert_refused("1 2.0 munmap({}, 1) = 0", &format!("syscall argument is `{{}}`; {argument}"));
    assert_refused("1 2.0 mmap(NULL, 1) = 0", "too few fields for mmap: found 2, expected 6");
    assert_refused(
        "1 2.0 clone3(0x7f00, 88) = 9",
        "clone's arguments is `0x7f00, 88`; expected `flags=` and their names",
    );
    assert_refused(
        "1 2.0 <... munmap resumed>) = 0",
        "`<... munmap resumed>` for a task in no such call; expected a line of that call with `<unfinished ...>` before",
    );
}

#[test]
fn long_lines_are_read_up_to_a_limit() {
    let line = |length: usize| format!("1 1.0 execve(\"{}\", [], NULL) = 0\n", "a".repeat(length));
    assert_eq!(told(&line(60_000)).len(), 4);
    let error = read(&line(66_000)).expect_err("too long").to_string();
    assert_eq!(
        error,
        "small.strace, line 1: the line is longer than 65536 bytes; expected an event of at most that many"
    );
    // The same line in pieces.
    let pieces = format!("1 1.0 execve({}", "a strace: Process 1 attached\n".repeat(40_000));
    assert!(matches!(read(&pieces).expect_err("too long").problem(), Problem::LineTooLong { .. }));
}

#[test]
fn a_last_line_without_its_end_is_refused() {
    let error = read("1 1.0 brk(NULL) = 0x1000\n1 1.1 brk(NULL) = 0x1").expect_err("cut").to_string();
    assert!(
        error.contains("line 2: the last line has no line end, so it may be cut short; expected a newline"),
        "{error}"
    );
}

/// Truncates, flips a bit, doubles or swaps parts, deletes some bytes or inserts one.
fn mutate(bytes: &mut Vec<u8>, random: &mut Xorshift) {
    let at = random.below(bytes.len());
    let until = (at + random.below(200)).min(bytes.len());
    match random.below(6) {
        0 => bytes.truncate(at),
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        2 => drop(bytes.drain(at..until)),
        3 => {
            let part = bytes.get(at..until).unwrap_or_default().to_vec();
            bytes.splice(at..at, part);
        }
        4 => bytes.rotate_left(at),
        _ => bytes.insert(at, b"0123456789(){}[]<>\"\\=,. \n"[random.below(25)]),
    }
}

/// Could a damaged file make the reader panic, or tell of tasks that it never announced, or lose track of its place?
#[test]
fn no_damage_makes_the_reader_panic() {
    let whole = decompressed(&fixture("gitscript.strace.txt.zst"));
    let lines: Vec<&str> = whole.lines().collect();
    let part = lines.get(6200..6300).expect("part of it with threads and programs").join("\n") + "\n";
    let (mut n_refused, n_mutations) = (0_u64, 3000);
    for seed in 1..=n_mutations {
        let mut random = Xorshift(seed * 0x9e37_79b9);
        let mut bytes = part.clone().into_bytes();
        for _ in 0..=random.below(3) {
            mutate(&mut bytes, &mut random);
        }
        let read = std::panic::catch_unwind(|| {
            Recording::from_reader("small.strace", Cursor::new(bytes))?.try_for_each(|event| event.map(drop))
        });
        let Err(error) = read.unwrap_or_else(|_| panic!("seed {seed}: the reader panicked")) else {
            continue;
        };
        n_refused += 1;
        let message = error.to_string();
        assert!(message.starts_with("small.strace, line ") && message.contains("expected"), "seed {seed}: {message}");
        let is_wrong = matches!(error.problem(), Problem::UnknownTask { .. } | Problem::TaskReused { .. });
        assert!(!is_wrong, "seed {seed}: {message}");
    }
    assert!(n_refused > n_mutations / 4, "only {n_refused} were refused");
}

#[test]
fn a_recording_that_breaks_off_is_read_up_to_there() {
    let whole = decompressed(&fixture("java.strace.txt.zst"));
    for n_lines in [1, 10, 100, 300, 500] {
        let kept: String = whole.split_inclusive('\n').take(n_lines).collect();
        assert!(events(&kept).len() >= n_lines, "{n_lines}");
    }
}

/// A line of a file that holds many tasks took as long as there were tasks of its kind (the time is printed): in calls that return late, in calls
/// that create a task, of other trees, in one process.
#[test]
fn lines_take_no_longer_where_there_are_many_tasks() {
    const N_TASKS: u32 = 60_000;
    let root = "7 1.000000 execve(\"/a\", [\"a\"], 0x7f00 /* 1 var */) = 0 <0.000001>\n";
    let each = |line: &dyn Fn(u32) -> String| (0..N_TASKS).map(line).collect::<String>();
    let threads = each(&|n| format!("7 2.0 clone(flags=CLONE_VM|CLONE_THREAD) = {} <0.000001>\n", 1000 + n));
    let calls = each(&|_| "7 3.0 munmap(0x7f00, 4096) = 0 <0.000001>\n".to_owned());
    let late = each(&|n| format!("{} 2.5 munmap(0x7f00, 4096) = 0 <99.0>\n", 1000 + n));
    let creating = each(&|n| format!("{} 2.5 clone(flags=CLONE_VM <unfinished ...>\n", 1000 + n));
    let ends = each(&|n| format!("{} 3.5 +++ exited with 0 +++\n", 1000 + n));
    let strangers = each(&|n| format!("{} 1.5 getpid() = 1\n", 1000 + n));
    for (what, text) in [
        ("late", format!("{root}{threads}{late}{calls}")),
        ("creating", format!("{root}{threads}{creating}{calls}")),
        ("ends", format!("{root}{threads}{ends}")),
        ("strangers", format!("{strangers}{root}")),
    ] {
        let began = Instant::now();
        let of_root = Interpretation { root: Some(Root::Process(7)), ..Interpretation::default() };
        let recording = Recording::from_seekable("many.strace", Cursor::new(text), &of_root).expect("a header");
        let all: Result<Vec<Event>, ReadError> = recording.collect();
        let n_events = all.unwrap_or_else(|error| panic!("{what}: {error}")).len();
        let expected = if what == "strangers" { 0 } else { N_TASKS as usize };
        assert!(n_events > expected, "{what}: {n_events} events");
        println!("{what}: {:?}", began.elapsed());
    }
}
