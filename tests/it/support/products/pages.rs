//! Lists in pages, as they are while others push and delete.

/// One page of a list.
pub struct Page<T> {
    pub entries: Vec<T>,
    /// How many entries the whole list has.
    pub total: usize,
    /// Whether there are entries behind it.
    pub more: bool,
}

/// The entries from `start` on, at most `limit`; `shift` moves every page but the first.
pub fn page<T>(list: Vec<T>, start: usize, limit: usize, shift: isize) -> Page<T> {
    let total = list.len();
    let start = if start == 0 { 0 } else { start.saturating_add_signed(shift) };
    let more = start.saturating_add(limit) < total;
    Page { entries: list.into_iter().skip(start).take(limit).collect(), total, more }
}

/// The page that `page` and `per_page` ask for, the first being 1.
pub fn numbered<T>(list: Vec<T>, number: usize, limit: usize, shift: isize) -> Page<T> {
    page(list, number.saturating_sub(1).saturating_mul(limit), limit, shift)
}
