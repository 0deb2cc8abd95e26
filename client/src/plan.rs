//! A plan as the client holds it: the parts of the API's answer, put together.
//!
//! Also tells what differs between two plans, for somebody who agreed to the first.

use revshift_proto::v1::{self as proto, plan_migration_response::Part};
use serde::Serialize;
use tonic::{Status, Streaming};

use crate::output::wording;

/// A plan of a migration or of a rollback.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Plan {
    pub(crate) header: proto::PlanHeader,
    pub(crate) findings: Vec<proto::Finding>,
    pub(crate) entries: Vec<proto::PlanEntry>,
}

impl Plan {
    /// Reads a whole plan.
    pub(crate) async fn collect(
        mut parts: Streaming<proto::PlanMigrationResponse>,
    ) -> Result<Self, Status> {
        let mut plan = Self::default();
        while let Some(message) = parts.message().await? {
            match message.part {
                Some(Part::Header(header)) => plan.header = header,
                Some(Part::Finding(finding)) => plan.findings.push(finding),
                Some(Part::Entry(entry)) => plan.entries.push(entry),
                // A part that only newer clients know.
                None => {}
            }
        }
        Ok(plan)
    }

    /// What differs in a newer plan: lines that begin with `-` for what was, `+` for what is.
    pub(crate) fn changes(&self, newer: &Self) -> Vec<String> {
        let (before, after) = (self.facts(), newer.facts());
        let gone = before.iter().filter(|fact| !after.contains(fact)).map(|fact| ('-', fact));
        let new = after.iter().filter(|fact| !before.contains(fact)).map(|fact| ('+', fact));
        gone.chain(new).map(|(sign, fact)| format!("{sign} {fact}")).collect()
    }

    /// Everything that the plan says, in lines that each stand for themselves.
    fn facts(&self) -> Vec<String> {
        let header = &self.header;
        let mut facts = vec![
            wording::tag::ways(header),
            format!("rollout timeout {}", wording::duration(header.rollout_timeout.as_ref())),
        ];
        facts.push(format!("failure budget {}", header.failure_budget));
        facts.push(format!("on failure: {}", wording::on_failure(header.on_failure)));
        facts.push(format!("verification: {}", wording::verification(header.verification)));
        if header.force {
            facts.push("broken pods are deleted by force".to_owned());
        }
        facts.extend(header.approval_waves.iter().map(|it| format!("wave {it} needs an approval")));
        facts.extend(header.waits_for.iter().map(|id| format!("waits for {id}")));
        facts.extend(header.windows.iter().map(|window| format!("window {window}")));
        facts.extend(header.gates.iter().map(wording::gate::gate));
        facts.extend(
            header
                .allowed_findings
                .iter()
                .map(|it| format!("{} is allowed: {}", it.code, it.reason)),
        );
        facts.extend(header.tags.iter().flat_map(wording::tag::tags));
        for finding in &self.findings {
            facts.push(format!("{} {}: {}", finding.code, finding.object, finding.message));
        }
        for entry in &self.entries {
            let name = &entry.namespace;
            facts.push(format!("{name}: uid {}", entry.namespace_uid));
            facts.push(format!("{name}: wave {}", entry.wave));
            for change in wording::label_changes(&entry.labels_before, &entry.labels_after) {
                facts.push(format!("{name}: {change}"));
            }
            for it in &entry.workloads {
                facts.push(format!(
                    "{name}: {}/{}, {}, {} to move, {} {}",
                    it.kind,
                    it.name,
                    wording::count(it.replicas, "replica"),
                    wording::count(it.pods_to_move, "pod"),
                    wording::action(it.action),
                    it.reason
                ));
            }
            for left in &entry.leftovers {
                facts.push(format!("{name}: leaves {}", wording::leftover(left)));
            }
        }
        facts
    }
}
