//! Builds the kernel, and the program that runs on it.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use super::Error;

/// Where the kernel was when this command was built.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../kernel");
const NAME: &str = "shootdown-kernel";
const PROGRAM: &str = "shootdown-program";

/// Which kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Runs the tests.
    Tests,
    /// Measures, with nothing in it that serves the tests.
    Bench,
}

impl Kind {
    /// The cargo features, and a folder to build it in.
    const fn features_and_folder(self) -> (&'static [&'static str], &'static str) {
        match self {
            Kind::Tests => (&[], "kernel"),
            Kind::Bench => (&["--features", "bench"], "kernel-bench"),
        }
    }
}

/// Builds the kernel and returns where it is.
pub(super) fn kernel(kind: Kind) -> Result<PathBuf, Error> {
    let (features, subfolder) = kind.features_and_folder();
    package(NAME, features, subfolder)
}

/// Builds the program for user mode, which is the same for each kernel, and returns where it is.
pub(super) fn program() -> Result<PathBuf, Error> {
    package(PROGRAM, &[], Kind::Tests.features_and_folder().1)
}

fn package(name: &str, features: &[&str], subfolder: &str) -> Result<PathBuf, Error> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err("the kernel is linked from the host's own core library, so it is built on x86-64 Linux only".into());
    }
    let folder = Path::new(FOLDER);
    let manifest = folder.join("Cargo.toml");
    if !manifest.is_file() {
        let folder = folder.display();
        return Err(format!(
            "there is no kernel in {folder}, beside which this command was built: run it from a checkout, with `cargo run \
             --release -- boot`"
        )
        .into());
    }
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| folder.join("../target"), PathBuf::from);
    let target = target.join(subfolder);
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(&cargo)
        .args(["build", "--release", "--locked", "--quiet", "--package", name, "--manifest-path"])
        .arg(&manifest)
        .args(features)
        .arg("--target-dir")
        .arg(&target)
        // Instrumentation, which flags may ask for, needs the standard library; another target, another path.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET")
        .output()
        .map_err(|error| format!("{} cannot be started: {error}", Path::new(&cargo).display()))?;
    if !built.status.success() {
        return Err(format!("{name} cannot be built:\n{}", String::from_utf8_lossy(&built.stderr)).into());
    }
    Ok(target.join("release").join(name))
}
