//! A fair queue: flows take turns, and within a flow the first to come is served first. Pure.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::Flow;

/// Waiting items in the order in which they are served.
///
/// While one item of a flow waits at the head of its flow, every other flow is served at most
/// once.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    /// The waiting items of each flow by ticket number. No entry is empty.
    waiting: HashMap<Flow, BTreeMap<u64, T>>,
    /// The flows that have items waiting, each once; the front is served next.
    turns: VecDeque<Flow>,
    next_ticket: u64,
}

/// Identifies a waiting item, so that it can leave the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    flow: Flow,
    number: u64,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { waiting: HashMap::new(), turns: VecDeque::new(), next_ticket: 0 }
    }
}

impl<T> FairQueue<T> {
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Adds an item behind all others of the same flow.
    pub fn push(&mut self, flow: Flow, item: T) -> Ticket {
        let number = self.next_ticket;
        self.next_ticket += 1;
        let of_flow = self.waiting.entry(flow).or_default();
        if of_flow.is_empty() {
            self.turns.push_back(flow);
        }
        of_flow.insert(number, item);
        Ticket { flow, number }
    }

    /// Removes the next item. Its flow goes to the end of the turns.
    pub fn pop(&mut self) -> Option<T> {
        self.pop_of(|_| true)
    }

    /// Removes the next item of those whose flow may be served now. Flows that may not keep their
    /// turns.
    pub fn pop_of(&mut self, may: impl Fn(Flow) -> bool) -> Option<T> {
        let at = self.turns.iter().position(|flow| may(*flow))?;
        let flow = self.turns.remove(at)?;
        let of_flow = self.waiting.get_mut(&flow)?;
        let (_, item) = of_flow.pop_first()?;
        if of_flow.is_empty() {
            self.waiting.remove(&flow);
        } else {
            self.turns.push_back(flow);
        }
        Some(item)
    }

    /// Removes an item wherever it stands. `None` if it has left the queue already.
    pub fn remove(&mut self, ticket: Ticket) -> Option<T> {
        let of_flow = self.waiting.get_mut(&ticket.flow)?;
        let item = of_flow.remove(&ticket.number)?;
        if of_flow.is_empty() {
            self.waiting.remove(&ticket.flow);
            self.turns.retain(|flow| *flow != ticket.flow);
        }
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn served(queue: &mut FairQueue<u32>) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn flows_take_turns_and_each_is_served_in_order() {
        let mut queue = FairQueue::default();
        for who in [10, 11, 12, 13] {
            queue.push(Flow::new(1), who);
        }
        queue.push(Flow::new(2), 20);
        queue.push(Flow::new(3), 30);
        queue.push(Flow::new(2), 21);
        assert_eq!(served(&mut queue), [10, 20, 30, 11, 21, 12, 13]);
        assert!(queue.is_empty() && queue.waiting.is_empty());
    }

    #[test]
    fn removed_items_are_not_served_and_leave_nothing_behind() {
        let mut queue = FairQueue::default();
        let gone = queue.push(Flow::new(1), 10);
        queue.push(Flow::new(2), 20);
        assert_eq!(queue.remove(gone), Some(10));
        assert_eq!(queue.remove(gone), None);
        queue.push(Flow::new(1), 11);
        assert_eq!(served(&mut queue), [20, 11]);
        assert!(queue.waiting.is_empty());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(u64),
        Pop,
        Remove(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0_u64..5).prop_map(Step::Push),
            2 => Just(Step::Pop),
            1 => any::<usize>().prop_map(Step::Remove),
        ];
        proptest::collection::vec(step, 0..200)
    }

    proptest! {
        /// Every item is served once, in order within its flow, and no waiting flow is overtaken
        /// twice by the same other flow.
        #[test]
        fn no_item_is_lost_or_overtaken_twice(steps in steps()) {
            let mut queue = FairQueue::default();
            // The waiting items in order of arrival, and how often each flow was overtaken by others.
            let mut waiting: Vec<(u64, u32, Ticket)> = Vec::new();
            let mut overtaken: HashMap<u64, HashMap<u64, u32>> = HashMap::new();
            let mut name = 0;
            for step in steps {
                match step {
                    Step::Push(flow) => {
                        name += 1;
                        waiting.push((flow, name, queue.push(Flow::new(flow), name)));
                    }
                    Step::Remove(at) if !waiting.is_empty() => {
                        let (flow, who, ticket) = waiting.remove(at % waiting.len());
                        prop_assert_eq!(queue.remove(ticket), Some(who));
                        overtaken.remove(&flow);
                    }
                    Step::Remove(_) => {}
                    Step::Pop => match queue.pop() {
                        None => prop_assert!(waiting.is_empty()),
                        Some(who) => {
                            let at = waiting.iter().position(|(_, name, _)| *name == who).unwrap();
                            let (flow, _, ticket) = waiting.remove(at);
                            prop_assert_eq!(queue.remove(ticket), None);
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
                prop_assert_eq!(queue.is_empty(), waiting.is_empty());
            }
        }
    }
}
