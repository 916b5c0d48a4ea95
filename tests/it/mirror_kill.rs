//! kill -9 at fifty moments of one sync, by what the target was seen to have: no tag is ever
//! incomplete, nothing finished is sent again, and a large blob goes on in its middle.

use std::collections::{BTreeMap, HashSet};
use std::io::{Read, Seek, SeekFrom};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;

use crate::mirror_setup::Mirror;
use crate::support::process::Running;
use crate::support::{
    DockerRegistry, Endpoint, Family, Fault, Image, Kind, LayoutRegistry, Place, Scripted, Traffic,
    assert_same, eventually,
};

const KILLS: u32 = 50;
const SMALL: usize = 150;
/// Config, layer, manifest.
const COMMITS: u64 = SMALL as u64 * 3;
const BIG: usize = 96 << 20;
/// What may be sent again in all: what was under way at each kill, and the beginning, if the first
/// kills come before the journal of the upload is on the disk.
const SENT_AGAIN_AT_MOST: u64 = 24 << 20;

static IMAGES: LazyLock<(Vec<Image>, Image)> = LazyLock::new(|| {
    let small = (0..SMALL).map(|at| Image::single(Family::Oci, &format!("small{at}"), &[2_000]));
    (small.collect(), Image::single(Family::Docker, "big", &[BIG]))
});

fn source() -> Scripted {
    let source = Scripted::start();
    for (at, image) in IMAGES.0.iter().enumerate() {
        image.load(&source, "app", &format!("v{at}"));
    }
    let big = &IMAGES.1;
    big.load(&source, "big", "v1");
    // At the speed of a good network: points of the journal take 200 ms to get to the disk, in
    // which all of it could be read from memory.
    let drip = Fault::Drip { bytes: 1 << 20, every: Duration::from_millis(10) };
    source.on("GET", Kind::Blob).containing(&big.blobs[1].digest).fail(drip);
    source
}

/// Runs the sync, kills it at evenly spread moments of `progress`, which goes from 0 to 1, and
/// looks at the target each time; then lets it finish.
async fn kill_often(source: &Scripted, target: &impl Place, progress: impl Fn() -> f64) {
    let rule = |name: &str| {
        let (from, to) = (source.host(), target.host());
        format!("source = \"{from}/{name}\"\ntarget = \"{to}/{name}\"\nreferrers = false")
    };
    // Few at a time, so that one moment is not like the other.
    let settings = "insecure = \"http\"\nparallel = 4";
    let mirror = Mirror::new()
        .http(source)
        .registry(target, settings)
        .rule("small", &rule("app"))
        .rule("big", &rule("big"));
    mirror.configure();
    let mut complete = HashSet::new();
    for kill in 1..=KILLS {
        let running = Running::new(mirror.tranship.command().args(["sync", "--quiet"]));
        let moment = f64::from(kill) / f64::from(KILLS + 1);
        reach(&running, &progress, moment).await;
        running.kill().await;
        assert_complete(target.endpoint(), &mut complete).await;
    }
    mirror.sync().await;
    assert_complete(target.endpoint(), &mut complete).await;
    assert_eq!(complete.len(), SMALL + 1);
    for at in 0..SMALL {
        assert_same(source, target, "app", &format!("v{at}")).await;
    }
    // Against what it was made of: to hash it once more on both sides takes seconds.
    let (big, endpoint) = (&IMAGES.1, target.endpoint());
    assert_eq!(endpoint.manifest("big", "v1").await.unwrap().bytes, big.bytes);
    for blob in &big.blobs {
        let there = endpoint.blob("big", &blob.digest).await;
        assert!(there.is_some_and(|there| there == blob.bytes), "{} differs", blob.digest);
    }
}

