use super::super::changes::Part;
use super::*;
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// `a:1` is a tag of a repository, `a` the whole of it.
fn push(inbox: &mut Inbox, now: Instant, rule: &str, what: &str, second: i64) {
    let (repository, tag) = match what.split_once(':') {
        Some((repository, tag)) => (repository, Some(tag.parse().unwrap())),
        None => (what, None),
    };
    inbox.push(now, rule, &repository.parse().unwrap(), tag.as_ref(), at(second));
}

fn show(changes: &Changes) -> String {
    let Changes::Repositories(parts) = changes else { return "all".to_owned() };
    let show = |(repository, part): (&RepositoryName, &Part)| match part {
        Part::Whole { .. } => vec![repository.to_string()],
        Part::Tags(tags) => tags.keys().map(|tag| format!("{repository}:{tag}")).collect(),
    };
    parts.iter().flat_map(show).collect::<Vec<_>>().join(" ")
}

/// What is ready, as `rule=changes since`.
fn taken(inbox: &mut Inbox, now: Instant) -> (Vec<String>, Vec<Ticket>) {
    let line = |ready: &Batch| {
        let since = ready.changes.since().as_second();
        format!("{}={} {since}", ready.rule, show(&ready.changes))
    };
    let ready = inbox.take(now);
    (ready.iter().map(line).collect(), ready.iter().map(|ready| ready.ticket).collect())
}

#[test]
fn a_burst_becomes_one_run_for_each_rule() {
    let (mut inbox, start) = (Inbox::new(Settings::default()), Instant::now());
    assert_eq!(inbox.next_ready(), None);
    push(&mut inbox, start, "one", "a:1", 10);
    push(&mut inbox, start + 50 * MS, "one", "a:1", 7);
    push(&mut inbox, start + 60 * MS, "one", "a:2", 12);
    push(&mut inbox, start + 70 * MS, "two", "a", 13);
    assert_eq!(inbox.next_ready(), Some(start + 100 * MS));
    assert!(inbox.take(start + 99 * MS).is_empty());
    let (ready, tickets) = taken(&mut inbox, start + 100 * MS);
    assert_eq!(ready, ["one=a:1 a:2 7"]);
    assert_eq!(inbox.next_ready(), Some(start + 170 * MS));
    assert_eq!(taken(&mut inbox, start + 170 * MS).0, ["two=a 13"]);
    inbox.finished(tickets[0], start + 200 * MS);
    assert_eq!(inbox.next_ready(), None);
    assert_eq!(inbox.lanes.len(), 1, "nothing is remembered of a rule that is done");
}

#[test]
fn what_is_pushed_again_during_its_run_gets_one_more() {
    let (mut inbox, start) = (Inbox::new(Settings::default()), Instant::now());
    push(&mut inbox, start, "one", "a:1", 1);
    let (_, first) = taken(&mut inbox, start + 100 * MS);
    for second in 2..5 {
        push(&mut inbox, start + 110 * MS, "one", "a:1", second);
    }
    push(&mut inbox, start + 110 * MS, "one", "a:2", 9);
    let (ready, second) = taken(&mut inbox, start + 210 * MS);
    assert_eq!(ready, ["one=a:2 9"], "another tag does not wait");
    push(&mut inbox, start + 220 * MS, "one", "a:1", 6);
    assert_eq!(taken(&mut inbox, start + 320 * MS).0, [""; 0]);
    assert_eq!(inbox.next_ready(), None, "only the end of the run can change that");
    inbox.finished(first[0], start + 400 * MS);
    assert_eq!(inbox.next_ready(), Some(start + 400 * MS), "at once");
    let (ready, third) = taken(&mut inbox, start + 400 * MS);
    assert_eq!(ready, ["one=a:1 2"]);
    inbox.finished(second[0], start + 400 * MS);
    inbox.finished(third[0], start + 500 * MS);
    inbox.finished(third[0], start + 500 * MS);
    assert_eq!((inbox.next_ready(), inbox.lanes.len()), (None, 0));
}

#[test]
fn a_whole_repository_waits_for_its_tags_and_they_for_it() {
    let (mut inbox, start) = (Inbox::new(Settings::default()), Instant::now());
    push(&mut inbox, start, "one", "a:1", 1);
    let (_, tag) = taken(&mut inbox, start + 100 * MS);
    push(&mut inbox, start + 100 * MS, "one", "a", 2);
    assert_eq!(taken(&mut inbox, start + 200 * MS).0, [""; 0]);
    inbox.finished(tag[0], start + 300 * MS);
    let (ready, _) = taken(&mut inbox, start + 300 * MS);
    assert_eq!(ready, ["one=a 2"]);
    push(&mut inbox, start + 300 * MS, "one", "a:7", 3);
    push(&mut inbox, start + 300 * MS, "one", "b:7", 4);
    assert_eq!(taken(&mut inbox, start + 400 * MS).0, ["one=b:7 4"]);
}

