//! What `tranship cleanup` and `restore` tell people: in which order, how often, and what to do.

use crate::cleanup_apply::{PR, home, image};
use crate::support::scripted::Fault;
use crate::support::{Daemon, DockerRegistry, Family, Image, Kind, Place, Scripted, Tranship};

fn loaded(registry: &Scripted, tags: &[&str]) {
    for tag in tags {
        image(tag).load(registry, "app", tag);
    }
}

/// Where these words stand in a text, in the order of the words.
fn places(text: &str, words: &[&str]) -> Vec<usize> {
    let place = |word: &&str| text.find(word).unwrap_or_else(|| panic!("no {word} in {text}"));
    words.iter().map(place).collect()
}

#[tokio::test]
async fn tags_stand_in_the_order_of_people_and_one_tag_stays() {
    let registry = Scripted::start();
    loaded(&registry, &["pr-10", "pr-2", "pr-9", "1.0.0"]);
    let tranship = home(&registry, "app", PR);
    let plan = tranship.succeed(["cleanup"]).await.stdout;
    assert!(plan.contains("\n  1 tag stays: kept by `releases`\n"), "{plan}");
    let rows = ["\n    pr-2 ", "\n    pr-9 ", "\n    pr-10 "];
    assert!(places(&plan, &rows).is_sorted(), "{plan}");
    let rows = ["\n  pr-2 ", "\n  pr-9 ", "\n  pr-10 "];
    let applied = tranship.succeed(["cleanup", "--apply"]).await.stdout;
    assert!(places(&applied, &rows).is_sorted(), "{applied}");
}

/// What goes stands by the line that deletes it, and what stays is counted, or listed with `-v`.
#[tokio::test]
async fn a_plan_is_grouped_by_decision() {
    let registry = Scripted::start();
    loaded(&registry, &["v1.10", "v1.9", "v2.0", "nightly-2", "nightly-10", "main"]);
    let index = Image::platforms(Family::Oci, "index", &["amd64", "arm64"]);
    index.load(&registry, "app", "pr-1");
    let lines = "keep = [{ id = \"releases\", semver = \">=1\" }]\n\
        delete = [{ id = \"pr\", tags = [\"pr-*\"] }, { id = \"nightly\", tags = [\"nightly-*\"] }]\n\
        max_delete = { percent = 100 }\n";
    let tranship = home(&registry, "app", lines);
    let plan = tranship.succeed(["cleanup"]).await.stdout;
    let parts = [
        ": 3 of 7 tags and 5 of 9 manifests would go, which frees ",
        "\n  by `nightly`: 2 tags in 2 steps, ",
        "\n    TAG ",
        "\n    nightly-2 ",
        "\n    nightly-10 ",
        "\n  by `pr`: 1 tag in 3 steps, ",
        "\n    pr-1 ",
        "\n    with sha256:",
        "\n  3 tags stay: kept by `releases`\n",
        "\n  1 tag stays: no line of `delete` applies\n",
        // The registry tells no times, so nothing is older than anything else.
        "\n  note: all 7 images are new to tranship, so their age counts from today\n",
    ];
    assert!(places(&plan, &parts).is_sorted(), "{plan}");
    assert_eq!(plan.matches("    TAG ").count(), 1, "{plan}");
    let listed = tranship.succeed(["cleanup", "-v"]).await.stdout;
    let kept = "\n  3 tags stay: kept by `releases`\n    v1.9\n    v1.10\n    v2.0\n";
    assert!(listed.contains(kept), "{listed}");
    assert!(listed.contains("no line of `delete` applies\n    main\n"), "{listed}");
}

