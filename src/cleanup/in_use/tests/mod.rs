//! What sources say: every form of it, what is wrong with it, and what is remembered.

mod aliases;
mod kubernetes;
mod list;
mod reading;

use super::Unreadable;
use super::sightings::Sightings;

/// The sightings, `image < place` each.
fn lines(sightings: &Sightings) -> Vec<String> {
    let line = |(used, places): (&super::used::Used, _)| {
        let places: &std::collections::BTreeSet<String> = places;
        let places: Vec<_> = places.iter().map(String::as_str).collect();
        format!("{used} < {}", places.join(", "))
    };
    sightings.iter().map(line).collect()
}

/// What a reader noted, or what it says is wrong.
fn noted(
    read: impl FnOnce(&mut Sightings) -> Result<(), Unreadable>,
) -> Result<Vec<String>, String> {
    let mut sightings = Sightings::default();
    read(&mut sightings).map_err(|error| error.to_string())?;
    Ok(lines(&sightings))
}
