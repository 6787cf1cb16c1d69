//! The SMP machine as plain data.
