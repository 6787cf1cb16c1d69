//! Finds the scenario that is meant.

use shootdown_check::{Scenario, scenarios};

use super::Error;
use crate::names;

/// Finds a scenario by its name, or the variant of it that has so many CPUs.
pub(super) fn scenario(name: &str, n_cpus: Option<usize>) -> Result<&'static Scenario, Error> {
    let named = scenarios::by_name(name);
    let Some(n_cpus) = n_cpus else {
        return named.ok_or_else(|| unknown(name));
    };
    if let Some(scenario) = named.filter(|scenario| scenario.machine.cpus == n_cpus) {
        return Ok(scenario);
    }
    let variants: Vec<_> = scenarios::all_and_models().filter(|other| stem(other.name) == stem(name)).collect();
    if variants.is_empty() {
        return Err(unknown(name));
    }
    variants.iter().copied().find(|variant| variant.machine.cpus == n_cpus).ok_or_else(|| {
        let there: Vec<String> =
            variants.iter().map(|variant| format!("{} ({} CPUs)", variant.name, variant.machine.cpus)).collect();
        format!("there is no {} with {n_cpus} CPUs, only {}", stem(name), there.join(", ")).into()
    })
}

/// The name without the number of CPUs: what the variants of a scenario have in common.
fn stem(name: &str) -> &str {
    match name.rsplit_once('_') {
        Some((stem, last)) if last.strip_suffix("cpu").is_some_and(|number| number.parse::<u8>().is_ok()) => stem,
        _ => name,
    }
}

fn unknown(name: &str) -> Error {
    let hint = names::near(name, scenarios::all_and_models().map(|scenario| scenario.name));
    format!("there is no scenario {name:?}{hint} (see `shootdown check --list`)").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_cpus_selects_the_variant() {
        let name =
            |name, n_cpus| scenario(name, n_cpus).map(|scenario| scenario.name).map_err(|error| error.to_string());
        assert_eq!(name("unmap_2cpu", None).as_deref(), Ok("unmap_2cpu"));
        assert_eq!(name("unmap_2cpu", Some(2)).as_deref(), Ok("unmap_2cpu"));
        assert_eq!(name("unmap_2cpu", Some(3)).as_deref(), Ok("unmap_3cpu"));
        assert_eq!(name("unmap", Some(3)).as_deref(), Ok("unmap_3cpu"));
        let error = name("unmap_2cpu", Some(7)).expect_err("there are not so many CPUs");
        assert!(error.contains("unmap_2cpu (2 CPUs), unmap_3cpu (3 CPUs)"), "{error}");
        assert!(name("unmap", None).is_err());
    }

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        let error = |name| scenario(name, None).expect_err("there is none").to_string();
        assert!(error("unmap2cpu").contains("near names: unmap_2cpu"), "{}", error("unmap2cpu"));
        assert!(!error("zzz").contains("near"));
    }
}
