//! Which place an image has among the newest of its group.
//!
//! Places are counted by distinct images: tags of one image do not push others out. What
//! belongs to an image (a tagged child of its index, say) does not push that image out. So taking
//! something away never moves anything else further down, and a newer date never moves an image
//! down: deleting and dating cannot make the next plan delete more.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::select::Selected;
use super::snapshot::Node;

/// For each of `selected`, how many other images of its group are newer; `None` where its age
/// is not known. Equal ranks are put in order by digest.
///
/// `families` has each image with what it belongs to, as [`Owners::families`] gives it.
///
/// [`Owners::families`]: super::owners::Owners::families
pub fn places(selected: &[Selected], families: &[(Node, Node)]) -> Vec<Option<u32>> {
    let mut order: Vec<usize> =
        (0..selected.len()).filter(|at| selected[*at].rank.is_some()).collect();
    order.sort_unstable_by_key(|at| {
        let Selected { tag, node, group, rank } = &selected[*at];
        // The digest's place stands for the digest; the tag only makes the order total.
        (*group, Reverse((rank, *node)), *tag)
    });
    let mut places = vec![None; selected.len()];
    // The newest entry of each image in the group, by how many images are before it.
    let mut first: HashMap<(u32, Node), u32> = HashMap::new();
    let (mut group, mut before) = (None, 0);
    for at in order {
        let entry = &selected[at];
        if group != Some(entry.group) {
            (group, before) = (Some(entry.group), 0);
        }
        first.entry((entry.group, entry.node)).or_insert_with(|| {
            before += 1;
            before - 1
        });
        // The image itself is among those before.
        places[at] = Some(before - 1);
    }
    spare_families(selected, families, &first, &mut places);
    places
}

/// Takes out of each place what belongs to the image itself.
fn spare_families(
    selected: &[Selected],
    families: &[(Node, Node)],
    first: &HashMap<(u32, Node), u32>,
    places: &mut [Option<u32>],
) {
    if families.is_empty() {
        return;
    }
    let mut members: HashMap<Node, Vec<Node>> = HashMap::new();
    for (member, owner) in families {
        members.entry(*owner).or_default().push(*member);
    }
    for (entry, place) in selected.iter().zip(places) {
        let (Some(members), Some(place)) = (members.get(&entry.node), place) else { continue };
        let counted = *place;
        let newer = members.iter().filter(|member| is_counted(entry, **member, first, counted));
        *place -= newer.count() as u32;
    }
}

/// Whether `member` is counted in the `place` of `entry`.
fn is_counted(
    entry: &Selected,
    member: Node,
    first: &HashMap<(u32, Node), u32>,
    place: u32,
) -> bool {
    let own = first.get(&(entry.group, entry.node)).copied().unwrap_or(u32::MAX);
    // Images are numbered as they are met. `place` leaves out the image itself if it was met.
    let met = if own < place { place + 1 } else { place };
    first.get(&(entry.group, member)).is_some_and(|at| *at < met)
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
            // Equal ranks: the larger digest is first.
            (&[(0, 10), (1, 10)], &[Some(1), Some(0)]),
            // Unknown ages have no place and take none.
            (&[(0, -1), (1, 10)], &[None, Some(0)]),
        ];
        for (ranks, expected) in cases {
            assert_eq!(places(&entries(ranks), &[]), expected, "{ranks:?}");
        }
    }

    #[test]
    fn what_belongs_to_an_image_does_not_push_it_out() {
        // 1 and 2 belong to 0, and are newer than it; 3 is newer still and belongs to nothing.
        let families = [(Node(1), Node(0)), (Node(2), Node(0))];
        let list = entries(&[(0, 10), (1, 20), (2, 20), (3, 30), (4, 5), (0, 4)]);
        let found = places(&list, &families);
        assert_eq!(found, [Some(1), Some(2), Some(1), Some(0), Some(4), Some(2)]);
    }
}
