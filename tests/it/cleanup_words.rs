//! What `tranship cleanup` and `restore` tell people: in which order, how often, and what to do.

use crate::cleanup_apply::{PR, home, image};
use crate::support::scripted::Fault;
use crate::support::{Daemon, DockerRegistry, Family, Image, Kind, Place, Scripted};

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
    let rows = ["\n  pr-2 ", "\n  pr-9 ", "\n  pr-10 "];
    assert!(places(&plan, &rows).is_sorted(), "{plan}");
    let applied = tranship.succeed(["cleanup", "--apply"]).await.stdout;
    assert!(places(&applied, &rows).is_sorted(), "{applied}");
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
    assert!(told.contains("in the way: in-use\n"), "{told}");
    assert!(told.contains("in use: prod: "), "{told}");
}

#[tokio::test]
async fn a_second_restoration_is_told_that_there_was_a_first() {
    let registry = DockerRegistry::start().await;
    image("pr").push(&registry, "app", "pr-1").await;
    image("release").push(&registry, "app", "1.0.0").await;
    let tranship = home(&registry, "app", &format!("quarantine = {{ to = \"oci:kept\" }}\n{PR}"));
    tranship.succeed(["cleanup", "--apply"]).await;
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
