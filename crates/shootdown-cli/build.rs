//! Lists the bundled recordings, so that the command carries them wherever it is copied.

use std::{env, error::Error, fmt::Write as _, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../recordings").canonicalize()?;
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut names = Vec::new();
    for file in fs::read_dir(&folder)? {
        let file = file?.file_name().into_string().map_err(|name| format!("{} is not UTF-8", name.display()))?;
        names.extend(file.strip_suffix(".tlbt.zst").map(str::to_owned));
    }
    names.sort();
    let mut list = String::from("&[\n");
    for name in names {
        let path = |suffix| folder.join(format!("{name}{suffix}"));
        writeln!(
            list,
            "Bundled {{ name: {name:?}, bytes: include_bytes!({:?}), facts: include_str!({:?}) }},",
            path(".tlbt.zst"),
            path(".truth.json")
        )?;
    }
    list.push(']');
    fs::write(Path::new(&env::var("OUT_DIR")?).join("bundled.rs"), list)?;
    Ok(())
}
