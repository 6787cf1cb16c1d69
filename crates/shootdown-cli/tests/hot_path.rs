//! What the compiler made of a shootdown in the kernel that is measured: nothing of the fixes' names and of the trait is
//! left. And the same look at the kernel that is tested, where a fix can be left out, finds traces.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use iced_x86::{Decoder, DecoderOptions, Instruction, OpKind, Register};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind, read::elf::ElfFile64};

/// Where a shootdown begins on its target.
const ON_KICK: &str = "on_kick";
/// Where it begins on its issuer: functions of the library's `flush`.
const FLUSH: &str = "9shootdown5flush";
/// What else is in the library, in either way of making symbols of names.
const LIBRARY: &str = "9shootdown";
/// Begins what is no shootdown: the kernel's own work on another CPU, whose function travels as a word.
const OTHER_OPERATIONS: &str = "run_other";
/// The word that says which fix is left out.
const LEFT_OUT: &str = "LEFT_OUT";

/// A function of the kernel.
struct Function {
    name: String,
    instructions: Vec<Instruction>,
}

struct Kernel {
    functions: BTreeMap<u64, Function>,
    left_out: Option<u64>,
}

impl Kernel {
    /// Builds it and reads it.
    fn build(arguments: &[&str]) -> Kernel {
        let output = Command::new(env!("CARGO_BIN_EXE_shootdown"))
            .args(["boot", "--build-only"])
            .args(arguments)
            .output()
            .expect("the command runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let path = String::from_utf8(output.stdout).expect("it prints UTF-8");
        let bytes = fs::read(path.trim_end()).expect("the kernel can be read");
        let file = ElfFile64::<object::Endianness>::parse(&*bytes).expect("the kernel is an ELF file");
        let mut kernel = Kernel { functions: BTreeMap::new(), left_out: None };
        for symbol in file.symbols() {
            let name = symbol.name().expect("a symbol has a name").to_owned();
            if name.contains(LEFT_OUT) {
                kernel.left_out = Some(symbol.address());
            }
            let section = symbol.section_index().and_then(|index| file.section_by_index(index).ok());
            if let (SymbolKind::Text, Some(section)) = (symbol.kind(), section)
                && let Ok(Some(code)) = section.data_range(symbol.address(), symbol.size())
            {
                let decoder = Decoder::with_ip(64, code, symbol.address(), DecoderOptions::NONE);
                let function = Function { name, instructions: decoder.into_iter().collect() };
                kernel.functions.insert(symbol.address(), function);
            }
        }
        kernel
    }

    /// The library's functions that a shootdown may come through, and the kick's handler.
    fn path(&self) -> Vec<&Function> {
        let begins = |name: &str| name == ON_KICK || name.contains(FLUSH);
        let mut to_visit: Vec<u64> =
            self.functions.iter().filter(|(_, function)| begins(&function.name)).map(|(address, _)| *address).collect();
        let mut visited = BTreeSet::new();
        while let Some(address) = to_visit.pop() {
            if visited.insert(address) {
                let targets = self.functions[&address].instructions.iter().filter_map(|i| self.called_by(i));
                let is_on_path = |name: &str| name.contains(LIBRARY) && !name.contains(OTHER_OPERATIONS);
                to_visit.extend(targets.filter(|(_, f)| is_on_path(&f.name)).map(|(address, _)| address));
            }
        }
        visited.iter().map(|address| &self.functions[address]).collect()
    }

    /// The function that begins where an instruction goes to by itself.
    fn called_by(&self, instruction: &Instruction) -> Option<(u64, &Function)> {
        let goes =
            instruction.is_call_near() || instruction.is_jmp_short_or_near() || instruction.is_jcc_short_or_near();
        let target = instruction.near_branch_target();
        goes.then(|| self.functions.get(&target).map(|function| (target, function))).flatten()
    }

    /// What the path still knows of the fixes and of the trait.
    fn traces(&self) -> Vec<String> {
        let mut traces = Vec::new();
        for function in self.path() {
            for instruction in &function.instructions {
                let mut report = |what: &str| {
                    traces.push(format!("{} at {:#x}: {what}", function.name, instruction.ip()));
                };
                if instruction.is_ip_rel_memory_operand() && Some(instruction.ip_rel_memory_address()) == self.left_out
                {
                    report("asks which fix is left out");
                }
                if instruction.is_call_near_indirect() || jumps_through_a_table_of_methods(instruction) {
                    report("calls what it finds out while it runs");
                }
                if let Some((_, called)) = self.called_by(instruction)
                    && called.name.contains("Machine")
                {
                    report(&format!("calls {}", called.name));
                }
            }
        }
        traces
    }
}

/// What a call at a function's end becomes. A `match` jumps by a register, or by an index.
fn jumps_through_a_table_of_methods(instruction: &Instruction) -> bool {
    instruction.is_jmp_near_indirect()
        && instruction.op0_kind() == OpKind::Memory
        && instruction.memory_index() == Register::None
}

#[test]
fn a_measured_shootdown_knows_nothing_of_fixes_and_of_the_trait() {
    let kernel = Kernel::build(&["--test", "bench", "--icount"]);
    let path = kernel.path();
    for part in [ON_KICK, FLUSH, "drain"] {
        assert!(path.iter().any(|function| function.name.contains(part)), "nothing called {part} is on the path");
    }
    assert_eq!(kernel.left_out, None, "there is still a word that says which fix is left out");
    assert_eq!(kernel.traces(), [""; 0]);
}

#[test]
fn where_a_fix_can_be_left_out_a_shootdown_asks() {
    let kernel = Kernel::build(&[]);
    assert!(kernel.left_out.is_some());
    let asking = kernel.traces().iter().filter(|trace| trace.contains("which fix is left out")).count();
    assert!(asking >= 3, "atomic-drain, wait-for-acks, flush-remote: {asking}");
}
