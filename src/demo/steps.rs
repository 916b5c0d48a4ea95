//! The steps of the demo. Each does one thing as a command would, and checks what it says.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::image::Image;
use super::report::{Images, Step};
use super::samples::{self, Sample};
use super::scene::Scene;
use super::stock;
use super::world::DemoError;
use crate::fair::Flow;
use crate::oci::derived::{self, cosign_tag};
use crate::oci::{RegistryHost, Tag};
use crate::registry::Registries;
use crate::repository::{Placement, Reference, Repository};
use crate::sync::{Mode, RuleReport, Syncer};
use crate::text::counted;
use crate::transfer::manifest_memory;
use crate::verify::{Part, Verifier};

/// Images that the rules select: five of acme's, and one release of the tool.
const SELECTED: usize = 6;

/// The steps, in their order: each begins when it is awaited.
pub(super) fn all(scene: &Scene) -> [BoxFuture<'_, Result<Step, DemoError>>; 5] {
    [
        prepare(scene).boxed(),
        first_sync(scene).boxed(),
        second_sync(scene).boxed(),
        moved_tag(scene).boxed(),
        verify(scene).boxed(),
    ]
}

async fn prepare(scene: &Scene) -> Result<Step, DemoError> {
    let mut step = Step::new("prepare", "Two registries start on this machine");
    let layouts = scene.source_layouts().await?;
    let samples = samples::at_first()?;
    for sample in &samples {
        stock::put(&layouts, sample).await?;
    }
    let (source, target) = scene.addresses();
    step.tell(format!("source {}, read-only, with sample images:", source.address));
    let (registries, _) = scene.open(&scene.config()?)?;
    let host = host(&source.address)?;
    let mut found = BTreeSet::new();
    for name in registries.open(&host)?.repositories(&[""], Flow::ALONE).await? {
        let repository = registries.open(&host)?.repository(Flow::ALONE, name.clone(), false);
        let mut tags: Vec<Tag> = repository.tags().await?.unwrap_or_default();
        tags.retain(|tag| derived::parse(tag).is_none());
        tags.sort();
        found.extend(tags.iter().map(|tag| format!("{name}:{tag}")));
        let tags: Vec<&str> = tags.iter().map(Tag::as_str).collect();
        step.tell(format!("  {name}: {}", tags.join(", ")));
    }
    step.tell(
        "  (indexes for several platforms with attestations of their build; acme/web:1.1 is signed)",
    );
    step.tell(format!("target {}, empty; the rules that fill it:", target.address));
    step.tell("  acme: acme/** goes to mirror/acme/…, bit for bit, signatures included");
    step.tell("  cli: of tools/cli only the newest release, for linux/amd64 alone");
    let expected = samples.iter().filter_map(name).collect();
    step.check("the source lists its images", found, expected);
    note_requests(scene, &mut step);
    Ok(step)
}

async fn first_sync(scene: &Scene) -> Result<Step, DemoError> {
    let mut step = Step::new("first_sync", "First sync: everything is new");
    sync(scene, &mut step).await?;
    check_counts(&mut step, SELECTED, 0);
    let read = scene.source.requests();
    step.check("the source was only read", read.only_read(), true);
    step.check("no blob was downloaded twice", read.downloads_of_one_blob(), 1);
    step.source_requests = read.by_method();
    step.target_requests = scene.target.requests().by_method();
    let (registries, _) = scene.open(&scene.config()?)?;
    let (web, tool) =
        (target(scene, &registries, "acme/web")?, target(scene, &registries, "tools/cli")?);
    let signed = samples::signed()?;
    let referrers = web.referrers(&signed.manifest.digest).await?.unwrap_or_default();
    step.check("the signature came along", referrers, vec![signed.signature()?.manifest.digest]);
    let cosign = Reference::Tag(cosign_tag(&signed.manifest.digest, ".sig"));
    step.check("cosign's tag came along", web.resolve(&cosign).await?.is_some(), true);
    let tags = tool.tags().await?.unwrap_or_default();
    let tags: Vec<&str> = tags.iter().map(Tag::as_str).collect();
    step.check("only the newest release of tools/cli was copied", tags, vec!["v1.10.0"]);
    forget_requests(scene);
    Ok(step)
}

async fn second_sync(scene: &Scene) -> Result<Step, DemoError> {
    let mut step = Step::new("second_sync", "Second sync: nothing has changed");
    sync(scene, &mut step).await?;
    step.tell("the source is asked for each tag and its signatures; the target only for what the");
    step.tell("state does not know: it says for a while (`recheck`) which image each tag has");
    check_counts(&mut step, 0, SELECTED);
    step.check("no blob was sent", step.blobs_sent, 0);
    let written = scene.target.requests();
    step.check("nothing was written to the target", written.only_read(), true);
    step.source_requests = scene.source.requests().by_method();
    step.target_requests = written.by_method();
    Ok(step)
}

async fn moved_tag(scene: &Scene) -> Result<Step, DemoError> {
    let mut step = Step::new("moved_tag", "acme/web:latest moves at the source: third sync");
    let (before, moved) = (samples::at_first()?, samples::moved()?);
    stock::put(&scene.source_layouts().await?, &moved).await?;
    sync(scene, &mut step).await?;
    check_counts(&mut step, 1, SELECTED - 1);
    note_requests(scene, &mut step);
    let known = blobs(before.iter().map(|sample| &sample.image));
    let new = blobs([&moved.image]).difference(&known).count() as u64;
    step.check("only the new blobs were sent", step.blobs_sent, new);
    let (registries, _) = scene.open(&scene.config()?)?;
    let web = target(scene, &registries, "acme/web")?;
    let latest = Reference::Tag("latest".parse().map_err(std::io::Error::other)?);
    let found = web.resolve(&latest).await?.map(|resolved| resolved.digest);
    step.check("the target's tag has moved, too", found, Some(moved.image.manifest.digest.clone()));
    forget_requests(scene);
    Ok(step)
}

