//! Label selectors as people write them: `team=shop,tier in (web,api),!legacy`.
//!
//! The grammar of Kubernetes' own `labels.Parse`, without the numeric comparisons.

use super::{Operator, Requirement, Selector};
use std::str::FromStr;

/// The most characters of the name part of a key, and of a value.
const MOST: usize = 63;

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut requirements = Vec::new();
        for part in split(text) {
            requirements.push(requirement(part.trim())?);
        }
        Ok(Self { requirements })
    }
}

/// The parts between commas that are not in brackets; none of an empty text.
fn split(text: &str) -> Vec<&str> {
    if text.trim().is_empty() {
        return Vec::new();
    }
    let mut parts = Vec::new();
    let (mut start, mut depth) = (0, 0_usize);
    for (index, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn requirement(text: &str) -> Result<Requirement, String> {
    if let Some(name) = text.strip_prefix('!').filter(|name| !name.contains('=')) {
        return Ok(Requirement { key: key(name)?, operator: Operator::DoesNotExist });
    }
    for (sign, negated) in [("!=", true), ("==", false), ("=", false)] {
        if let Some((name, wanted)) = text.split_once(sign) {
            let values = vec![value(wanted)?];
            let operator = if negated { Operator::NotIn(values) } else { Operator::In(values) };
            return Ok(Requirement { key: key(name)?, operator });
        }
    }
    let Some((head, list)) = text.split_once('(') else {
        return Ok(Requirement { key: key(text)?, operator: Operator::Exists });
    };
    let list = list.strip_suffix(')').ok_or_else(|| format!("`{text}` lacks a closing bracket"))?;
    let values = list.split(',').map(value).collect::<Result<Vec<_>, _>>()?;
    let words: Vec<&str> = head.split_whitespace().collect();
    match words.as_slice() {
        [name, "in"] => Ok(Requirement { key: key(name)?, operator: Operator::In(values) }),
        [name, "notin"] => Ok(Requirement { key: key(name)?, operator: Operator::NotIn(values) }),
        _ => Err(format!("`{text}` is neither `KEY in (…)` nor `KEY notin (…)`")),
    }
}

fn key(text: &str) -> Result<String, String> {
    let text = text.trim();
    let name = text.split_once('/').map_or(text, |(_, name)| name);
    let prefix = text.split_once('/').map(|(prefix, _)| prefix);
    let well_formed = prefix.is_none_or(|prefix| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
        !prefix.is_empty() && prefix.len() <= 253 && prefix.bytes().all(inner)
    });
    if !name.is_empty() && is_qualified(name) && well_formed {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` is no label key"))
}

fn value(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || is_qualified(text) {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` is no label value"))
}

fn is_qualified(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    text.len() <= MOST
        && text.bytes().all(inner)
        && edge(text.bytes().next())
        && edge(text.bytes().last())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::Labels;

    fn matches(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels: Labels =
            labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        selector.parse::<Selector>().unwrap().matches(&labels)
    }

    #[test]
    fn selectors_mean_what_kubectl_makes_of_them() {
        let shop = [("team", "shop"), ("example.com/tier", "web")];
        for selector in [
            "",
            "team=shop",
            "team==shop",
            " team = shop , example.com/tier in ( web , api )",
            "team!=pay",
            "team",
            "!legacy",
            "legacy notin (yes)",
            "tier!=web",
        ] {
            assert!(matches(selector, &shop), "{selector}");
            let read: Selector = selector.parse().unwrap();
            assert_eq!(read.to_string().parse(), Ok(read), "{selector}");
        }
        for selector in
            ["team=pay", "!team", "legacy", "team in (pay,ops)", "team notin (shop)", "team="]
        {
            assert!(!matches(selector, &shop), "{selector}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for text in [
            "=",
            "team=a b",
            "team in shop",
            "team in (shop",
            "a,,b",
            "-a",
            "a=-b",
            "/x",
            "x/",
            "!",
        ] {
            assert!(text.parse::<Selector>().is_err(), "{text}");
        }
    }
}
