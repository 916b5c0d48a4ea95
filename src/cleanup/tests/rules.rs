//! Policies as they are written, and what they leave of a repository.

use super::world::{World, now};
use crate::cleanup::{InUse, plan};
use crate::config::policy::Policy;
use crate::config::sample;
use crate::oci::Digest;

/// A policy without limits and without a grace period; `more` is added to the rule.
pub fn policy(keep: &str, delete: &str, more: &str) -> Policy {
    let text = format!(
        "[[cleanup]]\nname = \"r\"\nrepositories = [\"registry.example.com/acme/app\"]\nkeep = [{keep}]\ndelete = [{delete}]\n{more}\n"
    );
    let defaults = [("grace", "\"0s\""), ("max_delete", "{ count = 1000000, percent = 100 }")];
    let missing = defaults.iter().filter(|(key, _)| !more.contains(key));
    let text = missing.fold(text, |text, (key, value)| text + &format!("{key} = {value}\n"));
    sample(&text).cleanup.remove(0).policy
}

/// What is left, as tags and manifests; the plan must not be refused.
pub fn cleaned(world: &World, policy: &Policy) -> World {
    let (snapshot, in_use) = (world.snapshot(), InUse::default());
    let plan = plan(&snapshot, policy, &in_use, now());
    assert_eq!(plan.refusals, []);
    world.after(&plan)
}

pub fn tags(world: &World) -> Vec<&str> {
    world.tags.keys().map(|tag| tag.as_str()).collect()
}

pub fn has(world: &World, digest: &Digest) -> bool {
    world.items.contains_key(digest)
}

pub const UNTAGGED: &str = "{ id = \"untagged\", untagged = true }";

/// A process may be killed while it tries on a placeholder what the registry can do. What it leaves is
/// no image: it is not counted, and goes with orphans.
#[test]
fn a_placeholder_that_was_left_pushes_no_image_out() {
    let mut world = World::new();
    let image = world.image("image", 90);
    world.tag("pr-1", &image);
    let placeholder = world.index("placeholder", 3, &[]);
    world.tag("tranship-trial-0123456789abcdef-a", &placeholder);
    let all = "{ id = \"all\", tags = [\"*\"], beyond_newest = 1 }";
    assert_eq!(cleaned(&world, &policy("", all, "")).tags, world.tags);
    let orphans = "{ id = \"orphans\", orphans = true, older_than = \"1d\" }";
    assert_eq!(tags(&cleaned(&world, &policy("", orphans, ""))), ["pr-1"]);
}
