//! What of the audit is held, and what is chosen of it.

use super::*;
use crate::removal::audit;

/// A log with deletions of three repositories, by two runs: an index with its parts each time,
/// and a tag that was on two images.
async fn deletions(state: &Path) {
    let audit = Audit::open(state, Timestamp::UNIX_EPOCH).unwrap();
    for (at, run) in ["first", "second"].into_iter().enumerate() {
        for repository in ["r/one", "r/two", "r/three"] {
            let digest = |name: &str| Digest::of(format!("{run}{name}").as_bytes());
            let intent = |name: &str, with: Option<&str>, tags: &[&str]| {
                let id = format!("{run}/{repository}/{name}");
                let intent = Intent {
                    id: id.clone(),
                    at: Timestamp::from_second(at as i64).unwrap(),
                    actor: Actor::of_process(run, "command"),
                    rule: format!("rule of {run}"),
                    line: None,
                    with: with.map(digest),
                    repository: repository.to_owned(),
                    action: StepAction::Delete,
                    tags: tags.iter().map(|tag| tag.parse().unwrap()).collect(),
                    stay: Vec::new(),
                    digest: digest(name),
                    since: None,
                    clock: None,
                    quarantine: Some(audit::Kept {
                        place: "oci:/kept".to_owned(),
                        tag: "kept".parse().unwrap(),
                        until: Timestamp::MAX,
                    }),
                    manifest: None,
                };
                let outcome = StepOutcome::Deleted;
                let at = intent.at;
                [Line::Intent(Box::new(intent)), Line::Outcome { id, at, outcome, reason: None }]
            };
            let lines = [
                intent("index", None, &["pr-1", run]),
                intent("part", Some("index"), &[]),
                intent("part of part", Some("part"), &[]),
                intent("other", None, &[]),
            ];
            audit.write(lines.concat()).await.unwrap();
        }
    }
    let restored = Line::Restored {
        id: "first/r/two/other".to_owned(),
        at: Timestamp::UNIX_EPOCH,
        actor: Actor::of_process("third", "command"),
    };
    audit.write(vec![restored]).await.unwrap();
}

fn image(repository: &str, reference: Option<Reference>) -> (String, Option<Reference>) {
    (repository.to_owned(), reference)
}

/// Only what may be wanted is held, and the same is chosen of it as of everything.
#[tokio::test]
async fn only_what_may_be_wanted_is_held() {
    let state = tempfile::tempdir().unwrap();
    deletions(state.path()).await;
    let read = |wanted: &Wanted| {
        deleted(&audit::folder(state.path()), Timestamp::UNIX_EPOCH, wanted).unwrap()
    };
    let all = read(&Wanted::default());
    assert_eq!((all.restorable.len(), all.restored.len()), (23, 1));
    let tag = || Some(Reference::Tag("pr-1".parse().unwrap()));
    let by_run = Some("first".to_owned());
    let by_rule = Some("rule of second".to_owned());
    for (wanted, held, chosen) in [
        // The index with its parts, as it was deleted last.
        (Wanted { images: vec![image("r/one", tag())], ..Wanted::default() }, 8, 3),
        (Wanted { images: vec![image("r/two", None)], ..Wanted::default() }, 7, 7),
        (Wanted { run: by_run.clone(), ..Wanted::default() }, 11, 11),
        (Wanted { rule: by_rule.clone(), ..Wanted::default() }, 12, 12),
        (Wanted { run: by_run.clone(), rule: by_rule, ..Wanted::default() }, 0, 0),
        (Wanted { images: vec![image("r/one", tag())], run: by_run, rule: None }, 4, 3),
        (
            Wanted {
                images: vec![image("r/one", tag()), image("r/three", None)],
                ..Wanted::default()
            },
            16,
            11,
        ),
    ] {
        let found = read(&wanted);
        assert_eq!(found.restorable.len(), held, "{wanted:?}");
        let of_it = choose(&found.restorable, &wanted);
        assert_eq!(of_it, choose(&all.restorable, &wanted), "{wanted:?}");
        assert_eq!(of_it.len(), chosen, "{wanted:?}");
    }
    let two = Wanted { images: vec![image("r/two", None)], ..Wanted::default() };
    assert_eq!(read(&two).restored.len(), 1);
    let one = Wanted { images: vec![image("r/one", None)], ..Wanted::default() };
    let found = read(&one);
    assert!(found.restored.is_empty());
    // Of two images with the same tag, the one that was deleted last gets it back.
    let tags: Vec<usize> =
        choose(&found.restorable, &one).iter().map(|intent| intent.tags.len()).collect();
    assert_eq!(tags.iter().sum::<usize>(), 3, "{tags:?}");
}
