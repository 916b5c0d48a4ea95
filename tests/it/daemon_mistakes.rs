//! Commands that ask the daemon, while the configuration file has mistakes: where the daemon is can be
//! read all the same.

use crate::daemon_beside::{Beside, command, listening, on_request, on_request_sync};
use crate::daemon_cleanup::image;
use crate::daemon_setup::{Home, LIMIT};
use crate::support::scripted::Fault;
use crate::support::{Kind, Scripted, eventually};

/// What is written behind the rules, and breaks the file.
const MISTAKES: [&str; 5] = [
    "nonsense = 1\n",
    "[[sync]]\nname = \"more\"\nsource = \"r.io/",
    "[[sync\nname = \"more\"\n",
    "[registries.\"r.io\"]\npassword = \"secret\"\n",
    "[[cleanup]]\nname = \"more\"\ndelete = 3\n",
];

fn home(source: &Scripted, target: &Scripted) -> Home {
    image("1.0.0").load(source, "app", "v1");
    image("pr-1").load(target, "old", "pr-1");
    Home::new()
        .registry(source, "")
        .registry(target, "")
        .rule("apps", &on_request_sync(source, target, "app"))
        .cleanup("tidy", &on_request(target, "old", "max_delete = { count = 9, percent = 100 }"))
}

#[tokio::test]
async fn the_daemon_is_asked_all_the_same() {
    let (source, target) = (Scripted::start(), Scripted::start());
    let list = source.on("GET", Kind::Tags).fail(Fault::Hang);
    let beside = Beside::start(home(&source, &target)).await;
    let text = listening(&beside.home.text(), &beside.daemon);
    let told = "cli.toml has mistakes, which `tranship config check --config cli.toml` lists";
    for (mistake, number) in MISTAKES.iter().zip(1..) {
        beside.home.tranship.write("cli.toml", format!("{text}\n{mistake}"));
        let asked = async |arguments: &[&str], said: &str| {
            let finished = beside.run(arguments).await;
            assert_eq!(finished.code, Some(0), "{mistake}: {finished:?}");
            assert!(finished.stdout.contains(said), "{mistake}: {finished:?}");
            assert_eq!(finished.stderr.matches(told).count(), 1, "{mistake}: {finished:?}");
        };
        asked(&["run", "apps", "--no-wait"], "apps: run ").await;
        eventually("a list", LIMIT, || async { (list.count() == number).then_some(()) }).await;
        asked(&["status"], "apps").await;
        asked(&["cancel", "apps"], " stops\n").await;
        beside.daemon.ran("apps").await;
        asked(&["history"], "interrupted").await;
        asked(&["plan", "tidy"], "pr-1").await;
        asked(&["run", "tidy", "--dry-run"], "pr-1").await;
        asked(&["reload"], "nothing has changed since").await;
    }
    assert_eq!(target.traffic().writes(), 0);
}

/// The file that the daemon reads is the broken one: it says what is wrong, and goes on.
#[tokio::test]
async fn a_reload_says_what_the_daemon_says() {
    let (source, target) = (Scripted::start(), Scripted::start());
    let beside = Beside::start(home(&source, &target)).await;
    let broken = format!("{}\nnonsense = 1\n", listening(&beside.home.text(), &beside.daemon));
    for file in ["tranship.toml", "cli.toml"] {
        beside.home.tranship.write(file, &broken);
    }
    let rejected = beside.run(&["reload"]).await;
    assert_eq!((rejected.code, &*rejected.stdout), (Some(2), ""), "{rejected:?}");
    for words in [
        "cli.toml has mistakes",
        "tranship.toml:",
        "unknown key `nonsense`",
        "hint: the daemon keeps",
    ] {
        assert!(rejected.stderr.contains(words), "{words}: {rejected:?}");
    }
    let status = beside.run(&["status"]).await;
    assert!(status.stdout.contains("unknown key `nonsense`"), "{status:?}");
}

/// The mistake is where the daemon is: nobody can be asked.
#[tokio::test]
async fn a_mistake_in_the_daemons_table_is_said() {
    let (source, target) = (Scripted::start(), Scripted::start());
    let beside = Beside::start(home(&source, &target)).await;
    let text = listening(&beside.home.text(), &beside.daemon);
    let changes = [
        ("[daemon]", "[deamon]", "unknown key `deamon`"),
        ("[daemon]", "[daemon", "cli.toml:1:"),
        ("listen = ", "lisen = ", "unknown key `lisen`"),
        ("listen = \"127", "listen = 127", "cli.toml:2:"),
        ("listen = \"127", "listen = \"x127", "cli.toml:2:"),
        ("{ env = \"TOKEN\" }", "\"TOKEN\"", "cli.toml:3:"),
        ("{ env = \"TOKEN\" }", "{ env = \"TOKEN\"", "cli.toml:3:"),
    ];
    for (from, to, said) in changes {
        let broken = text.replacen(from, to, 1);
        assert_ne!(broken, text, "{from}");
        beside.home.tranship.write("cli.toml", &broken);
        for arguments in [&["status"][..], &["history"], &["cancel", "apps"], &["plan"]] {
            let finished = beside.run(arguments).await;
            assert_eq!((finished.code, &*finished.stdout), (Some(2), ""), "{to}: {finished:?}");
            assert!(finished.stderr.contains(said), "{to}: {finished:?}");
            let hint = "hint: `listen`, `state` and `token` in [daemon] say where the daemon is";
            assert!(finished.stderr.contains(hint), "{to}: {finished:?}");
        }
    }
    // The rest of the table says nothing of that.
    beside.home.tranship.write("cli.toml", text.replacen("[daemon]", "[daemon]\ngrace = 3", 1));
    let status = beside.run(&["status"]).await;
    assert_eq!(status.code, Some(0), "{status:?}");
}

/// Without a daemon, the rules are those of the file.
#[tokio::test]
async fn without_a_daemon_the_rules_are_needed() {
    let (source, target) = (Scripted::start(), Scripted::start());
    let beside = Beside::start(home(&source, &target)).await;
    let text = listening(&beside.home.text(), &beside.daemon);
    let home = beside.without().await;
    home.tranship.write("cli.toml", format!("{text}\nnonsense = 1\n"));
    for arguments in [&["status"][..], &["plan"]] {
        let finished = command(&home, arguments).finish().await;
        assert_eq!((finished.code, &*finished.stdout), (Some(2), ""), "{finished:?}");
        for words in ["cli.toml has mistakes", "no daemon listens at ", "hint: "] {
            assert!(finished.stderr.contains(words), "{words}: {finished:?}");
        }
    }
    let history = command(&home, &["history"]).finish().await;
    assert_eq!(history.code, Some(0), "{history:?}");
}
