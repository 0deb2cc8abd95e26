//! Tags on the wire.

use super::migration::problem;
use revshift_core::tag::{Drift, Lead, TagPolicy, Tags};
use revshift_proto::v1 as proto;

/// The policy of a request, or what is wrong with it.
pub(crate) fn policy(value: i32) -> Result<TagPolicy, String> {
    match proto::TagPolicy::try_from(value) {
        Ok(proto::TagPolicy::Unspecified | proto::TagPolicy::Refuse) => Ok(TagPolicy::Refuse),
        Ok(proto::TagPolicy::Rewrite) => Ok(TagPolicy::Rewrite),
        Err(_) => Err(format!("{value} is nothing that is known")),
    }
}

/// How the labels of a plan get their meaning, and what of them leads elsewhere by now.
pub(crate) fn tags(tags: &Tags, drift: Option<&Drift>) -> proto::Tags {
    proto::Tags {
        policy: match tags.policy {
            TagPolicy::Refuse => proto::TagPolicy::Refuse,
            TagPolicy::Rewrite => proto::TagPolicy::Rewrite,
        }
        .into(),
        source_tag: tags.source.clone().unwrap_or_default(),
        target_tag: tags.target.clone().unwrap_or_default(),
        leads: tags.leads.iter().map(lead).collect(),
        drift: drift.map(|drift| problem(&drift.problem())),
    }
}

fn lead(lead: &Lead) -> proto::Lead {
    proto::Lead {
        labels: lead.labels.entries().into_iter().collect(),
        tag: lead.tag.clone().unwrap_or_default(),
        plane: lead.plane.to_string(),
    }
}