#[tokio::test]
async fn a_plan_over_its_limit_lists_what_would_go_and_says_how_to_go_on() {
    let registry = Scripted::start();
    loaded(&registry, &["pr-10", "pr-2", "1.0.0"]);
    let tranship = home(&registry, "app", &PR.replace("percent = 100", "count = 1"));
    let planned = tranship.run(["cleanup"]).await;
    assert_eq!(planned.code, Some(3), "{planned:?}");
    let told = [
        "REFUSED apps: nothing of ",
        "/app may be deleted: 2 of 3 tags would go, and `max_delete` allows 1, and 20 percent, which is 0; 2 of 3 manifests ",
        "  hint: the plan lists what would go; if that is right, raise `max_delete` of the rule\n",
    ];
    assert!(places(&planned.stderr, &told).is_sorted(), "{planned:?}");
    let parts = [
        ": 2 of 3 tags and 2 of 3 manifests would go, over the limit; that would free ",
        "\n  by `pr`: 2 tags in 2 steps, ",
        "\n    pr-2 ",
        "\n    pr-10 ",
        "\n  1 tag stays: kept by `releases`\n",
    ];
    assert!(places(&planned.stdout, &parts).is_sorted(), "{planned:?}");
    assert!(!planned.stdout.contains("free 0 B"), "{planned:?}");
    let applied = tranship.run(["cleanup", "--apply"]).await;
    assert_eq!(applied.code, Some(3), "{applied:?}");
    let hint = "  hint: `tranship cleanup --rule apps` lists what would go; ";
    assert!(applied.stderr.contains(hint), "{applied:?}");
    let json = tranship.run(["cleanup", "--output", "json"]).await.stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let plan = &json["rules"][0]["plans"][0];
    assert_eq!(plan["steps"], serde_json::json!([]), "{plan}");
    assert_eq!(plan["over_limit"].as_array().unwrap().len(), 2, "{plan}");
    assert_eq!(registry.traffic().writes(), 0);
}

#[tokio::test]
async fn a_dry_run_of_sync_stands_in_the_order_of_versions() {
    let (source, target) = (Scripted::start(), Scripted::start());
    loaded(&source, &["v1.10", "v1.9", "v1.2", "latest"]);
    let tranship = Tranship::new();
    let (from, to) = (source.host(), target.host());
    tranship.write(
        "tranship.toml",
        format!(
            "[daemon]\nstate = \"state\"\n[registry.\"{from}\"]\ninsecure = \"http\"\n\
             [registry.\"{to}\"]\ninsecure = \"http\"\n\
             [[sync]]\nname = \"app\"\nsource = \"{from}/app\"\ntarget = \"{to}/app\"\n"
        ),
    );
    let told = tranship.succeed(["sync", "--dry-run"]).await.stdout;
    let tags = told.lines().filter_map(|line| {
        let (source, _) = line.strip_prefix("would copy ")?.split_once(" -> ")?;
        source.rsplit_once(':').map(|(_, tag)| tag)
    });
    assert_eq!(tags.collect::<Vec<_>>(), ["latest", "v1.2", "v1.9", "v1.10"], "{told}");
}

#[tokio::test]
async fn a_reason_is_told_once() {
    let registry = Scripted::start();
    loaded(&registry, &["pr-1", "pr-2", "pr-3", "pr-4", "pr-5", "pr-6", "1.0.0"]);
    let tranship = home(&registry, "app", PR);
    let words = "deletions are frozen by the administrator until the end of the quarter";
    for (status, code, known) in [(403, "DENIED", 1), (400, "MANIFEST_INVALID", 0)] {
        registry.on("DELETE", Kind::Manifest).fail(Fault::status(status).error(code, words));
        let finished = tranship.run(["cleanup", "--apply"]).await;
        registry.clear_rules();
        assert_eq!(finished.code, Some(known), "{finished:?}");
        let told = format!("{}{}", finished.stdout, finished.stderr);
        // Once for what failed, and once more in the reason for which the rest was not tried.
        assert!(told.matches(words).count() <= 1 + known as usize, "{told}");
        assert!(told.contains(words), "{told}");
        let widest = finished.stdout.lines().filter(|line| line.starts_with("  pr-"));
        assert!(widest.clone().count() == 6 && widest.clone().all(|row| row.len() < 80), "{told}");
    }
}

#[tokio::test]
async fn what_goes_with_its_owner_says_so_in_the_result_too() {
    let registry = Scripted::start();
    let index = Image::platforms(Family::Oci, "index", &["amd64", "arm64"]);
    index.load(&registry, "app", "pr-1");
    loaded(&registry, &["1.0.0"]);
    let tranship = home(&registry, "app", PR);
    let with = format!("with {}", &index.digest[.."sha256:".len() + 12]);
    let plan = tranship.succeed(["cleanup"]).await.stdout;
    assert_eq!(plan.matches(&with).count(), 2, "{plan}");
    let applied = tranship.succeed(["cleanup", "--apply"]).await.stdout;
    assert_eq!(applied.matches(&with).count(), 2, "{applied}");
}

