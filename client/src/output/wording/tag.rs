//! Tags: what leads where, by which name.

use std::collections::BTreeMap;

use revshift_proto::v1::{self as proto, TagPolicy};

use crate::output::style;

/// From where to where, with the tags by which that was said.
pub(crate) fn ways(header: &proto::PlanHeader) -> String {
    let tags = header.tags.clone().unwrap_or_default();
    let from = plane(&header.source, &tags.source_tag);
    format!("from {from} to {}", plane(&header.target, &tags.target_tag))
}

/// A plane, and the tag by which it was named.
pub(crate) fn plane(revision: &str, tag: &str) -> String {
    if tag.is_empty() { revision.to_owned() } else { format!("tag {tag} ({revision})") }
}

/// What a plan says of tags, a line each: whether labels are rewritten, and where tags lead.
pub(crate) fn tags(tags: &proto::Tags) -> Vec<String> {
    let mut lines = Vec::new();
    if tags.policy() == TagPolicy::Rewrite {
        let text = "labels that name tags, and istio-injection, are rewritten";
        lines.push(text.to_owned());
    }
    let named = tags.leads.iter().filter(|lead| !lead.tag.is_empty());
    lines.extend(named.map(|lead| {
        let labels: BTreeMap<_, _> = lead.labels.iter().collect();
        let labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let line = format!("{} leads to {} by tag {}", labels.join(","), lead.plane, lead.tag);
        style::one_line(&line)
    }));
    lines
}
