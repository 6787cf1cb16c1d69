//! The `shootdown` command.
fn main() {}