#[tokio::test]
async fn to_explain_what_is_not_there_is_an_error_with_a_suggestion() {
    let registry = Scripted::start();
    loaded(&registry, &["pr-17", "1.0.0"]);
    let tranship = home(&registry, "app", PR);
    let explain = async |tag: &str, more: &[&str]| {
        let name = registry.reference("app", tag);
        let finished = tranship.run(["cleanup", "--explain", &name].iter().chain(more)).await;
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{finished:?}");
        (name, finished.stderr)
    };
    for more in [&[][..], &["--output", "json"]] {
        let (name, told) = explain("pr-71", more).await;
        let expected =
            format!("error: failed to explain {name}: it is not there: did you mean `pr-17`?\n");
        assert_eq!(told, expected);
    }
    let (_, told) = explain("zzz", &[]).await;
    assert!(told.contains("it is not there; `tranship list-tags` shows what is\n"), "{told}");
}

#[tokio::test]
async fn to_explain_what_no_rule_covers_or_what_no_repository_has_fails() {
    let registry = Scripted::start();
    loaded(&registry, &["pr-17"]);
    for (covered, uncovered) in [("app", "other"), ("team/**", "app")] {
        let tranship = home(&registry, covered, PR);
        let explain = async |repository: &str| {
            let name = registry.reference(repository, "1");
            let finished = tranship.run(["cleanup", "--explain", &name]).await;
            assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{finished:?}");
            (name, finished.stderr)
        };
        let (name, told) = explain(uncovered).await;
        let place = name.trim_end_matches(":1");
        let expected =
            format!("error: failed to explain {name}: no [[cleanup]] rule covers {place}\n");
        assert_eq!(told, expected);
    }
    let tranship = home(&registry, "team/**", PR);
    let name = registry.reference("team/gone", "1");
    let finished = tranship.run(["cleanup", "--explain", &name]).await;
    let place = name.trim_end_matches(":1");
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let words = format!("failed to list tags of {place}: ");
    assert!(finished.stderr.contains(&words), "{finished:?}");
}

/// An index stays because one of its platforms runs.
#[tokio::test]
async fn an_explanation_says_where_a_part_is_in_use() {
    let registry = Scripted::start();
    let index = Image::platforms(Family::Oci, "index", &["amd64", "arm64"]);
    index.load(&registry, "app", "pr-1");
    let tranship = home(
        &registry,
        "app",
        &format!(
            "in_use = [\"prod\"]\n{PR}\n[in_use.prod]\nformat = \"list\"\nfile = \"running.txt\"\n"
        ),
    );
    tranship.write("running.txt", format!("{}\n", index.children[0].digest));
    let name = registry.reference("app", "pr-1");
    let told = tranship.succeed(["cleanup", "--explain", &name]).await.stdout;
    assert!(told.contains("  not deleted: it is in use (in-use)\n"), "{told}");
    assert!(told.contains("in use: prod: "), "{told}");
}

#[tokio::test]
async fn a_second_restoration_is_told_that_there_was_a_first() {
    let registry = DockerRegistry::start().await;
    image("pr").push(&registry, "app", "pr-1").await;
    image("release").push(&registry, "app", "1.0.0").await;
    let tranship = home(&registry, "app", &format!("quarantine = {{ to = \"oci:kept\" }}\n{PR}"));
    let applied = tranship.succeed(["cleanup", "--apply"]).await.stdout;
    let how = applied.lines().find(|line| line.starts_with("apps: `tranship restore --run "));
    let how = how.unwrap_or_else(|| panic!("{applied}"));
    assert!(how.contains("` restores what was deleted, until 20"), "{how}");
    let run = how.split(['`', ' ']).nth(5).unwrap();
    let listed = tranship.succeed(["restore", "--run", run, "--dry-run"]).await.stdout;
    assert!(listed.contains("pr-1"), "{listed}");
    let name = registry.reference("app", "pr-1");
    tranship.succeed(["restore", &name]).await;
    let again = tranship.run(["restore", &name]).await;
    assert_eq!(again.code, Some(1), "{again:?}");
    let expected = format!(
        "error: nothing is left to restore: {}/app: pr-1 ({}) was restored already\n",
        registry.host(),
        &image("pr").digest[.."sha256:".len() + 12]
    );
    assert_eq!(again.stderr, expected);
}

