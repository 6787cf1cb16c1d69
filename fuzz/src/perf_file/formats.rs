//! The copies of `format` files.

use arbitrary::Arbitrary;

/// A field: its name, offset and size, and whether it is signed.
type Field = (&'static str, u16, u16, bool);

/// Tracepoints that matter, by system and name, with their fields as Linux has them.
pub(crate) const TRACEPOINTS: [(&str, &str, &[Field]); 11] = [
    ("raw_syscalls", "sys_enter", &[("id", 8, 8, true), ("args", 16, 48, false)]),
    ("raw_syscalls", "sys_exit", &[("id", 8, 8, true), ("ret", 16, 8, true)]),
    ("task", "task_newtask", &[("pid", 8, 4, true), ("clone_flags", 32, 8, false)]),
    ("sched", "sched_process_exec", &[("old_pid", 16, 4, true)]),
    ("sched", "sched_process_exit", &[]),
    ("mmap", "exit_mmap", &[]),
    (
        "sched",
        "sched_switch",
        &[
            ("prev_pid", 24, 4, true),
            ("prev_state", 32, 8, true),
            ("next_pid", 56, 4, true),
            ("next_comm", 40, 16, true),
        ],
    ),
    ("exceptions", "page_fault_user", &[("address", 8, 8, false), ("error_code", 24, 8, false)]),
    ("exceptions", "page_fault_kernel", &[("address", 8, 8, false), ("error_code", 24, 8, false)]),
    ("tlb", "tlb_flush", &[("reason", 8, 4, true), ("pages", 16, 8, false)]),
    ("csd", "csd_queue_cpu", &[("cpu", 8, 4, false), ("func", 24, 8, false)]),
];

/// The number that a tracepoint has in these files.
pub(crate) fn id(tracepoint: usize) -> u16 {
    300 + tracepoint as u16
}

/// Which tracepoints are described, and what is odd about them.
#[derive(Arbitrary, Clone, Debug)]
pub(crate) struct Formats {
    missing: u16,
    odd: Vec<OddField>,
    of_ftrace: u8,
}

/// A field that is elsewhere.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct OddField {
    tracepoint: u8,
    field: u8,
    offset: u16,
    size: u8,
    is_signed: bool,
}

impl Formats {
    /// Writes the tracing data of a file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"\x17\x08\x44tracing0.6\0\0\x08\0\x10\0\0".to_vec();
        for name in ["header_page", "header_event"] {
            bytes.extend(name.as_bytes());
            bytes.push(0);
            put_text(&mut bytes, "field");
        }
        bytes.extend(u32::from(self.of_ftrace % 4).to_le_bytes());
        (0..self.of_ftrace % 4).for_each(|_| put_text(&mut bytes, "name: function"));
        let present = (0..TRACEPOINTS.len()).filter(|tracepoint| self.missing >> tracepoint & 1 == 0);
        let present: Vec<usize> = present.collect();
        bytes.extend((present.len() as u32).to_le_bytes());
        for tracepoint in present {
            bytes.extend(TRACEPOINTS[tracepoint].0.as_bytes());
            bytes.push(0);
            bytes.extend(1_u32.to_le_bytes());
            put_text(&mut bytes, &self.text(tracepoint));
        }
        bytes
    }

    fn text(&self, tracepoint: usize) -> String {
        let (_, name, fields) = TRACEPOINTS[tracepoint];
        let mut text = format!("name: {name}\nID: {}\nformat:\n", id(tracepoint));
        for (index, field) in [("common_pid", 4, 4, true)].iter().chain(fields).enumerate() {
            let (name, mut offset, mut size, mut is_signed) = *field;
            let is_it = |odd: &&OddField| usize::from(odd.tracepoint) == tracepoint && usize::from(odd.field) == index;
            if let Some(odd) = self.odd.iter().find(is_it) {
                (offset, size, is_signed) = (odd.offset, u16::from(odd.size), odd.is_signed);
            }
            let signed = u8::from(is_signed);
            text += &format!("\tfield:long {name}[1];\toffset:{offset};\tsize:{size};\tsigned:{signed};\n");
        }
        text
    }
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}
