//! Where istiods are asked.

use super::check::refuse_unreachable;
use anyhow::{Context, Result, ensure};
use http::Uri;
use std::collections::BTreeMap;

/// The addresses of istiods, by revision.
pub type Istiods = BTreeMap<String, Vec<String>>;

/// Reads `REVISION=URL`.
pub fn istiod(text: &str) -> Result<(String, String), String> {
    let (revision, url) = text.split_once('=').ok_or("write REVISION=URL")?;
    let known = Istiods::from([(revision.to_owned(), vec![url.to_owned()])]);
    refuse_nonsense(&known).map_err(|error| format!("{error:#}"))?;
    Ok((revision.to_owned(), url.to_owned()))
}

/// Refuses what makes no sense, by the name of the field.
pub(super) fn refuse_nonsense(istiods: &Istiods) -> Result<()> {
    for (revision, urls) in istiods {
        ensure!(!revision.trim().is_empty(), "istiods must name a revision");
        ensure!(!urls.is_empty(), "istiods.{revision} must name an address");
        for (index, url) in urls.iter().enumerate() {
            refuse_elsewhere(url).with_context(|| format!("istiods.{revision}[{index}]"))?;
        }
    }
    Ok(())
}

/// Adds addresses that are not there yet.
pub(super) fn add(istiods: &mut Istiods, more: &[(String, String)]) {
    for (revision, url) in more {
        let urls = istiods.entry(revision.clone()).or_default();
        if !urls.contains(url) {
            urls.push(url.clone());
        }
    }
}

/// An address is where an istiod listens, not a page of it.
fn refuse_elsewhere(url: &str) -> Result<()> {
    refuse_unreachable(url)?;
    let uri: Uri = url.parse().with_context(|| format!("`{url}` is no URL"))?;
    let bare = uri.query().is_none() && matches!(uri.path(), "" | "/");
    ensure!(bare, "`{url}` must have neither path nor query");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_be_given_as_a_flag() {
        let one = |url: &str| Ok(("cp-v115x.istio-system".to_owned(), url.to_owned()));
        assert_eq!(istiod("cp-v115x.istio-system=http://a:15014"), one("http://a:15014"));
        assert_eq!(istiod("cp-v115x.istio-system=https://[::1]:1"), one("https://[::1]:1"));
        for (text, word) in [
            ("1-31", "REVISION=URL"),
            ("=http://a", "name a revision"),
            ("1-31=a:15014", "istiods.1-31[0]"),
            ("1-31=http://a/debug/syncz", "neither path nor query"),
        ] {
            let error = istiod(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn flags_and_file_name_addresses_together() {
        let pair = |revision: &str, url: &str| (revision.to_owned(), url.to_owned());
        let mut known = Istiods::from([("a".to_owned(), vec!["http://1".to_owned()])]);
        add(&mut known, &[pair("a", "http://1"), pair("a", "http://2"), pair("b", "http://3")]);
        assert_eq!(known["a"], ["http://1", "http://2"]);
        assert_eq!(known["b"], ["http://3"]);
    }
}
