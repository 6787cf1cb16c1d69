//! Links without the C library, at the addresses that `link.ld` gives: the kernel, and the program beside it.

use std::{env, error::Error};

fn main() -> Result<(), Box<dyn Error>> {
    let script = format!("{}/link.ld", env::var("CARGO_MANIFEST_DIR")?);
    println!("cargo::rerun-if-changed={script}");
    // With the host's own target the linker is called through a C compiler; with a bare one it is called directly.
    let (arguments, script): (&[&str], String) = match env::var("CARGO_CFG_TARGET_OS")?.as_str() {
        "linux" => (
            &[
                "-nostdlib",
                "-nostartfiles",
                "-static",
                "-no-pie",
                "-Wl,--build-id=none",
                "-Wl,-z,max-page-size=4096",
                "-Wl,-z,norelro",
            ],
            format!("-Wl,-T,{script}"),
        ),
        _ => (&["--no-pie", "--build-id=none", "-zmax-page-size=4096", "-znorelro"], format!("-T{script}")),
    };
    for argument in arguments {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
    println!("cargo::rustc-link-arg-bins={script}");
    Ok(())
}