#[test]
fn what_failed_is_tried_again_apart_from_the_rest() {
    let (mut inbox, start) = (Inbox::new(Settings::default()), Instant::now());
    push(&mut inbox, start, "one", "a:1", 1);
    push(&mut inbox, start, "one", "a:2", 2);
    let ready = inbox.take(start + 100 * MS).remove(0);
    let failed = ready.changes.part(|_, tag| tag.is_some_and(|tag| tag.as_str() == "1"));
    inbox.failed(ready.ticket, start + 200 * MS, failed.unwrap(), start + 5000 * MS);
    assert!(!inbox.is_done_with("one"));
    assert_eq!(inbox.next_ready(), Some(start + 5000 * MS));
    push(&mut inbox, start + 300 * MS, "one", "a:3", 3);
    let (ready, second) = taken(&mut inbox, start + 400 * MS);
    assert_eq!(ready, ["one=a:3 3"], "an event does not bring back what fails");
    inbox.finished(second[0], start + 500 * MS);
    assert_eq!(inbox.next_ready(), Some(start + 5000 * MS));
    let ready = inbox.take(start + 5000 * MS).remove(0);
    assert_eq!((show(&ready.changes), ready.retry), ("a:1".to_owned(), true));
    inbox.finished(ready.ticket, start + 5100 * MS);
    assert!(inbox.is_done_with("one"));
}

#[test]
fn rules_that_are_gone_are_forgotten() {
    let (mut inbox, start) = (Inbox::new(Settings::default()), Instant::now());
    push(&mut inbox, start, "gone", "a:1", 1);
    push(&mut inbox, start, "kept", "a:1", 1);
    let (_, tickets) = taken(&mut inbox, start + 100 * MS);
    push(&mut inbox, start + 100 * MS, "gone", "a:2", 1);
    push(&mut inbox, start + 100 * MS, "never-ran", "a:2", 1);
    inbox.keep_rules(|rule| rule == "kept");
    assert_eq!(inbox.next_ready(), None);
    tickets.into_iter().for_each(|ticket| inbox.finished(ticket, start + 200 * MS));
    assert_eq!(inbox.lanes.len(), 0);
}

#[test]
fn too_much_is_remembered_as_a_whole() {
    let settings = Settings::default();
    let Bounds { tags, repositories } = settings.bounds;
    let start = Instant::now();
    let mut inbox = Inbox::new(settings);
    (0..=tags).for_each(|n| push(&mut inbox, start, "one", &format!("a:{n}"), 9 - n as i64));
    push(&mut inbox, start, "one", "b:1", 1);
    let since = 9 - tags as i64;
    assert_eq!(taken(&mut inbox, start + 100 * MS).0, [format!("one=a b:1 {since}")]);
    let mut inbox = Inbox::new(settings);
    (0..=repositories).for_each(|n| push(&mut inbox, start, "one", &format!("r{n}:1"), 5));
    push(&mut inbox, start, "one", "b:1", 1);
    assert_eq!(taken(&mut inbox, start + 100 * MS).0, ["one=all 1"]);
}

/// A burst must not become quadratic.
#[test]
fn ten_thousand_events_for_a_hundred_rules_take_no_time() {
    let (mut inbox, start) = (Inbox::new(Settings::default()), Instant::now());
    let clock = std::time::Instant::now();
    for rule in 0..100 {
        let rule = format!("rule-{rule}");
        for n in 0..10_000 {
            push(&mut inbox, start, &rule, &format!("r{}:{}", n % 300, n % 7), 1);
        }
    }
    assert_eq!(inbox.take(start + 100 * MS).len(), 100);
    assert!(clock.elapsed().as_secs() < 20, "{:?}", clock.elapsed());
}

