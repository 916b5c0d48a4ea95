//! What systemd hears of the daemon, on a socket of our own.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::net::UnixDatagram;

use crate::daemon_setup::{Home, LIMIT};
use crate::support::{Family, Fault, Image, Kind, Scripted, eventually};

/// What was heard, and when.
struct Ear(Arc<Mutex<Vec<(Instant, String)>>>);

impl Ear {
    fn open(path: &std::path::Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn({
            let heard = Arc::clone(&heard);
            async move {
                let mut buffer = [0; 4096];
                while let Ok(length) = socket.recv(&mut buffer).await {
                    let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
                    heard.lock().unwrap().push((Instant::now(), text));
                }
            }
        });
        Self(heard)
    }

    /// Waits for a message that begins like this, from the `from`th on: its place and text.
    async fn hears(&self, begin: &str, from: usize) -> (usize, String) {
        eventually(begin, LIMIT, || async {
            let heard = self.0.lock().unwrap();
            let mut later = heard.iter().enumerate().skip(from);
            later.find(|(_, (_, text))| text.starts_with(begin)).map(|(at, (_, t))| (at, t.clone()))
        })
        .await
    }

    /// When the watchdog was calmed, from the `from`th message on.
    fn calmed(&self, from: usize) -> Vec<Instant> {
        let heard = self.0.lock().unwrap();
        let later = heard.iter().skip(from).filter(|(_, text)| text.starts_with("WATCHDOG=1"));
        later.map(|(at, _)| *at).collect()
    }
}

#[tokio::test]
async fn systemd_hears_of_everything() {
    let (source, target) = (Scripted::start(), Scripted::start());
    Image::single(Family::Oci, "app", &[3_000]).load(&source, "app", "v1");
    source.on("GET", Kind::Blob).fail(Fault::Hang);
    let home = Home::new().daemon("grace = \"3s\"").mirror("app", &source, &target);
    let path = home.tranship.home().join("notify");
    let ear = Ear::open(&path);
    home.configure();
    let mut command = home.command();
    // Once a second it wants to hear something.
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "1000000");
    let daemon = home.spawn(&mut command).ready().await;
    let (ready, text) = ear.hears("READY=1", 0).await;
    assert!(text.contains("STATUS=1 rule"), "{text}");

    daemon.signal("HUP");
    let (reloading, text) = ear.hears("RELOADING=1", ready + 1).await;
    let stamp = text.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    // What the kernel calls monotonic is its uptime but for suspension.
    let age = uptime - stamp.parse::<f64>().unwrap() / 1e6;
    assert!(age.abs() < 60.0, "{stamp} at {uptime}");
    let (again, _) = ear.hears("READY=1", reloading + 1).await;
    // A bad file: what systemd waits for comes all the same.
    home.tranship.write("tranship.toml", "nonsense");
    daemon.signal("HUP");
    let (reloading, _) = ear.hears("RELOADING=1", again + 1).await;
    ear.hears("READY=1", reloading + 1).await;

    eventually("calm", LIMIT, || async { (ear.calmed(0).len() >= 8).then_some(()) }).await;
    let process = daemon.into_process();
    process.signal("TERM");
    let (stopping, _) = ear.hears("STOPPING=1", reloading).await;
    // The blob that hangs takes all of the grace, in which the watchdog is calmed too.
    let (code, took) = process.ended().await;
    assert!(code == Some(0) && took > Duration::from_secs(2), "{code:?} {took:?}");
    assert!(ear.calmed(stopping).len() >= 6, "{}", ear.calmed(stopping).len());
    let all = ear.calmed(0);
    let longest = all.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(longest < Duration::from_secs(1), "{longest:?}");
}
