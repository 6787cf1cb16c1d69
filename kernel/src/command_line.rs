//! What the kernel is to do: words of the form `name=value` that QEMU hands over.

use core::ffi::CStr;

use shootdown::Fix;

use crate::memory;

/// Offset of the command line's address in the start information.
const COMMAND_LINE: u64 = 24;
const DEFAULT_OPERATIONS: u64 = 100_000;

pub(crate) struct CommandLine {
    pub(crate) seed: u64,
    /// `test=NAME`; all if there is none.
    pub(crate) test: Option<&'static str>,
    /// `without=FIX`.
    pub(crate) left_out: Option<Fix>,
    /// How many operations the stress does on all CPUs together.
    pub(crate) n_operations: u64,
    /// `icount`: QEMU's clock counts instructions.
    pub(crate) counts_instructions: bool,
}

impl CommandLine {
    /// Reads it from where the start information at this physical address says.
    ///
    /// # Panics
    /// If there is a word that means nothing.
    pub(crate) fn read(start_information: u64) -> CommandLine {
        let mut command_line = CommandLine {
            seed: 1,
            test: None,
            left_out: None,
            n_operations: DEFAULT_OPERATIONS,
            counts_instructions: false,
        };
        for word in text(start_information).split_ascii_whitespace() {
            command_line.take(word);
        }
        command_line
    }

    fn take(&mut self, word: &'static str) {
        let number = |value: &str| value.parse().unwrap_or_else(|_| panic!("not a number in {word:?}"));
        match word.split_once('=') {
            Some(("seed", value)) => self.seed = number(value),
            Some(("test", value)) => self.test = Some(value),
            Some(("operations", value)) => self.n_operations = number(value),
            Some(("without", value)) => {
                self.left_out = Some(Fix::by_name(value).unwrap_or_else(|| panic!("there is no fix {value:?}")));
            }
            None if word == "icount" => self.counts_instructions = true,
            _ => panic!("unknown word on the command line: {word:?}"),
        }
    }
}

fn text(start_information: u64) -> &'static str {
    // SAFETY: QEMU has put the start information there, which nobody changes: it lies below the memory that `memory`
    // gives out.
    let address = unsafe { memory::direct_map(start_information + COMMAND_LINE).cast::<u64>().read() };
    if address == 0 {
        return "";
    }
    // SAFETY: likewise the text, which ends with a zero byte.
    let text = unsafe { CStr::from_ptr(memory::direct_map(address).cast()) };
    text.to_str().expect("the command line is text")
}
