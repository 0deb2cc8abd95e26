//! Tags on the wire.

use super::migration::problem;
use revshift_core::tag::{Drift, Lead, TagPolicy, Tags};
use revshift_proto::v1 as proto;

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