#[tokio::test]
async fn a_cleanup_of_several_repositories_has_a_total() {
    let registry = Scripted::start();
    for repository in ["one", "two", "three"] {
        for tag in ["pr-1", "pr-2", "1.0.0"] {
            image(&format!("{repository}{tag}")).load(&registry, repository, tag);
        }
    }
    let tranship = home(&registry, "**", PR);
    let repositories = ["one", "two", "three"].map(|name| format!("{}/{name}", registry.host()));
    let text = std::fs::read_to_string(tranship.home().join("tranship.toml")).unwrap();
    let listed = format!("repositories = {repositories:?}");
    let swept = format!("repositories = [\"{}/**\"]", registry.host());
    tranship.write("tranship.toml", text.replace(&swept, &listed));
    let planned = tranship.succeed(["cleanup"]).await.stdout;
    let total = "apps: 3 repositories: would delete 6 of 9 tags and 6 of 9 manifests, which frees ";
    assert!(planned.lines().last().unwrap().starts_with(total), "{planned}");
    let applied = tranship.succeed(["cleanup", "--apply"]).await.stdout;
    let total = "apps: 3 repositories: deleted 6; ";
    assert!(applied.lines().any(|line| line.starts_with(total)), "{applied}");
    // A limit is told for each repository, and what to do once.
    tranship.write(
        "tranship.toml",
        text.replace(&swept, &listed).replace("percent = 100", "count = 0"),
    );
    for (repository, tag) in [("one", "pr-1"), ("two", "pr-2")] {
        image(&format!("{repository}{tag}")).load(&registry, repository, tag);
    }
    let limited = tranship.run(["cleanup"]).await;
    assert_eq!(limited.code, Some(3), "{limited:?}");
    assert_eq!(limited.stderr.matches("REFUSED apps: nothing of ").count(), 2, "{limited:?}");
    assert_eq!(limited.stderr.matches("hint: ").count(), 1, "{limited:?}");
}

#[tokio::test]
async fn a_rule_that_covers_too_much_is_refused_with_its_place() {
    let registry = Scripted::start();
    let tranship = home(&registry, "**", PR);
    tranship.succeed(["cleanup"]).await;
    let refused = tranship.run(["cleanup", "--apply"]).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    let place = "tranship.toml:7:16: this deletes in every repository of the registry\n";
    assert!(refused.stderr.starts_with(place), "{refused:?}");
    assert!(refused.stderr.contains("hint: name the part of it that is meant"), "{refused:?}");
    let other = tranship.run(["cleanup", "--apply", "--rule", "other"]).await;
    assert!(other.stderr.contains("the rules are apps"), "{other:?}");
}

#[tokio::test]
async fn a_state_in_use_is_an_error_where_no_daemon_answers() {
    let registry = Scripted::start();
    loaded(&registry, &["1.0.0"]);
    let host = registry.host();
    let text = format!(
        "[registry.\"{host}\"]\ninsecure = \"http\"\n\
         [[cleanup]]\nname = \"apps\"\nrepositories = [\"{host}/app\"]\n{PR}\n"
    );
    // It listens on another port than the configuration says.
    let daemon = Daemon::start(&text).await;
    for command in [&["cleanup"][..], &["cleanup", "--apply"]] {
        let refused = daemon.home().run(command).await;
        assert_eq!((refused.code, &*refused.stdout), (Some(1), ""), "{refused:?}");
        assert!(refused.stderr.starts_with("error: the state directory "), "{refused:?}");
        assert!(refused.stderr.contains("is in use by another tranship process"), "{refused:?}");
    }
    assert_eq!(daemon.stop().await.0, Some(0));
}