/// Waits until there was some progress, and as much as wanted. Panics if the sync is over first.
async fn reach(running: &Running, progress: &impl Fn() -> f64, wanted: f64) {
    let status = format!("/proc/{}/stat", running.pid());
    let (begin, deadline) = (progress(), Instant::now() + Duration::from_secs(60));
    loop {
        let now = progress();
        if now >= wanted && now > begin {
            return;
        }
        let alive = std::fs::read_to_string(&status).is_ok_and(|status| !status.contains(") Z"));
        assert!(alive, "the sync was over at {now}, before {wanted}");
        assert!(Instant::now() < deadline, "no progress beyond {now}, {wanted} was awaited");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Panics if a tag points at something that is not all there. What was found complete before is
/// not looked at again.
async fn assert_complete(endpoint: &Endpoint, complete: &mut HashSet<String>) {
    for repository in ["app", "big"] {
        for tag in endpoint.tags(repository).await {
            if !complete.insert(format!("{repository}:{tag}")) {
                continue;
            }
            // docker-registry lists a tag a moment before it points at something.
            let served =
                eventually(&tag, Duration::from_secs(5), || endpoint.manifest(repository, &tag))
                    .await;
            let manifest: Value = serde_json::from_slice(&served.bytes).unwrap();
            let layers = manifest["layers"].as_array().unwrap();
            for blob in std::iter::once(&manifest["config"]).chain(layers) {
                let path = format!("/v2/{repository}/blobs/{}", blob["digest"].as_str().unwrap());
                let there = endpoint.request(Method::HEAD, repository, &path).send().await.unwrap();
                assert_eq!(there.status(), 200, "{repository}:{tag} lacks {path}");
                let length = there.headers()["content-length"].to_str().unwrap();
                assert_eq!(length, blob["size"].to_string(), "{repository}:{tag}: {path}");
            }
        }
    }
}

/// Panics if a blob was committed twice.
fn assert_sent_once(traffic: &Traffic) {
    let mut commits: BTreeMap<String, u32> = BTreeMap::new();
    for put in traffic.of("PUT", Kind::Upload).filter(|put| put.status == Some(201)) {
        let query = url::form_urlencoded::parse(put.query.as_bytes());
        let digest = query.into_owned().find(|(key, _)| key == "digest").unwrap().1;
        *commits.entry(digest).or_default() += 1;
    }
    assert_eq!(commits.len(), SMALL * 2 + 2);
    commits.retain(|_, count| *count > 1);
    assert!(commits.is_empty(), "committed more than once: {commits:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_with_a_docker_registry() {
    let (source, target) = (source(), DockerRegistry::start().await);
    let mark = target.mark().await;
    let log = Mutex::new((std::fs::File::open(target.log_file()).unwrap(), 0_u64, 0_u64));
    // What cannot be seen is how much of the large blob has come: distribution 2.8 begins it
    // anew after each kill anyway.
    let progress = || {
        let mut log = log.lock().unwrap();
        let (file, position, commits) = &mut *log;
        let mut text = String::new();
        file.seek(SeekFrom::Start(*position)).unwrap();
        file.read_to_string(&mut text).unwrap();
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        *position += whole as u64;
        let is_commit = |line: &&str| line.contains("\"PUT /v2/app/") && line.contains(" 201 ");
        *commits += text[..whole].lines().filter(is_commit).count() as u64;
        *commits as f64 / COMMITS as f64
    };
    kill_often(&source, &target, progress).await;
    assert_sent_once(&target.requests_since(mark).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_with_layouts_go_on_in_mid_blob() {
    let (source, target) = (source(), LayoutRegistry::start().await);
    let big_bytes = |traffic: &[crate::support::traffic::Seen]| -> u64 {
        traffic
            .iter()
            .filter(|seen| seen.path.starts_with("/v2/big/blobs/uploads/"))
            .map(|seen| seen.body_length)
            .sum()
    };
    let progress = || {
        target.look(|seen| {
            let commits = seen
                .iter()
                .filter(|seen| seen.method == "PUT" && seen.path.starts_with("/v2/app/"))
                .filter(|seen| seen.status == Some(201))
                .count();
            let bytes = big_bytes(seen).min(BIG as u64);
            (commits as f64 / COMMITS as f64 + bytes as f64 / BIG as f64) / 2.0
        })
    };
    kill_often(&source, &target, progress).await;
    assert_sent_once(&target.traffic());
    let received = target.look(big_bytes);
    assert!(received < BIG as u64 + SENT_AGAIN_AT_MOST, "{received} bytes of a blob of {BIG}");
    let digest = &IMAGES.1.blobs[1].digest;
    let traffic = source.traffic();
    let reads = traffic.of("GET", Kind::Blob).filter(|seen| seen.path.ends_with(digest));
    let resumed = reads.filter(|seen| seen.header("range").is_some()).count();
    assert!(resumed > 0, "the source was never asked for a part");
}
