//! Who is next: the flows in turn, and in each flow who came first. Pure.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::Flow;

/// Who waits, in the order in which they are served.
///
/// Between the arrival of one flow's first and its being served, every other flow is served at
/// most once.
#[derive(Debug)]
pub(super) struct Line<T> {
    /// Of each flow that waits, by ticket. Never empty.
    waiting: HashMap<Flow, BTreeMap<u64, T>>,
    /// The flows that wait, each once, who is next first.
    turns: VecDeque<Flow>,
    next_ticket: u64,
}

/// A place in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    flow: Flow,
    number: u64,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { waiting: HashMap::new(), turns: VecDeque::new(), next_ticket: 0 }
    }
}

impl<T> Line<T> {
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Joins the line behind all of the same flow.
    pub fn join(&mut self, flow: Flow, who: T) -> Ticket {
        let number = self.next_ticket;
        self.next_ticket += 1;
        let mates = self.waiting.entry(flow).or_default();
        if mates.is_empty() {
            self.turns.push_back(flow);
        }
        mates.insert(number, who);
        Ticket { flow, number }
    }

    /// Takes out who is next. The flow goes to the end of the turns.
    pub fn next(&mut self) -> Option<T> {
        let flow = self.turns.pop_front()?;
        let mates = self.waiting.get_mut(&flow)?;
        let (_, who) = mates.pop_first()?;
        if mates.is_empty() {
            self.waiting.remove(&flow);
        } else {
            self.turns.push_back(flow);
        }
        Some(who)
    }

    /// Leaves the line, wherever in it; nothing happens if that one is not in it any more.
    pub fn leave(&mut self, ticket: Ticket) -> Option<T> {
        let mates = self.waiting.get_mut(&ticket.flow)?;
        let who = mates.remove(&ticket.number)?;
        if mates.is_empty() {
            self.waiting.remove(&ticket.flow);
            self.turns.retain(|flow| *flow != ticket.flow);
        }
        Some(who)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn served(line: &mut Line<u32>) -> Vec<u32> {
        std::iter::from_fn(|| line.next()).collect()
    }

    #[test]
    fn flows_take_turns_and_each_is_served_in_order() {
        let mut line = Line::default();
        for who in [10, 11, 12, 13] {
            line.join(Flow::new(1), who);
        }
        line.join(Flow::new(2), 20);
        line.join(Flow::new(3), 30);
        line.join(Flow::new(2), 21);
        assert_eq!(served(&mut line), [10, 20, 30, 11, 21, 12, 13]);
        assert!(line.is_empty() && line.waiting.is_empty());
    }

    #[test]
    fn who_leaves_is_not_served_and_nothing_of_it_is_kept() {
        let mut line = Line::default();
        let gone = line.join(Flow::new(1), 10);
        line.join(Flow::new(2), 20);
        assert_eq!(line.leave(gone), Some(10));
        assert_eq!(line.leave(gone), None);
        line.join(Flow::new(1), 11);
        assert_eq!(served(&mut line), [20, 11]);
        assert!(line.waiting.is_empty());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Join(u64),
        Next,
        Leave(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0_u64..5).prop_map(Step::Join),
            2 => Just(Step::Next),
            1 => any::<usize>().prop_map(Step::Leave),
        ];
        proptest::collection::vec(step, 0..200)
    }

    proptest! {
        /// Everybody is served once, in order within a flow, and no flow is overtaken twice by
        /// another while it waits.
        #[test]
        fn nobody_is_lost_or_overtaken(steps in steps()) {
            let mut line = Line::default();
            // Who waits, in order of arrival, and how often each other flow was served meanwhile.
            let mut waiting: Vec<(u64, u32, Ticket)> = Vec::new();
            let mut overtaken: HashMap<u64, HashMap<u64, u32>> = HashMap::new();
            let mut name = 0;
            for step in steps {
                match step {
                    Step::Join(flow) => {
                        name += 1;
                        waiting.push((flow, name, line.join(Flow::new(flow), name)));
                    }
                    Step::Leave(at) if !waiting.is_empty() => {
                        let (flow, who, ticket) = waiting.remove(at % waiting.len());
                        prop_assert_eq!(line.leave(ticket), Some(who));
                        overtaken.remove(&flow);
                    }
                    Step::Leave(_) => {}
                    Step::Next => match line.next() {
                        None => prop_assert!(waiting.is_empty()),
                        Some(who) => {
                            let at = waiting.iter().position(|(_, name, _)| *name == who).unwrap();
                            let (flow, _, ticket) = waiting.remove(at);
                            prop_assert_eq!(line.leave(ticket), None);
                            prop_assert!(waiting[..at].iter().all(|(other, ..)| *other != flow));
                            overtaken.remove(&flow);
                            let others: std::collections::BTreeSet<u64> =
                                waiting.iter().map(|(other, ..)| *other).filter(|o| *o != flow).collect();
                            for other in others {
                                let times = overtaken.entry(other).or_default().entry(flow).or_default();
                                *times += 1;
                                prop_assert!(*times <= 1, "{other} was overtaken twice by {flow}");
                            }
                        }
                    },
                }
                prop_assert_eq!(line.is_empty(), waiting.is_empty());
            }
        }
    }
}
