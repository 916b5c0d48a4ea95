//! The whole thing on this machine: sample images in one registry, mirrored into another by the
//! rules of a real configuration over real HTTP, and every step checked.
//!
//! - `gzip`, `layer`, `image`, `samples`: the sample images, as data.
//! - `stock`: puts them on disk. `registry`: serves them. `scene`: folder, configuration and both
//!   registries.
//! - `steps`: what is done and made sure of. `report`: what came of it.

mod gzip;
mod image;
mod layer;
mod registry;
mod report;
mod samples;
mod scene;
mod steps;
mod stock;

use std::path::Path;
use std::time::Instant;

use crate::config::ConfigError;
use crate::registry::auth::Environment;
use crate::repository::Error;
use crate::state::StateError;

pub use report::{Check, Images, Next, Place, Report, Step};
use scene::Scene;

/// What the demo takes from outside.
pub struct World {
    /// Where credentials would be looked for.
    pub environment: Environment,
    /// Random numbers from 0 to 1 that spread retries.
    pub jitter: fn() -> f64,
    /// Seconds since 1970.
    pub clock: fn() -> u64,
}

/// Why the demo could not go on.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("{0}")]
    Repository(#[from] Error),
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{0}")]
    State(#[from] StateError),
    #[error("failed to set up the demo: {0}")]
    Io(#[from] std::io::Error),
}

/// Plays the demo in an empty folder. `watch` sees each step when it is done. `program` is how
/// tranship was called, for the commands to try next.
pub async fn run(
    folder: &Path,
    world: World,
    program: &str,
    watch: &(dyn Fn(&Step) + Sync),
) -> Result<Report, DemoError> {
    let begin = Instant::now();
    let scene = Scene::set_up(folder, world).await?;
    let mut steps = Vec::new();
    for name in steps::ALL {
        let begin = Instant::now();
        let mut step = steps::play(&scene, name).await?;
        step.seconds = begin.elapsed().as_secs_f64();
        watch(&step);
        steps.push(step);
    }
    let (source, target) = scene.places();
    Ok(Report {
        success: steps.iter().all(Step::passed),
        seconds: begin.elapsed().as_secs_f64(),
        source,
        target,
        steps,
        next: scene.next(program),
    })
}