async fn verify(scene: &Scene) -> Result<Step, DemoError> {
    let mut step = Step::new("verify", "Verify: both sides compared down to every byte");
    let config = scene.config()?;
    let (registries, carrier) = scene.open(&config)?;
    let pulses = carrier.pulses().clone();
    let syncer = Arc::new(Syncer::new(registries, carrier, scene.world.clock));
    let rules: Vec<_> = config.sync.iter().collect();
    let verifier = Verifier::new(true, manifest_memory(), pulses);
    let parts = Part::of_rules(&syncer, &rules, &Arc::default());
    let report = verifier.run(parts, None, &CancellationToken::new(), &|_| {}).await;
    step.check("the source could be listed", &report.failures, &Vec::new());
    step.images.verified = report.counts.equal;
    step.images.failed = report.counts.total() - report.counts.equal;
    let checked = report.checked;
    step.tell(format!(
        "{} hashed on both sides, {} of the target read and hashed ({})",
        counted(checked.manifests, "manifest", "manifests"),
        counted(checked.blobs, "blob", "blobs"),
        bytesize::ByteSize(checked.bytes_read).display().iec()
    ));
    for problem in report.images.iter().flat_map(|image| &image.problems) {
        step.tell(problem.to_string());
    }
    step.check("both sides could be read", report.success, true);
    step.check("every image is equal", step.images.verified, SELECTED);
    let referrers = report.images.iter().map(|image| image.referrers).max();
    step.check("what refers to an image was compared, too", referrers, Some(2));
    note_requests(scene, &mut step);
    Ok(step)
}

/// Does what `tranship sync` does, in the same way.
async fn sync(scene: &Scene, step: &mut Step) -> Result<(), DemoError> {
    let config = scene.config()?;
    let (registries, carrier) = scene.open(&config)?;
    let syncer = Syncer::new(registries, Arc::clone(&carrier), scene.world.clock);
    let rules: Vec<_> = config.sync.iter().collect();
    let reports = syncer.run(&rules, Mode::Apply, &CancellationToken::new(), &|_| {}).await;
    for report in &reports {
        step.images.copied += report.counts.copied;
        step.images.unchanged += report.counts.unchanged;
        step.images.failed += report.counts.failed;
        tell(report, step);
    }
    let moved = carrier.totals();
    (step.blobs_sent, step.blobs_mounted) = (moved.blobs_sent, moved.blobs_mounted);
    step.bytes_sent = moved.sent_bytes;
    let succeeded = reports.iter().all(RuleReport::is_success);
    step.check("every rule succeeded", succeeded, true);
    Ok(())
}

fn tell(report: &RuleReport, step: &mut Step) {
    let counts = report.counts;
    step.tell(format!(
        "rule {}: {} copied, {} unchanged",
        report.rule, counts.copied, counts.unchanged
    ));
    let errors = report.images.iter().flat_map(|image| &image.errors);
    for failure in errors.chain(&report.failures) {
        step.tell(failure.to_string());
    }
    let notes = report.images.iter().flat_map(|image| &image.notes);
    step.story.extend(notes.map(|note| format!("  note: {note}")));
}

fn check_counts(step: &mut Step, copied: usize, unchanged: usize) {
    let Images { copied: found, unchanged: same, .. } = step.images;
    let what = match (copied, unchanged) {
        (_, 0) => "every image was copied",
        (0, _) => "every image was found unchanged",
        _ => "only the image that moved was copied",
    };
    step.check(what, (found, same), (copied, unchanged));
}

fn note_requests(scene: &Scene, step: &mut Step) {
    step.source_requests = scene.source.requests().by_method();
    step.target_requests = scene.target.requests().by_method();
}

/// Discards the requests that a step made to check itself, so that it does not show them.
fn forget_requests(scene: &Scene) {
    scene.source.requests();
    scene.target.requests();
}

fn host(address: &str) -> Result<RegistryHost, DemoError> {
    Ok(address.parse().map_err(std::io::Error::other)?)
}

/// The name that the rules give a repository at the target.
fn target(
    scene: &Scene,
    registries: &Registries,
    name: &str,
) -> Result<Arc<dyn Repository>, DemoError> {
    let registry = registries.open(&host(&scene.target.address.to_string())?)?;
    let name = format!("mirror/{name}").parse().map_err(std::io::Error::other)?;
    Ok(registry.repository(Flow::ALONE, name, false))
}

/// `repository:tag`, for what people have tagged.
fn name(sample: &Sample) -> Option<String> {
    match &sample.placement {
        Placement::Tag(tag) if derived::parse(tag).is_none() => {
            Some(format!("{}:{tag}", sample.repository))
        }
        _ => None,
    }
}

fn blobs<'a>(images: impl IntoIterator<Item = &'a Image>) -> BTreeSet<String> {
    let all = images.into_iter().flat_map(Image::all);
    all.flat_map(|image| &image.blobs).map(|blob| blob.digest.to_string()).collect()
}
