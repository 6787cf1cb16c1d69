//! Makes `perf.data` files out of what is to be in them, after tools/perf/Documentation/perf.data-file-format.txt.

use std::fmt::Write as _;

type Format = (u16, &'static str, &'static str, &'static [Field]);
type Field = (&'static str, usize, u8);

/// Tracepoints with their numbers here, and their fields: type and name, size, whether it has a sign.
const FORMATS: [Format; 11] = [
    (1, "raw_syscalls", "sys_enter", &[("long id", 8, 1), ("unsigned long args[6]", 48, 0)]),
    (2, "raw_syscalls", "sys_exit", &[("long id", 8, 1), ("long ret", 8, 1)]),
    (3, "task", "task_newtask", &[("pid_t pid", 4, 1), ("char comm[16]", 16, 0), ("unsigned long clone_flags", 8, 0)]),
    (
        4,
        "sched",
        "sched_process_exec",
        &[("__data_loc char[] filename", 4, 0), ("pid_t pid", 4, 1), ("pid_t old_pid", 4, 1)],
    ),
    (5, "sched", "sched_process_exit", &[("char comm[16]", 16, 0), ("pid_t pid", 4, 1)]),
    (
        6,
        "sched",
        "sched_switch",
        &[
            ("char prev_comm[16]", 16, 0),
            ("pid_t prev_pid", 4, 1),
            ("long prev_state", 8, 1),
            ("char next_comm[16]", 16, 0),
            ("pid_t next_pid", 4, 1),
        ],
    ),
    (7, "exceptions", "page_fault_user", &[("unsigned long address", 8, 0), ("unsigned long error_code", 8, 0)]),
    (8, "exceptions", "page_fault_kernel", &[("unsigned long address", 8, 0), ("unsigned long error_code", 8, 0)]),
    (9, "mmap", "exit_mmap", &[("struct mm_struct * mm", 8, 0)]),
    (10, "tlb", "tlb_flush", &[("int reason", 4, 1), ("unsigned long pages", 8, 0)]),
    (11, "csd", "csd_queue_cpu", &[("unsigned int cpu", 4, 0), ("void * callsite", 8, 0), ("void * func", 8, 0)]),
];

const MAGIC: &[u8] = b"PERFILE2";
/// Of `perf_event_attr`, as recent versions of perf write it.
const ATTRIBUTE_BYTES: usize = 128;
/// Task, time, CPU, period, raw data, and the event's number first.
const FIELDS: u64 = 1 << 1 | 1 << 2 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 16;
const EVENT_ID: u64 = 77;

pub(crate) const COMM: u32 = 3;
pub(crate) const FORK: u32 = 7;
pub(crate) const LOST: u32 = 2;
pub(crate) const FINISHED_ROUND: u32 = 68;
const SAMPLE: u32 = 9;
const COMPRESSED: u32 = 81;

/// A field's value, in as many bytes as its format says.
#[derive(Clone, Copy)]
pub(crate) enum Value<'a> {
    Number(i64),
    Text(&'a str),
    Numbers(&'a [u64]),
}

/// Records that are to be in a file.
#[derive(Clone, Default)]
pub(crate) struct Records(Vec<u8>);

/// What a file says of the machine.
pub(crate) struct File {
    pub(crate) records: Records,
    pub(crate) architecture: &'static str,
    pub(crate) left_out: &'static str,
}

impl Records {
    pub(crate) fn add(&mut self, kind: u32, body: &[u8]) -> &mut Self {
        self.0.extend(kind.to_le_bytes());
        self.0.extend([0, 0]);
        self.0.extend(u16::try_from(8 + body.len()).expect("a short record").to_le_bytes());
        self.0.extend(body);
        self
    }

    /// Adds a sample of a tracepoint.
    pub(crate) fn sample(
        &mut self,
        at_ns: u64,
        cpu: u32,
        task: u32,
        tracepoint: &str,
        values: &[Value<'_>],
    ) -> &mut Self {
        let (id, _, _, fields) = FORMATS.into_iter().find(|(_, _, name, _)| *name == tracepoint).expect("a known one");
        assert_eq!(fields.len(), values.len(), "{tracepoint}");
        let mut raw = id.to_le_bytes().to_vec();
        raw.extend([0, 0]);
        raw.extend(task.to_le_bytes());
        for ((_, size, _), value) in fields.iter().zip(values) {
            match value {
                Value::Number(number) => raw.extend(&number.to_le_bytes()[..*size]),
                Value::Numbers(numbers) => numbers.iter().for_each(|number| raw.extend(number.to_le_bytes())),
                Value::Text(text) => {
                    let mut bytes = text.as_bytes().to_vec();
                    bytes.resize(*size, 0);
                    raw.extend(bytes);
                }
            }
        }
        let mut body = EVENT_ID.to_le_bytes().to_vec();
        [task, task].iter().for_each(|number| body.extend(number.to_le_bytes()));
        body.extend(at_ns.to_le_bytes());
        [cpu, 0].iter().for_each(|number| body.extend(number.to_le_bytes()));
        body.extend(1_u64.to_le_bytes());
        body.extend(u32::try_from(raw.len()).expect("a short sample").to_le_bytes());
        body.extend(raw);
        self.add(SAMPLE, &body)
    }

    /// Says who created a task.
    pub(crate) fn fork(&mut self, task: u32, parent: u32) -> &mut Self {
        let mut body: Vec<u8> = [task, parent, task, parent].iter().flat_map(|number| number.to_le_bytes()).collect();
        body.extend(0_u64.to_le_bytes());
        self.add(FORK, &body)
    }

    /// The same records as `perf record -z` writes them, some to each compressed record.
    pub(crate) fn compressed(&self) -> Self {
        let mut packed = Records::default();
        let all = zstd::stream::encode_all(&self.0[..], 3).expect("memory does not fail");
        all.chunks(100).for_each(|part| {
            packed.add(COMPRESSED, part);
        });
        packed
    }

    pub(crate) fn add_compressed(&mut self, packed: &[u8]) -> &mut Self {
        self.add(COMPRESSED, packed)
    }
}

impl File {
    pub(crate) fn new(records: Records) -> Self {
        File { records, architecture: "x86_64", left_out: "" }
    }

    /// As `perf record -o FILE` writes it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let ids = EVENT_ID.to_le_bytes();
        let ids_at = 104;
        let attributes_at = ids_at + ids.len();
        let attribute_size = ATTRIBUTE_BYTES + 16;
        let data_at = attributes_at + attribute_size;
        let features = [
            (1, self.tracing_data()),
            (4, text("6.18.0")),
            (5, text("6.1")),
            (6, text(self.architecture)),
            (7, cpus()),
        ];
        let bits = features.iter().fold(0_u64, |bits, (feature, _)| bits | 1 << feature);
        let mut file = MAGIC.to_vec();
        let words = [104, attribute_size, attributes_at, attribute_size, data_at, self.records.0.len(), 0, 0];
        words.iter().for_each(|word| file.extend((*word as u64).to_le_bytes()));
        [bits, 0, 0, 0].iter().for_each(|word| file.extend(word.to_le_bytes()));
        file.extend(ids);
        file.extend(attribute());
        [ids_at, ids.len()].iter().for_each(|word| file.extend((*word as u64).to_le_bytes()));
        file.extend(&self.records.0);
        let mut at = file.len() + 16 * features.len();
        for (_, feature) in &features {
            [at, feature.len()].iter().for_each(|word| file.extend((*word as u64).to_le_bytes()));
            at += feature.len();
        }
        features.iter().for_each(|(_, feature)| file.extend(feature));
        file
    }

    /// As `perf record -o -` writes it.
    pub(crate) fn stream(&self) -> Vec<u8> {
        let mut records = Records::default();
        let mut event = attribute();
        event.extend(EVENT_ID.to_le_bytes());
        records.add(64, &event);
        let tracing_data = self.tracing_data();
        records.add(66, &u32::try_from(tracing_data.len()).expect("short").to_le_bytes());
        records.0.extend(&tracing_data);
        records.0.resize(records.0.len() + tracing_data.len().next_multiple_of(8) - tracing_data.len(), 0);
        let mut stream = MAGIC.to_vec();
        stream.extend(16_u64.to_le_bytes());
        stream.extend(records.0);
        stream.extend(&self.records.0);
        stream
    }

    fn tracing_data(&self) -> Vec<u8> {
        let mut data =
            b"\x17\x08\x44tracing0.6\0\0\x08\0\x10\0\0header_page\0\0\0\0\0\0\0\0\0header_event\0\0\0\0\0\0\0\0\0"
                .to_vec();
        data.extend(0_u32.to_le_bytes());
        let formats: Vec<_> = FORMATS.into_iter().filter(|(_, _, name, _)| *name != self.left_out).collect();
        data.extend(u32::try_from(formats.len()).expect("few").to_le_bytes());
        for (id, system, name, fields) in formats {
            data.extend(system.as_bytes());
            data.push(0);
            data.extend(1_u32.to_le_bytes());
            let text = format(id, name, fields);
            data.extend((text.len() as u64).to_le_bytes());
            data.extend(text.as_bytes());
        }
        // Symbols, formats of printk and names of tasks: none.
        data.extend([0; 4 + 4 + 8]);
        data
    }
}

fn format(id: u16, name: &str, fields: &[Field]) -> String {
    let common = [
        ("unsigned short common_type", 2, 0),
        ("unsigned char common_flags", 1, 0),
        ("unsigned char common_preempt_count", 1, 0),
        ("int common_pid", 4, 1),
    ];
    let mut text = format!("name: {name}\nID: {id}\nformat:\n");
    let mut offset = 0;
    for (declaration, size, sign) in common.iter().chain(fields) {
        writeln!(text, "\tfield:{declaration};\toffset:{offset};\tsize:{size};\tsigned:{sign};").expect("memory");
        offset += size;
    }
    text + "\nprint fmt: \"\"\n"
}

fn attribute() -> Vec<u8> {
    let mut attribute = 2_u32.to_le_bytes().to_vec();
    attribute.extend((ATTRIBUTE_BYTES as u32).to_le_bytes());
    [1, 1, FIELDS, 0].iter().for_each(|word: &u64| attribute.extend(word.to_le_bytes()));
    attribute.resize(ATTRIBUTE_BYTES, 0);
    attribute
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = 64_u32.to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes.resize(4 + 64, 0);
    bytes
}

fn cpus() -> Vec<u8> {
    [2_u32, 2].iter().flat_map(|number| number.to_le_bytes()).collect()
}
