//! Progress on a terminal, as a person sees it, and nothing of it anywhere else.

use std::time::Duration;

use crate::support::{Family, Fault, Image, Kind, Place, Scripted, Terminal, Tranship};

const TERM: &str = "xterm-256color";
const SIZE: (u16, u16) = (24, 120);
const MIB: usize = 1 << 20;

/// A registry with an image of 20 MiB that comes slowly, and a small one that does not.
fn slow_source() -> Scripted {
    let source = Scripted::start();
    let large = Image::single(Family::Oci, "large", &[20 * MIB]);
    large.load(&source, "app", "large");
    Image::single(Family::Oci, "small", &[1_000]).load(&source, "app", "small");
    drip(&source, &large);
    source
}

/// Four seconds for its layer.
fn drip(registry: &Scripted, image: &Image) {
    let layer = &image.blobs.last().unwrap().digest;
    let fault = Fault::Drip { bytes: MIB / 4, every: Duration::from_millis(50) };
    registry.on("GET", Kind::Blob).containing(layer).fail(fault);
}

/// Some registries over plain HTTP, and these rules.
fn write_rules(tranship: &Tranship, registries: &[&Scripted], rules: &str) {
    let mut text = "[daemon]\nstate = \"state\"\n".to_owned();
    for registry in registries {
        text += &format!("[registry.\"{}\"]\ninsecure = \"http\"\n", registry.host());
    }
    tranship.write("tranship.toml", text + rules);
}

fn mirror(source: &Scripted, target: &Scripted) -> String {
    let (from, to) = (source.host(), target.host());
    format!("[[sync]]\nname = \"app\"\nsource = \"{from}/app\"\ntarget = \"{to}/mirror/app\"\n")
}

/// A rule that deletes `v1` at once.
fn cleanup(registry: &Scripted, repositories: &[&str]) -> String {
    let host = registry.host();
    let repositories: Vec<_> = repositories.iter().map(|name| format!("{host}/{name}")).collect();
    format!(
        "[[cleanup]]\nname = \"c\"\nmode = \"apply\"\nrepositories = {repositories:?}\n\
         grace = \"0s\"\nmax_delete = {{ percent = 100 }}\n\
         delete = [{{ id = \"old\", tags = [\"v1\"] }}]\n"
    )
}

/// Nothing of the progress is left, and the terminal is as it was.
#[track_caller]
fn assert_clean(terminal: &Terminal) -> Vec<String> {
    let lines = terminal.lines();
    let is_progress = |line: &&String| line.ends_with(" elapsed") || line.contains("[=");
    assert_eq!(lines.iter().find(is_progress), None, "{lines:#?}");
    let (is_visible, (_, column)) = terminal.cursor();
    assert!(is_visible && column == 0, "{column} {lines:#?}");
    lines
}

#[tokio::test]
async fn sync_shows_images_bytes_and_a_bar_and_leaves_only_its_report() {
    let (source, target) = (slow_source(), Scripted::start());
    let tranship = Tranship::new();
    write_rules(&tranship, &[&source, &target], &mirror(&source, &target));
    let mut terminal = Terminal::start(&tranship, TERM, SIZE, &["sync"]);
    let summary = terminal.line(&["1 of 2 images;", "MiB sent", "MiB/s", "elapsed"]).await;
    assert!(summary.starts_with("1 of 2 images; "), "{summary}");
    let bar = terminal.line(&["mirror/app:large  [==", "of 20.0 MiB, ", "/s"]).await;
    assert!(bar.trim_start().starts_with(target.host()), "{bar}");
    // The last image is under way, so the bytes that are left are known.
    terminal.line(&["1 of 2 images;", "; about ", "s left; "]).await;
    assert_eq!(terminal.finish().await, Some(0), "{:#?}", terminal.lines());
    let lines = assert_clean(&terminal);
    assert!(lines[0].starts_with("copied ") && lines[0].contains("app:small"), "{lines:#?}");
    assert!(lines[1].starts_with("copied ") && lines[1].contains("app:large"), "{lines:#?}");
    assert!(lines[2].starts_with("app: 2 copied, "), "{lines:#?}");
    assert_eq!(lines.len(), 3, "{lines:#?}");
}

