//! Builds and runs a program that has the library and nothing else: `tests/no_std`.
//!
//! It links neither the standard library nor the C library, and no crate in it defines an allocator: if the library
//! needed one of them, the program would not link.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::{env, path::Path, process::Command};

#[test]
fn a_program_without_runtime_or_allocator_links_and_runs() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/no_std/Cargo.toml");
    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no_std");
    for (profile, directory) in [("dev", "debug"), ("release", "release")] {
        let build = Command::new(env!("CARGO"))
            .args(["build", "--offline", "--quiet", "--profile", profile, "--manifest-path"])
            .arg(&manifest)
            .arg("--target-dir")
            .arg(&target_dir)
            // Instrumentation, which flags may ask for, needs the standard library; another target, another path.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("CARGO_BUILD_TARGET")
            .output()
            .expect("cargo can be started");
        assert!(build.status.success(), "{profile} build failed:\n{}", String::from_utf8_lossy(&build.stderr));
        let run = Command::new(target_dir.join(directory).join("no-std")).status().expect("the program can be started");
        assert_eq!(
            run.code(),
            Some(0),
            "the number of the check in tests/no_std/src/main.rs that failed, or 101: panic"
        );
    }
}
