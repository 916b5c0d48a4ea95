//! How many images of its group are newer than an image.
//!
//! Distinct images are counted, so several tags of one image count once. What belongs to an image (a
//! tagged child of its index, say) does not count against it, and neither does an image that is just as
//! new: a coarse clock must not choose by chance. So deleting an image never raises the count of another
//! one, and a newer date never raises the count of the image itself: deleting and dating cannot make the
//! next plan delete more.

use std::collections::HashMap;

use super::select::{Rank, Selected};
use super::snapshot::Node;

/// The images of all groups, each with its newest rank.
struct Newest<'a> {
    of: HashMap<(u32, Node), &'a Rank>,
    /// Of each group, sorted.
    ranks: HashMap<u32, Vec<&'a Rank>>,
}

impl<'a> Newest<'a> {
    fn of(selected: &'a [Selected]) -> Self {
        let mut of: HashMap<(u32, Node), &Rank> = HashMap::new();
        for entry in selected {
            let Some(rank) = &entry.rank else { continue };
            let newest = of.entry((entry.group, entry.node)).or_insert(rank);
            *newest = (*newest).max(rank);
        }
        let mut ranks: HashMap<u32, Vec<&Rank>> = HashMap::new();
        for ((group, _), rank) in &of {
            ranks.entry(*group).or_default().push(rank);
        }
        ranks.values_mut().for_each(|ranks| ranks.sort_unstable());
        Self { of, ranks }
    }

    /// How many images of a group are newer than this.
    fn newer(&self, group: u32, rank: &Rank) -> usize {
        let ranks = self.ranks.get(&group).map_or(&[][..], Vec::as_slice);
        ranks.len() - ranks.partition_point(|other| *other <= rank)
    }

    fn is_newer(&self, group: u32, node: Node, rank: &Rank) -> bool {
        self.of.get(&(group, node)).is_some_and(|newest| *newest > rank)
    }
}

/// For each of `selected`, how many other images of its group are newer; `None` where its age
/// is not known.
///
/// `families` has each image with what it belongs to, as [`Owners::families`] gives it.
///
/// [`Owners::families`]: super::owners::Owners::families
pub fn count_newer(selected: &[Selected], families: &[(Node, Node)]) -> Vec<Option<u32>> {
    let newest = Newest::of(selected);
    let mut members: HashMap<Node, Vec<Node>> = HashMap::new();
    for (member, owner) in families {
        members.entry(*owner).or_default().push(*member);
    }
    let count = |entry: &Selected| {
        let rank = entry.rank.as_ref()?;
        let is_newer = |node: &&Node| newest.is_newer(entry.group, **node, rank);
        // The image itself can be newer by another of its tags.
        let own =
            std::iter::once(&entry.node).chain(members.get(&entry.node).into_iter().flatten());
        let own = own.filter(is_newer).count();
        Some((newest.newer(entry.group, rank) - own) as u32)
    };
    selected.iter().map(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cleanup::plan::select::Rank;

    fn entries(ranks: &[(u32, i64)]) -> Vec<Selected> {
        let entry = |(tag, (node, rank)): (usize, &(u32, i64))| Selected {
            tag: tag as u32,
            node: Node(*node),
            group: 0,
            rank: (*rank >= 0).then_some(Rank::Time(*rank)),
        };
        ranks.iter().enumerate().map(entry).collect()
    }

    #[test]
    fn images_are_counted_not_tags() {
        type Case<'a> = (&'a [(u32, i64)], &'a [Option<u32>]);
        let cases: [Case<'_>; 5] = [
            (&[(0, 30), (1, 20), (2, 10)], &[Some(0), Some(1), Some(2)]),
            // Two tags of one image, side by side and apart.
            (&[(0, 30), (0, 30), (1, 20)], &[Some(0), Some(0), Some(1)]),
            (&[(0, 30), (1, 20), (0, 10), (2, 5)], &[Some(0), Some(1), Some(1), Some(2)]),
            // Neither of two that are equally new pushes the other out.
            (&[(0, 10), (1, 10), (2, 5)], &[Some(0), Some(0), Some(2)]),
            // Images of unknown age have no count and do not count.
            (&[(0, -1), (1, 10)], &[None, Some(0)]),
        ];
        for (ranks, expected) in cases {
            assert_eq!(count_newer(&entries(ranks), &[]), expected, "{ranks:?}");
        }
    }

    #[test]
    fn what_belongs_to_an_image_does_not_push_it_out() {
        // 1 and 2 belong to 0, and are newer than it; 3 is newer still and belongs to nothing.
        let families = [(Node(1), Node(0)), (Node(2), Node(0))];
        let list = entries(&[(0, 10), (1, 20), (2, 20), (3, 30), (4, 5), (0, 4)]);
        let found = count_newer(&list, &families);
        assert_eq!(found, [Some(1), Some(1), Some(1), Some(0), Some(4), Some(2)]);
    }
}
