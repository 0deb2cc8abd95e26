//! Pages of lists: bounded, and stable while the list changes.
//!
//! A page token names the last key that was sent, so what is added or removed elsewhere neither
//! repeats nor hides an item. It is bound to its method and filter.

use super::convert::request::Fields;
use super::token;
use revshift_core::refusal::Refusal;

/// Items on a page when the request does not say.
pub(crate) const DEFAULT: usize = 100;
/// No page has more items.
pub(crate) const MOST: usize = 1000;

/// Which page of a list is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    purpose: String,
    size: usize,
    after: Option<String>,
}

impl Page {
    /// Parses what a request of `method` with `filter` says of its page; refuses it together with
    /// the other `fields`.
    pub(crate) fn parse(
        method: &str,
        filter: &str,
        size: i32,
        token: &str,
        mut fields: Fields,
    ) -> Result<Self, Refusal> {
        let size = match usize::try_from(size) {
            Ok(0) => DEFAULT,
            Ok(size) => size.min(MOST),
            Err(_) => {
                fields.refuse("page_size", "must not be negative");
                DEFAULT
            }
        };
        fields.finish()?;
        let purpose = format!("{method}\n{filter}");
        let after = match token {
            "" => None,
            token => Some(token::open(&purpose, token).ok_or(Refusal::PageToken)?),
        };
        Ok(Self { purpose, size, after })
    }

    /// The page among `items`, which are ordered by their unique keys, and the token of the next
    /// page. `row` makes an item's row, or leaves it out; it only sees items that may be sent.
    pub(crate) fn fill<K: AsRef<str>, T, R>(
        &self,
        items: impl IntoIterator<Item = (K, T)>,
        mut row: impl FnMut(T) -> Option<R>,
    ) -> (Vec<R>, String) {
        let after = |key: &K| self.after.as_deref().is_none_or(|after| key.as_ref() > after);
        let mut rows = Vec::new();
        let mut last: Option<K> = None;
        for (key, item) in items.into_iter().filter(|(key, _)| after(key)) {
            let Some(made) = row(item) else {
                continue;
            };
            if rows.len() == self.size {
                let last = last.as_ref().map(AsRef::as_ref).unwrap_or_default();
                return (rows, token::seal(&self.purpose, last));
            }
            rows.push(made);
            last = Some(key);
        }
        (rows, String::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(size: i32, token: &str) -> Result<Page, Refusal> {
        Page::parse("List", "a", size, token, Fields::default())
    }

    fn all(items: &[&str], size: i32) -> Vec<Vec<String>> {
        let mut pages = Vec::new();
        let mut token = String::new();
        loop {
            let (rows, next) = page(size, &token)
                .unwrap()
                .fill(items.iter().map(|item| (*item, *item)), |item| Some(item.to_owned()));
            pages.push(rows);
            if next.is_empty() {
                return pages;
            }
            token = next;
        }
    }

    #[test]
    fn pages_join_to_the_whole_list() {
        let items = ["a", "b", "c", "d"];
        assert_eq!(all(&items, 3), [vec!["a", "b", "c"], vec!["d"]]);
        assert_eq!(all(&items, 4), [vec!["a", "b", "c", "d"]]);
        assert_eq!(all(&items, 0), [vec!["a", "b", "c", "d"]]);
        assert_eq!(all(&[], 1), [Vec::<String>::new()]);
    }

    #[test]
    fn a_page_goes_on_where_the_last_one_ended_whatever_was_inserted_or_removed() {
        let (_, token) = page(2, "").unwrap().fill(["b", "d", "f"].map(|k| (k, k)), Some);
        let (rows, next) =
            page(2, &token).unwrap().fill(["a", "b", "c", "e", "f"].map(|k| (k, k)), Some);
        assert_eq!((rows, next.as_str()), (vec!["e", "f"], ""));
    }

    #[test]
    fn rows_that_are_left_out_do_not_count() {
        let keep = |k: &'static str| (k > "b").then_some(k);
        let (rows, next) = page(2, "").unwrap().fill(["a", "b", "c", "d"].map(|k| (k, k)), keep);
        assert_eq!((rows, next.as_str()), (vec!["c", "d"], ""));
    }

    #[test]
    fn a_page_is_never_larger_than_the_limit() {
        let items: Vec<String> = (0..=MOST).map(|n| format!("{n:05}")).collect();
        let (rows, next) =
            page(i32::MAX, "").unwrap().fill(items.iter().map(|k| (k, k)), |k| Some(k.clone()));
        assert_eq!(rows.len(), MOST);
        assert!(!next.is_empty());
    }

    #[test]
    fn a_token_of_another_method_or_filter_is_refused() {
        let (_, token) = page(1, "").unwrap().fill(["a", "b"].map(|k| (k, k)), Some);
        assert!(page(1, &token).is_ok());
        for (method, filter) in [("Other", "a"), ("List", "b")] {
            let page = Page::parse(method, filter, 1, &token, Fields::default());
            assert_eq!(page, Err(Refusal::PageToken));
        }
        assert_eq!(page(1, "garbage"), Err(Refusal::PageToken));
    }

    #[test]
    fn a_negative_size_is_refused_together_with_the_other_fields() {
        let mut fields = Fields::default();
        fields.refuse("migration_id", "is required");
        let Err(Refusal::InvalidFields(found)) = Page::parse("List", "", -1, "garbage", fields)
        else {
            panic!("accepted");
        };
        let names: Vec<&str> = found.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(names, ["migration_id", "page_size"]);
    }
}
