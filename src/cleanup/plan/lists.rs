//! Many short lists of small numbers in two flat arrays (compressed sparse rows): half a million
//! manifests must not be half a million allocations.

/// For each of `len` rows, a sorted list of distinct numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lists {
    /// Where each row begins in `items`; one more than there are rows.
    starts: Vec<u32>,
    items: Vec<u32>,
}

impl Lists {
    /// From pairs of row and item, in any order; rows are below `len`.
    ///
    /// There are fewer than 2³² pairs: both numbers of a pair would not fit into memory otherwise.
    pub fn new(len: usize, mut pairs: Vec<(u32, u32)>) -> Self {
        pairs.sort_unstable();
        pairs.dedup();
        let mut starts = Vec::with_capacity(len + 1);
        let mut items = Vec::with_capacity(pairs.len());
        for (row, item) in pairs {
            starts.resize(starts.len().max(row as usize + 1), items.len() as u32);
            items.push(item);
        }
        starts.resize(len + 1, items.len() as u32);
        Self { starts, items }
    }

    pub fn row(&self, row: usize) -> &[u32] {
        &self.items[self.starts[row] as usize..self.starts[row + 1] as usize]
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        // There is always one start more, also for no rows.
        self.starts.len() - 1
    }

    /// All pairs of row and item, sorted.
    pub fn pairs(&self) -> impl Iterator<Item = (u32, u32)> {
        (0..self.len()).flat_map(|row| self.row(row).iter().map(move |item| (row as u32, *item)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_hold_what_was_put_into_them(pairs in proptest::collection::vec((0_u32..8, 0_u32..8), 0..40)) {
            let lists = Lists::new(8, pairs.clone());
            for row in 0..8 {
                let mut expected: Vec<_> =
                    pairs.iter().filter(|(r, _)| *r == row).map(|(_, item)| *item).collect();
                expected.sort_unstable();
                expected.dedup();
                prop_assert_eq!(lists.row(row as usize), expected);
            }
            let mut sorted = pairs;
            sorted.sort_unstable();
            sorted.dedup();
            prop_assert_eq!(lists.pairs().collect::<Vec<_>>(), sorted);
        }
    }
}
