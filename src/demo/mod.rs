//! A demonstration on one machine: sample images in one registry are mirrored into another by the
//! rules of a real configuration over real HTTP, and every step is checked.
//!
//! - `gzip`, `blob`, `layer`, `image`, `samples`: the sample images, as data.
//! - `stock`: puts them on disk. `registry`: serves them. `scene`: folder, configuration and both
//!   registries. `world`: what the demo needs from outside.
//! - `steps`: what is done and checked. `report`: what happened.

mod blob;
mod gzip;
mod image;
mod layer;
mod registry;
mod report;
mod samples;
mod scene;
mod steps;
mod stock;
mod world;

use std::path::Path;
use std::time::Instant;

pub use report::{Check, DemoReport, Images, Next, RegistryAddress, Step};
use scene::Scene;
pub use world::{DemoError, World};

/// Runs the demo in an empty folder. `watch` sees each step when it is done. `program` is how
/// tranship was called, for the commands to try next.
pub async fn run(
    folder: &Path,
    world: World,
    program: &str,
    watch: &mut (dyn FnMut(&Step) + Send),
) -> Result<DemoReport, DemoError> {
    let begin = Instant::now();
    let scene = Scene::set_up(folder, world).await?;
    let mut steps = Vec::new();
    for step in steps::all(&scene) {
        let begin = Instant::now();
        let mut step = step.await?;
        step.seconds = begin.elapsed().as_secs_f64();
        watch(&step);
        steps.push(step);
    }
    let (source, target) = scene.addresses();
    Ok(DemoReport {
        success: steps.iter().all(Step::passed),
        seconds: begin.elapsed().as_secs_f64(),
        source,
        target,
        steps,
        next: scene.next(program),
    })
}
