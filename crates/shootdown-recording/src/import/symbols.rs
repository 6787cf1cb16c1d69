//! The kernel functions that CPUs are asked to call, by their addresses.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use crate::{
    error::{Problem, shown},
    event::CallFunction,
};

/// Where the symbols of the running kernel are.
const OF_THIS_KERNEL: &str = "/proc/kallsyms";
/// The symbol whose address, which differs from boot to boot, recorders write down.
const FIRST_SYMBOL: &[u8] = b"_text";

/// The functions that matter, by address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Symbols {
    flush: Option<u64>,
    sync: Option<u64>,
    first: Option<u64>,
}

impl Symbols {
    /// Reads them from a file in the form of `/proc/kallsyms`.
    pub(crate) fn read(path: &Path) -> Result<Self, Problem> {
        let file = File::open(path).map_err(|error| Problem::Symbols { file: path.display().to_string(), error })?;
        let mut symbols = Symbols::default();
        for line in BufReader::new(file).split(b'\n') {
            let line = line.map_err(|error| Problem::Symbols { file: path.display().to_string(), error })?;
            symbols.add(&line)?;
        }
        Ok(symbols)
    }

    /// Those of the running kernel, if it is the one that was recorded: its first symbol is at `first`.
    pub(crate) fn of_this_kernel(first: u64) -> Option<Self> {
        Self::read(Path::new(OF_THIS_KERNEL)).ok().filter(|symbols| symbols.first == Some(first))
    }

    /// Takes in a line `ADDRESS TYPE NAME`, behind which a module may stand.
    fn add(&mut self, line: &[u8]) -> Result<(), Problem> {
        let mut fields = line.split(|byte| byte.is_ascii_whitespace()).filter(|field| !field.is_empty());
        let (Some(address), Some(_), Some(name)) = (fields.next(), fields.next(), fields.next()) else {
            return if line.is_empty() { Ok(()) } else { Err(not_a_symbol(line)) };
        };
        let address = crate::text::digits(16, address).ok_or_else(|| not_a_symbol(line))?;
        let slot = match CallFunction::by_symbol(name) {
            CallFunction::FlushTlb => &mut self.flush,
            CallFunction::TableSync => &mut self.sync,
            CallFunction::Other if name == FIRST_SYMBOL => &mut self.first,
            CallFunction::Other => return Ok(()),
        };
        // Whoever may not see addresses reads zeros.
        *slot = Some(address).filter(|address| *address != 0);
        Ok(())
    }

    /// Whether requests to flush can be told from others.
    pub(crate) fn is_useful(&self) -> bool {
        self.flush.is_some()
    }

    pub(crate) fn function_at(&self, address: u64) -> CallFunction {
        match Some(address) {
            address if address == self.flush => CallFunction::FlushTlb,
            address if address == self.sync => CallFunction::TableSync,
            _ => CallFunction::Other,
        }
    }
}

fn not_a_symbol(line: &[u8]) -> Problem {
    let line = line.get(..line.len().min(60)).unwrap_or_default();
    Problem::Value { field: "symbol", found: shown(line), expected: "ADDRESS TYPE NAME, as in /proc/kallsyms" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_known_by_their_addresses_and_hidden_addresses_are_none() {
        let mut symbols = Symbols::default();
        symbols.add(b"ffffffff813424a0 t flush_tlb_func").expect("a symbol");
        symbols.add(b"0000000000000000 t tlb_remove_table_smp_sync").expect("a symbol");
        symbols.add(b"ffffffffc0000000 t helper\t[some_module]").expect("a symbol");
        assert_eq!(symbols.function_at(0xffff_ffff_8134_24a0), CallFunction::FlushTlb);
        assert_eq!(symbols.function_at(0), CallFunction::Other);
        assert!(symbols.is_useful());
        assert!(symbols.add(b"not a line of it").is_err());
        assert!(symbols.add(b"zz t flush_tlb_func").is_err());
    }
}
