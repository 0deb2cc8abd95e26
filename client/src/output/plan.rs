//! Plans for people to read before they agree.

use super::{
    findings, style,
    table::{Cell, Table},
    wording,
};
use crate::plan::Plan;
use jiff::Timestamp;
use revshift_proto::v1 as proto;

/// A plan of more namespaces is shown by its waves, unless details are asked for.
const MOST_DETAILED: usize = 20;

/// The whole plan.
pub(crate) fn render(plan: &Plan, detailed: bool, color: bool, now: Timestamp) -> String {
    let header = &plan.header;
    let count = u32::try_from(plan.entries.len()).unwrap_or(u32::MAX);
    let namespaces = wording::count(count, "namespace");
    let mut lines = vec![
        format!("plan: {namespaces} {}", wording::tag::ways(header)),
        format!("rollout timeout: {}", wording::duration(header.rollout_timeout.as_ref())),
    ];
    if !header.extends.is_empty() {
        lines.push(format!("migration {} takes them in, behind its last wave", header.extends));
    }
    lines.extend(header.tags.iter().flat_map(wording::tag::tags));
    if header.allow_downtime {
        lines.push("workloads that have only one pod may be interrupted".to_owned());
    }
    if header.force {
        let text =
            "broken pods that StatefulSets are stuck on are deleted, whatever the budgets say";
        lines.push(text.to_owned());
    }
    if !header.waits_for.is_empty() {
        lines.push(format!("waits for: {}", header.waits_for.join(", ")));
    }
    lines.extend(header.gates.iter().map(wording::gate::gate));
    lines.extend(header.windows.iter().map(|it| format!("window: {}", style::one_line(it))));
    if let Some(hold) = &header.hold {
        let hold = style::one_line(&wording::hold(hold, Some(now)));
        lines.push(format!("would wait for {hold}"));
    } else if !header.windows.is_empty() {
        lines.push("a window is open now".to_owned());
    }
    lines.extend(findings::lines(&plan.findings, &header.allowed_findings, detailed));
    if header.failure_budget > 0 {
        lines.push(format!("failed namespaces that do not pause it: {}", header.failure_budget));
    }
    let on_failure = wording::on_failure(header.on_failure);
    if !on_failure.is_empty() {
        lines.push(format!("on failure: {on_failure}"));
    }
    let verification = wording::verification(header.verification);
    if !verification.is_empty() {
        lines.push(format!("verification: {verification}"));
    }
    lines.extend(pace(header));
    if plan.entries.len() > MOST_DETAILED && !detailed {
        lines.push(String::new());
        lines.extend(waves(plan).render(true, color).lines().map(str::to_owned));
        lines.push("(-o wide shows each namespace and its workloads)".to_owned());
        return lines.join("\n") + "\n";
    }
    let mut wave = None;
    for entry in &plan.entries {
        lines.push(String::new());
        if header.waves > 1 && wave.replace(entry.wave) != Some(entry.wave) {
            let approval = header.approval_waves.contains(&entry.wave);
            let approval = if approval { ", after an approval" } else { "" };
            lines.push(format!("wave {}{approval}", entry.wave));
        }
        lines.push(entry.namespace.clone());
        let changes = wording::label_changes(&entry.labels_before, &entry.labels_after);
        if changes.is_empty() {
            lines.push("  labels stay as they are".to_owned());
        }
        lines.extend(changes.into_iter().map(|change| format!("  label {change}")));
        if !entry.label_owner.is_empty() {
            let owner = style::one_line(&entry.label_owner);
            lines.push(format!("  the label is set by {owner}, and waited for"));
        }
        if !entry.workloads.is_empty() {
            let table = workloads(&entry.workloads).render(true, color);
            lines.extend(table.lines().map(|line| format!("  {line}")));
        }
        for left in &entry.leftovers {
            lines.push(format!("  leaves {}", style::one_line(&wording::leftover(left))));
        }
    }
    lines.join("\n") + "\n"
}

/// How much may be under way at once, and how long that makes it.
fn pace(header: &proto::PlanHeader) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(it) = &header.budgets {
        lines.push(format!(
            "budgets, over all migrations: {}, {}, {} at once",
            wording::count(it.namespaces, "namespace"),
            wording::count(it.workloads, "workload"),
            wording::count(it.pods, "pod"),
        ));
        let (rate, rule) = (it.pods_per_second, style::one_line(&it.pods_per_second_rule));
        lines.push(format!("restarts begin at {} a second: {rule}", wording::count(rate, "pod")));
    }
    if let Some(it) = &header.estimate {
        let expected = wording::duration(it.expected.as_ref());
        let least = wording::duration(it.lower_bound.as_ref());
        lines.push(format!("estimated duration: {expected}, at least {least}"));
        lines.extend(it.assumptions.iter().map(|it| format!("  {}", style::one_line(it))));
    }
    lines
}

/// One row a wave.
fn waves(plan: &Plan) -> Table {
    let mut table =
        Table::new(&["WAVE", "NAMESPACES", "WORKLOADS", "PODS TO MOVE", "APPROVAL", "FIRST"]);
    for wave in 0..plan.header.waves {
        let entries = || plan.entries.iter().filter(|entry| entry.wave == wave);
        // What a migration takes in comes behind the waves that it has.
        if entries().next().is_none() {
            continue;
        }
        let workloads = || entries().flat_map(|entry| &entry.workloads);
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let moving = workloads().filter(|it| it.pods_to_move > 0).count();
        let approval = plan.header.approval_waves.contains(&wave);
        table.row(vec![
            wave.into(),
            count(entries().count()).into(),
            count(moving).into(),
            workloads().map(|it| it.pods_to_move).sum::<u32>().into(),
            Cell::new(if approval { "needed" } else { "" }),
            Cell::new(entries().next().map_or("", |entry| &entry.namespace)),
        ]);
    }
    table
}

fn workloads(workloads: &[proto::PlanWorkload]) -> Table {
    let mut table = Table::new(&["KIND", "NAME", "REPLICAS", "PODS TO MOVE", "ACTION", "WHY"]);
    for it in workloads {
        table.row(vec![
            Cell::new(&it.kind),
            Cell::new(&it.name),
            it.replicas.into(),
            it.pods_to_move.into(),
            Cell::new(wording::action(it.action)),
            Cell::new(&it.reason),
        ]);
    }
    table
}
