//! Tags to stored resources and back.

use super::{label_record, labels};
use crate::kube::crd::{DriftRecord, LeadRecord, MigrationStatus, TagsRecord};
use revshift_core::plane::Revision;
use revshift_core::tag::{Drift, Lead, TagPolicy, Tags};

/// How the labels of a migration get their meaning. A policy that only a newer version knows takes nothing
/// more in here.
pub(super) fn tags(record: &TagsRecord) -> Tags {
    Tags {
        policy: TagPolicy::parse(&record.policy).unwrap_or_default(),
        source: record.source.clone(),
        target: record.target.clone(),
        leads: record.leads.iter().map(lead).collect(),
    }
}

/// The record of that.
pub fn tags_record(tags: &Tags) -> TagsRecord {
    TagsRecord {
        policy: tags.policy.as_str().to_owned(),
        source: tags.source.clone(),
        target: tags.target.clone(),
        leads: tags.leads.iter().map(lead_record).collect(),
    }
}

/// What was last found to lead elsewhere.
pub(super) fn drift(status: Option<&MigrationStatus>) -> Option<Drift> {
    let record = status?.drift.as_ref()?;
    let found = record.found.clone();
    Some(Drift { run: record.run, lead: lead(&record.lead), found, at: record.at })
}

/// The record of that.
pub fn drift_record(drift: &Drift) -> DriftRecord {
    let found = drift.found.clone();
    DriftRecord { run: drift.run, lead: lead_record(&drift.lead), found, at: drift.at }
}

fn lead(record: &LeadRecord) -> Lead {
    let plane = Revision(record.plane.clone());
    Lead { labels: labels(&record.labels), tag: record.tag.clone(), plane }
}

fn lead_record(lead: &Lead) -> LeadRecord {
    let labels = label_record(&lead.labels);
    LeadRecord { labels, tag: lead.tag.clone(), plane: lead.plane.0.clone() }
}