#[tokio::test]
async fn copy_is_shown_and_ctrl_c_leaves_the_terminal_as_it_was() {
    let source = slow_source();
    let image = source.reference("app", "large");
    let tranship = Tranship::new();
    // Whatever the target is called, its name is only text.
    let target = "oci:evil\u{1b}[2J\u{202e}folder:large";
    let arguments = ["copy", "--insecure", "http", &image, target];
    let mut terminal = Terminal::start(&tranship, TERM, SIZE, &arguments);
    terminal.line(&["0 of 1 image; ", "MiB sent"]).await;
    terminal.line(&["[==", "of 20.0 MiB"]).await;
    terminal.press("\u{3}");
    assert_eq!(terminal.finish().await, Some(130), "{:#?}", terminal.lines());
    let lines = assert_clean(&terminal);
    assert!(lines[0].contains("stopping"), "{lines:#?}");
    assert!(lines.iter().any(|line| line.starts_with("interrupted")), "{lines:#?}");
    let written = terminal.written();
    assert!(written.contains("oci:evil\u{fffd}[2J\u{fffd}folder:large  ["), "{written}");
    assert!(!written.contains("\u{1b}[2J"), "{written}");
}

#[tokio::test]
async fn the_second_ctrl_c_leaves_no_bars_either() {
    let registry = Scripted::start();
    Image::single(Family::Oci, "app", &[1_000]).load(&registry, "app", "v1");
    // What is begun is awaited after the first one.
    registry.on("DELETE", Kind::Manifest).fail(Fault::Hang);
    let tranship = Tranship::new();
    write_rules(&tranship, &[&registry], &cleanup(&registry, &["app"]));
    let mut terminal = Terminal::start(&tranship, TERM, SIZE, &["cleanup", "--apply"]);
    terminal.line(&["0 of 1 repository; 0 of 1 deletion; ", " elapsed"]).await;
    terminal.press("\u{3}");
    terminal.line(&["stopping"]).await;
    terminal.press("\u{3}");
    assert_eq!(terminal.finish().await, Some(130), "{:#?}", terminal.lines());
    assert_clean(&terminal);
}

#[tokio::test]
async fn verify_shows_what_it_compares_and_reads() {
    let (source, target) = (Scripted::start(), Scripted::start());
    let image = Image::single(Family::Oci, "app", &[20 * MIB]);
    for registry in [&source, &target] {
        image.load(registry, "app", "v1");
    }
    drip(&target, &image);
    let tranship = Tranship::new();
    let (from, to) = (source.reference("app", "v1"), target.reference("app", "v1"));
    let arguments = ["verify", "--read", "--insecure", "http", &from, &to];
    let mut terminal = Terminal::start(&tranship, TERM, SIZE, &arguments);
    terminal.line(&["0 of 1 image; ", "MiB read, ", "1 manifest hashed, 2 blobs looked up"]).await;
    terminal.line(&[&format!("{}/app@sha256:", target.host()), "[==", "of 20.0 MiB, "]).await;
    assert_eq!(terminal.finish().await, Some(0), "{:#?}", terminal.lines());
    let lines = assert_clean(&terminal);
    assert!(lines[0].starts_with("1 of 1 image equal; "), "{lines:#?}");
}

#[tokio::test]
async fn cleanup_shows_repositories_and_manifests() {
    let registry = Scripted::start();
    for tag in ["v1", "v2"] {
        Image::single(Family::Oci, tag, &[1_000]).load(&registry, "app", tag);
        Image::single(Family::Oci, tag, &[1_000]).load(&registry, "slow", tag);
    }
    registry.on("GET", Kind::Manifest).containing("/slow/").times(2).fail(Fault::Hang);
    let tranship = Tranship::new();
    write_rules(&tranship, &[&registry], &cleanup(&registry, &["app", "slow"]));
    let mut terminal = Terminal::start(&tranship, TERM, SIZE, &["cleanup"]);
    terminal.line(&["1 of 2 repositories; 2 manifests examined; ", "elapsed"]).await;
    registry.release();
    assert_eq!(terminal.finish().await, Some(0), "{:#?}", terminal.lines());
    let lines = assert_clean(&terminal);
    assert!(lines.iter().any(|line| line.contains("would go")), "{lines:#?}");
}

