use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// Numbers of runs that begin.
fn begun(lease: &mut Lease<()>, leaves: u64) -> Vec<u64> {
    lease.leave(leaves).into_iter().map(|(number, ())| number).collect()
}

#[test]
fn runs_of_a_rule_share_its_lease_and_another_rule_waits() {
    let mut lease = Lease::of("a");
    assert_eq!(lease.arrive("a", ()), Arrival::Joined(0));
    assert_eq!(lease.arrive("b", ()), Arrival::Waits(1));
    // The full pass is still there: its rule's other runs are let in.
    assert_eq!(lease.arrive("a", ()), Arrival::Joined(2));
    assert!(begun(&mut lease, 0).is_empty());
    // Now those that came later would keep the other one out for ever.
    assert_eq!(lease.arrive("a", ()), Arrival::Waits(3));
    assert_eq!(begun(&mut lease, 2), [1]);
    assert_eq!(begun(&mut lease, 1), [3]);
    assert!(begun(&mut lease, 3).is_empty() && lease.is_over());
}

/// A pass that joined a small run counts as much as the one that came first.
#[test]
fn a_full_pass_that_came_second_still_shares_its_turn() {
    let mut lease = Lease::of("a");
    assert_eq!(lease.arrive("a", ()), Arrival::Joined(0));
    assert_eq!(lease.arrive("a", ()), Arrival::Joined(1));
    assert_eq!(lease.arrive("b", ()), Arrival::Waits(2));
    assert!(begun(&mut lease, 0).is_empty());
    assert_eq!(lease.arrive("a", ()), Arrival::Joined(3));
}

#[test]
fn who_only_waited_for_somebody_that_gave_up_begins() {
    let mut lease = Lease::of("a");
    for (rule, arrival) in [("a", Arrival::Joined(0)), ("b", Arrival::Waits(1))] {
        assert_eq!(lease.arrive(rule, ()), arrival);
    }
    assert_eq!(lease.arrive("a", ()), Arrival::Joined(2));
    assert!(begun(&mut lease, 0).is_empty());
    assert_eq!(lease.arrive("a", ()), Arrival::Waits(3));
    assert_eq!(begun(&mut lease, 1), [3]);
}

/// The runs that hold a lease or wait for it, by number, with their rules.
type Runs = HashMap<u64, &'static str>;

fn leaves(lease: &mut Lease<()>, number: u64, holding: &mut Runs, waiting: &mut Runs) {
    holding.remove(&number);
    waiting.remove(&number);
    for number in begun(lease, number) {
        let rule = waiting.remove(&number).unwrap();
        holding.insert(number, rule);
    }
}

proptest! {
    /// Never two rules at once; and when all leave, every run has held the lease.
    #[test]
    fn one_rule_at_a_time_and_nobody_is_forgotten(
        steps in proptest::collection::vec((any::<bool>(), 0_usize..3, any::<usize>()), 0..200)
    ) {
        let rules = ["a", "b", "c"];
        let mut lease: Lease<()> = Lease::of(rules[0]);
        let (mut holding, mut waiting) = (Runs::new(), Runs::new());
        for (arrives, rule, which) in steps {
            if arrives {
                // An empty lease is dropped, as `WriteLeases` does it.
                if lease.is_over() {
                    let next = lease.next;
                    lease = Lease { next, ..Lease::of(rules[rule]) };
                }
                match lease.arrive(rules[rule], ()) {
                    Arrival::Joined(number) => holding.insert(number, rules[rule]),
                    Arrival::Waits(number) => waiting.insert(number, rules[rule]),
                };
            } else {
                let mut all: Vec<u64> = holding.keys().chain(waiting.keys()).copied().collect();
                all.sort_unstable();
                if let Some(number) = all.get(which % all.len().max(1)) {
                    leaves(&mut lease, *number, &mut holding, &mut waiting);
                }
            }
            prop_assert!(holding.values().collect::<BTreeSet<_>>().len() <= 1);
            prop_assert!(!holding.is_empty() || waiting.is_empty());
        }
        while let Some(number) = holding.keys().min().copied() {
            leaves(&mut lease, number, &mut holding, &mut waiting);
        }
        prop_assert!(waiting.is_empty() && lease.is_over());
    }
}

/// Many runs of some rules over some repositories, each taking several in one order, and some
/// giving up: all come to their end, and never do two rules have the same one.
#[tokio::test(start_paused = true)]
async fn nobody_waits_in_a_circle() {
    let leases = WriteLeases::default();
    let writing: Arc<Mutex<HashMap<usize, Vec<usize>>>> = Arc::default();
    let mut random = fastrand::Rng::with_seed(7);
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let (leases, writing) = (leases.clone(), writing.clone());
            let rule = random.usize(..4);
            let mut keys: Vec<usize> = (0..3).map(|_| random.usize(..5)).collect();
            keys.sort_unstable();
            keys.dedup();
            let (begin, work, patience) = (
                random.u64(..50),
                random.u64(1..20),
                if random.u8(..4) == 0 { 30 } else { 60_000 },
            );
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(begin)).await;
                let taking = async {
                    let mut held = Vec::new();
                    for key in &keys {
                        held.push(leases.take(&key.to_string(), &rule.to_string()).await);
                    }
                    held
                };
                let Ok(_held) = tokio::time::timeout(Duration::from_millis(patience), taking).await
                else {
                    return patience < 60_000;
                };
                for key in &keys {
                    writing.lock().entry(*key).or_default().push(rule);
                }
                tokio::time::sleep(Duration::from_millis(work)).await;
                let mut writing = writing.lock();
                keys.iter().all(|key| {
                    let writers = writing.get_mut(key).unwrap();
                    let alone = writers.iter().all(|other| *other == rule);
                    let at = writers.iter().position(|other| *other == rule).unwrap();
                    writers.remove(at);
                    alone
                })
            })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap());
    }
    assert!(leases.lock().is_empty());
}
