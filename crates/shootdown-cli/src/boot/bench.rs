//! What the bench comes to: operations of a program in user mode on two kernels, side by side.

use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};

/// What Linux took, as `shootdown boot --linux VMLINUZ --icount --json` printed it.
const LINUX: &str = include_str!("../../../../kernel/linux.json");

/// One operation of the program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Operation {
    operation: String,
    /// On all CPUs together.
    instructions: u64,
    /// Raised by CPUs on others.
    interrupts: f64,
}

/// A kernel that was measured.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Measured {
    /// As it calls itself.
    pub(super) kernel: String,
    pub(super) cpus: u16,
    pub(super) operations: Vec<Operation>,
}

impl Operation {
    /// Understands a line of the program, see its `bench.rs`.
    pub(super) fn of_line(line: &str) -> Option<Operation> {
        let mut fields = line.trim_end().strip_prefix("row\t")?.split('\t');
        let [operation, instructions, hundredths] = [fields.next()?, fields.next()?, fields.next()?];
        let hundredths: u32 = hundredths.parse().ok()?;
        Some(Operation {
            operation: operation.to_owned(),
            instructions: instructions.parse().ok()?,
            interrupts: f64::from(hundredths) / 100.0,
        })
    }
}

/// What is bundled of Linux.
pub(super) fn linux() -> Result<Measured, serde_json::Error> {
    serde_json::from_str(LINUX)
}

impl Measured {
    /// Its name and version, without what a distribution has added.
    fn short_name(&self) -> &str {
        self.kernel.split('+').next().unwrap_or(&self.kernel)
    }
}

/// Puts operations beside what another kernel took for them, and says what one target and one table take on both.
pub(super) fn compare(here: &Measured, there: Option<&Measured>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let there = there.filter(|there| there.cpus == here.cpus);
    let mut header = vec!["".to_owned(), "instructions".to_owned(), "interrupts".to_owned()];
    header.extend(
        there.iter().flat_map(|there| [there.short_name().to_owned(), "interrupts".to_owned(), "ratio".to_owned()]),
    );
    table.set_header(header);
    for row in &here.operations {
        let mut cells = vec![row.operation.clone(), row.instructions.to_string(), row.interrupts.to_string()];
        if let Some(other) = there.and_then(|there| find(there, &row.operation)) {
            let ratio = row.instructions as f64 / other.instructions as f64;
            cells.extend([other.instructions.to_string(), other.interrupts.to_string(), format!("{ratio:.2}")]);
        }
        table.add_row(cells);
    }
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    let mut text = format!("{table}\n\n");
    for slope in SLOPES {
        let value = |measured| slope.of(measured).map(|value| value.to_string());
        let Some(ours) = value(here) else { continue };
        text.push_str(&format!("{}: {ours}", slope.name));
        if let Some((there, theirs)) = there.and_then(|there| Some((there, value(there)?))) {
            text.push_str(&format!("; {}: {theirs}", there.short_name()));
        }
        text.push('\n');
    }
    if there.is_some() {
        text.push_str("Totals compare a small kernel with a whole one; what a target or a table takes, and interrupts, are alike.\n");
    }
    text
}

fn find<'m>(measured: &'m Measured, operation: &str) -> Option<&'m Operation> {
    measured.operations.iter().find(|row| row.operation == operation)
}

/// What one more of something takes, from two operations that differ in how many there are.
struct Slope {
    name: &'static str,
    few: (&'static str, i64),
    many: (&'static str, i64),
}

const SLOPES: [Slope; 3] = [
    Slope {
        name: "instructions for one more target of a shootdown",
        few: ("mmap + touch + munmap, 1 page, 1 reader", 1),
        many: ("mmap + touch + munmap, 1 page, 3 readers", 3),
    },
    Slope {
        name: "for one more shared table of a child",
        few: ("fork + touch + exit, 1 shared table", 1),
        many: ("fork + touch + exit, 64 shared tables", 64),
    },
    Slope {
        name: "for one more shared table of a mapping",
        few: ("mmap + touch + munmap, 1 shared table", 1),
        many: ("mmap + touch + munmap, 64 shared tables", 64),
    },
];

impl Slope {
    fn of(&self, measured: &Measured) -> Option<i64> {
        let take = |name| i64::try_from(find(measured, name)?.instructions).ok();
        Some((take(self.many.0)? - take(self.few.0)?) / (self.many.1 - self.few.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(kernel: &str, instructions: [u64; 2]) -> Measured {
        let [few, many] = instructions;
        let lines = [
            format!("row\tmmap + touch + munmap, 1 page, 1 reader\t{few}\t100"),
            format!("row\tmmap + touch + munmap, 1 page, 3 readers\t{many}\t305"),
        ];
        let operations = lines.iter().filter_map(|line| Operation::of_line(line)).collect();
        Measured { kernel: kernel.to_owned(), cpus: 4, operations }
    }

    #[test]
    fn two_kernels_stand_beside_each_other() {
        let text = compare(&measured("ours", [1000, 1400]), Some(&measured("another", [4000, 5600])));
        assert!(text.contains("another"), "{text}");
        let row = text.lines().find(|line| line.contains("3 readers")).expect("there is a row");
        let fields: Vec<_> = row.split_whitespace().collect();
        assert_eq!(fields[fields.len() - 5..], ["1400", "3.05", "5600", "3.05", "0.25"]);
        assert!(text.contains("one more target of a shootdown: 200; another: 800\n"), "{text}");
        let with_other_cpus = Measured { cpus: 8, ..measured("another", [4000, 5600]) };
        assert!(!compare(&measured("ours", [1000, 1400]), Some(&with_other_cpus)).contains("another"));
    }

    #[test]
    fn what_is_bundled_of_linux_has_what_the_slopes_want() {
        let linux = linux().expect("it is what this command prints");
        assert!(linux.kernel.starts_with("Linux "), "{}", linux.kernel);
        assert!(SLOPES.iter().all(|slope| slope.of(&linux).is_some()));
    }

    #[test]
    fn other_lines_are_no_operations() {
        for line in ["", "row\t", "row\tx\t1", "row\tx\ty\t1", "test user ... ok"] {
            assert_eq!(Operation::of_line(line), None, "{line:?}");
        }
    }
}
