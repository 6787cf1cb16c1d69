//! Names like one that is unknown.

/// How much like a name another must be to be suggested, from 0 to 1.
const LIKENESS: f64 = 0.75;

/// The end of an error about an unknown name: the nearest that there are, if any is near.
pub(crate) fn near<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let mut near: Vec<(f64, &str)> = names
        .into_iter()
        .map(|other| (strsim::jaro_winkler(name, other), other))
        .filter(|(likeness, _)| *likeness >= LIKENESS)
        .collect();
    near.sort_by(|one, other| other.0.total_cmp(&one.0));
    let near: Vec<&str> = near.into_iter().map(|(_, name)| name).take(5).collect();
    match near.is_empty() {
        true => String::new(),
        false => format!("; near names: {}", near.join(", ")),
    }
}
