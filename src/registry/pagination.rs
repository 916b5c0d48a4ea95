//! Lists whose pages have no `Link` to the next one, because the registry sends none or a proxy
//! removes it: whether there is more. Pure. A cleanup that takes half a list for the whole deletes what
//! the other half would keep, so a list counts as complete only if that is certain.

use std::collections::HashSet;

/// The largest page that ECR and distribution 3 answer.
pub const PAGE: usize = 1000;
/// What is asked for from the second page on: one less, so that a registry which sends the same
/// list whatever it is asked for (distribution 2) sends more than this, and shows that it does.
pub const NEXT_PAGE: usize = PAGE - 1;

/// A list so far.
#[derive(Debug, Default)]
pub struct Pagination {
    /// All names of a list that may continue. Empty before the first page.
    known: HashSet<String>,
    /// The registry chooses how long a page is, so any page may be a full one.
    chosen_by_registry: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// That was all.
    End,
    /// There may be more behind this name.
    Behind(String),
    /// There may be more, and no way to ask for it.
    Unknown,
}

impl Pagination {
    /// A list whose pages are as long as the registry likes.
    pub fn of_unknown_size() -> Self {
        Self { known: HashSet::new(), chosen_by_registry: true }
    }

    /// Whether pages of a certain length are asked for.
    pub fn has_size(&self) -> bool {
        !self.chosen_by_registry
    }

    pub fn knows(&self, name: &str) -> bool {
        self.known.contains(name)
    }

    /// What to do after one more page with so many entries, of which these have names.
    pub fn next<'a>(
        &mut self,
        entries: usize,
        names: impl DoubleEndedIterator<Item = &'a str> + Clone,
    ) -> Next {
        let asked = match self.known.is_empty() {
            _ if self.chosen_by_registry => 0,
            true => PAGE,
            false => NEXT_PAGE,
        };
        if names.clone().any(|name| self.knows(name)) {
            // It does not understand `last`. If it does not keep to a page's size either, it
            // knows no pages.
            return if entries > asked { Next::End } else { Next::Unknown };
        }
        if entries < asked || entries == 0 {
            return Next::End;
        }
        self.known.extend(names.clone().map(str::to_owned));
        names.last().map_or(Next::Unknown, |last| Next::Behind(last.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(range: std::ops::Range<usize>) -> Vec<String> {
        range.map(|number| format!("{number:05}")).collect()
    }

    /// What each page of a list leads to.
    fn follow(pages: &[std::ops::Range<usize>]) -> Vec<Next> {
        let mut list = Pagination::default();
        let mut next = |page: &std::ops::Range<usize>| {
            let names = names(page.clone());
            list.next(names.len(), names.iter().map(String::as_str))
        };
        pages.iter().map(&mut next).collect()
    }

    #[test]
    fn a_list_ends_only_where_that_is_certain() {
        let behind = |number: usize| Next::Behind(format!("{number:05}"));
        assert_eq!(follow(std::slice::from_ref(&(0..0))), [Next::End]);
        assert_eq!(follow(std::slice::from_ref(&(0..999))), [Next::End]);
        assert_eq!(follow(&[0..1000, 1000..1000]), [behind(999), Next::End]);
        assert_eq!(follow(&[0..1000, 1000..1001]), [behind(999), Next::End]);
        let three = [0..1000, 1000..1999, 1999..2000];
        assert_eq!(follow(&three), [behind(999), behind(1998), Next::End]);
        // It ignores `n` and `last`, and tags are pushed or deleted meanwhile.
        assert_eq!(follow(&[0..1000, 0..1000]), [behind(999), Next::End]);
        assert_eq!(follow(&[0..5000, 0..5001]), [behind(4999), Next::End]);
        assert_eq!(follow(&[0..5000, 0..4999]), [behind(4999), Next::End]);
        // It sends what fits into a page, and always the same.
        assert_eq!(follow(&[0..1000, 0..999]), [behind(999), Next::Unknown]);
        assert_eq!(Pagination::default().next(1000, std::iter::empty()), Next::Unknown);
    }
}