#[derive(Debug, Clone)]
enum Step {
    Push { rule: usize, repository: usize, tag: Option<usize>, second: i64 },
    Wait(u64),
    Finish(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    let push = (0..2_usize, 0..4_usize, prop::option::weighted(0.9, 0..4_usize), 0..100_i64);
    prop_oneof![
        5 => push.prop_map(|(rule, repository, tag, second)| Step::Push { rule, repository, tag, second }),
        2 => (1..200_u64).prop_map(Step::Wait),
        1 => any::<prop::sample::Index>().prop_map(Step::Finish),
    ]
}

/// What was pushed and is not answered yet: rule, name as in `push`, time.
#[derive(Default)]
struct Ledger {
    open: Vec<(String, String, i64)>,
    running: Vec<Batch>,
}

impl Ledger {
    /// Takes what is ready and strikes out what it answers.
    fn take(&mut self, inbox: &mut Inbox, now: Instant, exact: bool) {
        for ready in inbox.take(now) {
            for other in self.running.iter().filter(|other| other.rule == ready.rule) {
                let (_, common) = ready.changes.clone().without(&other.changes);
                assert_eq!(common, None, "nothing runs twice at a time");
            }
            // A run answers what it covers, and says that it is for something that old.
            let since = ready.changes.since().as_second();
            let (answered, open): (Vec<_>, _) =
                std::mem::take(&mut self.open).into_iter().partition(|(rule, what, second)| {
                    *rule == ready.rule && since <= *second && covers(&ready.changes, what)
                });
            self.open = open;
            if exact {
                for name in show(&ready.changes).split(' ') {
                    assert!(answered.iter().any(|(_, what, _)| what == name), "why {name}?");
                }
            }
            self.running.push(ready);
        }
    }
}

fn covers(changes: &Changes, what: &str) -> bool {
    let Changes::Repositories(parts) = changes else { return true };
    let (repository, tag) = what.split_once(':').map_or((what, None), |(r, t)| (r, Some(t)));
    match parts.get(&repository.parse::<RepositoryName>().unwrap()) {
        Some(Part::Whole { .. }) => true,
        Some(Part::Tags(tags)) => tag.is_some_and(|tag| tags.contains_key(&tag.parse().unwrap())),
        None => false,
    }
}

fn size(changes: Option<&Changes>, bounds: Bounds) -> bool {
    let Some(Changes::Repositories(parts)) = changes else { return true };
    let small = |part: &Part| matches!(part, Part::Tags(tags) if tags.len() > bounds.tags);
    !parts.is_empty() && parts.len() <= bounds.repositories && !parts.values().any(small)
}

proptest! {
    #[test]
    fn nothing_is_lost_and_nothing_runs_without_cause(
        steps in proptest::collection::vec(step(), 0..120),
        tight in any::<bool>(),
        runs in 1..4_usize,
    ) {
        // Where much is remembered as a whole, more is run for than was pushed.
        let bounds = if tight { Bounds { tags: 2, repositories: 2 } } else { Bounds { tags: 99, repositories: 99 } };
        let settings = Settings { runs, bounds, ..Settings::default() };
        let mut inbox = Inbox::new(settings);
        let mut now = Instant::now();
        let mut ledger = Ledger::default();
        for step in steps {
            match step {
                Step::Push { rule, repository, tag, second } => {
                    let tag = tag.map_or(String::new(), |tag| format!(":{tag}"));
                    let (rule, what) = (format!("rule-{rule}"), format!("r{repository}{tag}"));
                    push(&mut inbox, now, &rule, &what, second);
                    ledger.open.push((rule, what, second));
                }
                Step::Wait(ms) => {
                    now += Duration::from_millis(ms);
                    ledger.take(&mut inbox, now, !tight);
                }
                Step::Finish(which) if !ledger.running.is_empty() => {
                    let ready = ledger.running.swap_remove(which.index(ledger.running.len()));
                    inbox.finished(ready.ticket, now);
                }
                Step::Finish(_) => {}
            }
            for lane in inbox.lanes.values() {
                prop_assert!(lane.running.len() <= runs);
                prop_assert!(size(lane.gathered.as_ref().map(|(_, changes)| changes), bounds));
                prop_assert!(size(lane.held.as_ref(), bounds));
                prop_assert!(lane.held.is_none() || !lane.running.is_empty(), "held by something");
            }
        }
        // Whatever happened: when all runs end, all that was pushed has been run for.
        loop {
            while let Some(due) = inbox.next_ready() {
                now = now.max(due);
                ledger.take(&mut inbox, now, !tight);
            }
            let Some(ready) = ledger.running.pop() else { break };
            inbox.finished(ready.ticket, now);
        }
        prop_assert_eq!(ledger.open, vec![]);
        prop_assert!(inbox.lanes.is_empty());
    }
}
