//! Lists the bundled recordings, so that the command carries them wherever it is copied.

use std::{env, error::Error, fmt::Write as _, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../recordings").canonicalize()?;
    println!("cargo::rerun-if-changed={}", folder.display());
    let index = fs::read_to_string(folder.join("index.tsv"))?;
    let mut list = String::from("&[\n");
    for line in index.lines() {
        let (name, about) = line.split_once('\t').ok_or_else(|| format!("index.tsv: no tab in {line:?}"))?;
        let path = folder.join(format!("{name}.tlbt.zst"));
        writeln!(list, "Bundled {{ name: {name:?}, about: {about:?}, bytes: include_bytes!({path:?}) }},")?;
    }
    list.push(']');
    fs::write(Path::new(&env::var("OUT_DIR")?).join("bundled.rs"), list)?;
    Ok(())
}