/// More blobs than bars, log lines in between, and a window that changes its size.
#[tokio::test]
async fn bars_give_way_to_log_lines_and_fit_into_any_window() {
    let (source, target) = (Scripted::start(), Scripted::start());
    for number in 0..9 {
        let tag = format!("v{number}");
        Image::single(Family::Oci, &tag, &[1_000 + number]).load(&source, "app", &tag);
    }
    source.on("GET", Kind::Blob).fail(Fault::Hang);
    let tranship = Tranship::new();
    write_rules(&tranship, &[&source, &target], &mirror(&source, &target));
    let mut terminal = Terminal::start(&tranship, TERM, SIZE, &["sync", "-vv"]);
    // A small blob has a bar when it has taken long.
    let is_shown = |lines: &[String]| {
        lines.iter().filter(|line| line.contains("[>")).count() == 6
            && lines.last().is_some_and(|line| line == "  and 12 more blobs")
    };
    let lines = terminal.until("six bars", is_shown).await;
    assert!(lines[lines.len() - 8].starts_with("0 of 9 images; "), "{lines:#?}");
    // The log stands above, whole.
    assert!(lines[..lines.len() - 8].iter().all(|line| !line.ends_with(" elapsed")), "{lines:#?}");
    assert!(lines[0].contains("DEBUG") || lines[0].contains("TRACE"), "{lines:#?}");
    terminal.resize(8, 60);
    let is_smaller = |lines: &[String]| {
        let summaries = lines.iter().filter(|line| line.starts_with("0 of 9 images")).count();
        summaries == 1 && lines.last().is_some_and(|line| line == "  and 13 more blobs")
    };
    terminal.until("five bars", is_smaller).await;
    terminal.resize(2, 20);
    let is_tiny = |lines: &[String]| lines.iter().any(|line| line == "0 of 9 images");
    terminal.until("no bars", is_tiny).await;
    terminal.resize(30, 100);
    terminal.until("six bars again", is_shown).await;
    terminal.press("\u{3}");
    assert_eq!(terminal.finish().await, Some(130), "{:#?}", terminal.lines());
    assert_clean(&terminal);
    // NO_COLOR is set: nothing but the bars commands the terminal.
    let written = terminal.written();
    let commands = written.split("\u{1b}[").skip(1);
    let is_colour = |command: &str| {
        command.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m')
    };
    assert_eq!(commands.filter(|command| is_colour(command)).count(), 0);
}

/// A terminal that understands only text, one that nobody watches, and none at all.
#[tokio::test]
async fn elsewhere_nothing_is_drawn() {
    let (source, target) = (Scripted::start(), Scripted::start());
    Image::single(Family::Oci, "app", &[1_000]).load(&source, "app", "v1");
    let slow = Fault::Delay(Duration::from_millis(500));
    source.on("GET", Kind::Blob).fail(slow);
    let tranship = Tranship::new();
    write_rules(&tranship, &[&source, &target], &mirror(&source, &target));
    let image = source.reference("app", "v1");
    let copy = |to: &'static str| vec!["copy", "--insecure", "http", image.as_str(), to];
    for (term, arguments) in [
        ("dumb", vec!["sync", "-vv"]),
        ("dumb", copy("oci:a")),
        (TERM, vec!["verify", "--output", "json"]),
        (TERM, vec!["sync", "--quiet"]),
    ] {
        let mut terminal = Terminal::start(&tranship, term, SIZE, &arguments);
        assert_eq!(terminal.finish().await, Some(0), "{:#?}", terminal.lines());
        let written = terminal.written().replace("\r\n", "\n");
        let control = written.chars().find(|c| c.is_control() && *c != '\n');
        assert_eq!(control, None, "{arguments:?}: {written:?}");
    }
    for arguments in [vec!["sync", "-vv"], copy("oci:b"), vec!["verify"], vec!["sync", "--dry-run"]]
    {
        let told = tranship.succeed(&arguments).await;
        let all = format!("{}{}", told.stdout, told.stderr);
        assert!(!all.contains(|c: char| c.is_control() && c != '\n'), "{arguments:?}: {told:?}");
        assert!(!all.contains("s elapsed"), "{arguments:?}: {told:?}");
    }
}
