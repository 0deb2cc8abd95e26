//! `revshift explain`: why each pod of a namespace is on its plane, and what other labels would make of it.

use std::collections::BTreeSet;

use revshift_proto::v1::{self as proto, plan_workload::Action};
use tonic::Response;

use crate::{
    ExitStatus,
    args::Format,
    connect,
    context::Context,
    failure::Failure,
    output::{
        style::{self, Tone},
        table::{Cell, Table},
        wording,
    },
};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The namespace
    namespace: String,
    /// Also show what would happen if it were labelled with this control plane: a revision, a Calisti control
    /// plane's name, or a tag
    #[arg(long, value_name = "REV")]
    to: Option<String>,
}

impl Args {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Result<ExitStatus, Failure> {
        let target = self.to.unwrap_or_default();
        let request = proto::ExplainNamespaceRequest { namespace: self.namespace, target };
        let answer = context
            .servers
            .call(async |channel| {
                let mut client = connect::namespaces(channel);
                client.explain_namespace(request.clone()).await.map(Response::into_inner)
            })
            .await?;
        match context.format {
            Format::Json | Format::Yaml => context.document(&answer)?,
            Format::Name => {
                let astray = answer.pods.iter().filter(|pod| pod.astray);
                context.names(astray.map(|pod| pod.name.as_str()))?;
            }
            Format::Table => show(context, &answer, false)?,
            Format::Wide => show(context, &answer, true)?,
        }
        Ok(ExitStatus::Done)
    }
}

fn show(
    context: &mut Context<'_>,
    answer: &proto::ExplainNamespaceResponse,
    wide: bool,
) -> Result<(), Failure> {
    let head: String = head(answer).into_iter().map(|line| line + "\n").collect();
    context.print(&head)?;
    if !answer.workloads.is_empty() {
        context.print("\n")?;
        context.table(&workloads(&answer.workloads))?;
    }
    let told: Vec<_> = answer.pods.iter().filter(|pod| wide || pod.why.is_some()).collect();
    if !told.is_empty() {
        context.print("\n")?;
        context.table(&pods(&told))?;
        let unknown: BTreeSet<&str> =
            told.iter().map(|it| it.connection_unknown.as_str()).collect();
        for why in unknown.into_iter().filter(|why| !why.is_empty()) {
            context.print(&format!("who is connected is not known: {}\n", style::one_line(why)))?;
        }
    }
    if let Some(target) = &answer.target {
        foresee(context, answer, target)?;
    }
    Ok(())
}

/// What holds for the namespace as a whole, one fact a line.
fn head(answer: &proto::ExplainNamespaceResponse) -> Vec<String> {
    let namespace = answer.namespace.clone().unwrap_or_default();
    let or =
        |text: &str, none: &str| if text.is_empty() { none.to_owned() } else { text.to_owned() };
    let (state, _) = wording::namespace_state(namespace.state);
    let tag =
        if namespace.tag.is_empty() { String::new() } else { format!(" (tag {})", namespace.tag) };
    let facts = [
        ("Namespace", namespace.name.clone()),
        ("Label", or(&namespace.label, "no label decides on injection")),
        ("Plane", or(&namespace.resolved_plane, "none") + &tag),
        ("State", state),
        ("Migration", namespace.migration.clone()),
        ("Pods", format!("{}, {} not where they should be", answer.pods_total, answer.pods_astray)),
    ];
    let facts = facts.into_iter().filter(|(_, value)| !value.is_empty());
    facts
        .map(|(name, value)| format!("{:<17}{}", format!("{name}:"), style::one_line(&value)))
        .collect()
}

fn workloads(workloads: &[proto::ExplainedWorkload]) -> Table {
    let mut table = Table::new(&["KIND", "NAME", "WANTED", "INJECTED", "ASTRAY", "REASON", "WHY"]);
    for it in workloads {
        let (reason, why) = told(it.why.as_ref());
        table.row(vec![
            Cell::new(&it.kind),
            Cell::new(&it.name),
            Cell::new(plane(&it.wanted_plane)),
            Cell::new(super::namespaces::injected(&it.injected)),
            it.pods_astray.into(),
            Cell::new(reason).tone(tone(it.pods_astray > 0)),
            Cell::new(why),
        ]);
    }
    table
}

fn pods(pods: &[&proto::ExplainedPod]) -> Table {
    let mut table =
        Table::new(&["POD", "CONTROLLER", "WANTED", "INJECTED", "CONNECTED", "REASON", "WHY"]);
    for it in pods {
        let (reason, why) = told(it.why.as_ref());
        table.row(vec![
            Cell::new(&it.name),
            Cell::new(&it.controller),
            Cell::new(plane(&it.wanted_plane)),
            Cell::new(plane(&it.injected_plane)),
            Cell::new(connected(it)),
            Cell::new(reason).tone(tone(it.astray)),
            Cell::new(why),
        ]);
    }
    table
}

/// The plane that a pod's sidecar is connected to; a pod without one connects to none.
fn connected(pod: &proto::ExplainedPod) -> String {
    if !pod.connection_unknown.is_empty() {
        return "unknown".to_owned();
    }
    let unconnected = pod.connected_plane.is_empty() && !pod.injected_plane.is_empty();
    if unconnected { "none".to_owned() } else { plane(&pod.connected_plane).to_owned() }
}

/// What would become of each workload, and which webhooks would be called for the pods of which.
fn foresee(
    context: &mut Context<'_>,
    answer: &proto::ExplainNamespaceResponse,
    target: &proto::ExplainTarget,
) -> Result<(), Failure> {
    let before = answer.namespace.as_ref().map(|it| it.label.clone()).unwrap_or_default();
    let before = if before.is_empty() { "(not set)" } else { &before };
    let after = target.labels_after.iter().map(|(key, value)| format!("{key}={value}"));
    let after: Vec<_> = after.collect();
    let to = wording::tag::plane(&target.revision, &target.tag);
    context.print(&format!("\nto {to}: label {before} becomes {}\n\n", after.join(",")))?;
    let known = || answer.workloads.iter().filter_map(|it| Some((it, it.after.as_ref()?)));
    let mut table = Table::new(&["KIND", "NAME", "NOW", "AFTER", "ACTION", "WHY"]);
    for (it, after) in known() {
        let action = match after.action() {
            Action::Unspecified => "REFUSED".to_owned(),
            _ => wording::action(after.action),
        };
        table.row(vec![
            Cell::new(&it.kind),
            Cell::new(&it.name),
            Cell::new(&it.wanted),
            Cell::new(&after.wanted),
            Cell::new(action),
            Cell::new([after.code.as_str(), &after.reason].join(" ").trim()),
        ]);
    }
    context.table(&table)?;
    // Most workloads are selected by the same webhooks.
    let mut groups: Vec<(&[proto::ExplainedWebhook], Vec<String>)> = Vec::new();
    for (it, after) in known() {
        let name = format!("{}/{}", it.kind, it.name);
        match groups.iter_mut().find(|(webhooks, _)| *webhooks == after.webhooks) {
            Some((_, names)) => names.push(name),
            None => groups.push((&after.webhooks, vec![name])),
        }
    }
    for (webhooks, names) in groups {
        context.print(&format!("\nwebhooks for pods of {}\n", names.join(", ")))?;
        context.table(&self::webhooks(webhooks))?;
    }
    Ok(())
}

fn webhooks(webhooks: &[proto::ExplainedWebhook]) -> Table {
    let mut table = Table::new(&[
        "CONFIGURATION",
        "WEBHOOK",
        "REVISION",
        "TAG",
        "NAMESPACE NOW",
        "NAMESPACE AFTER",
        "POD",
        "CALLED NOW",
        "CALLED AFTER",
    ]);
    let word = |yes: bool| Cell::new(if yes { "yes" } else { "no" });
    for it in webhooks {
        table.row(vec![
            Cell::new(&it.configuration),
            Cell::new(&it.name),
            Cell::new(&it.revision),
            Cell::new(&it.tag),
            word(it.namespace_now),
            word(it.namespace_after),
            word(it.object),
            word(it.namespace_now && it.object),
            word(it.namespace_after && it.object),
        ]);
    }
    table
}

fn told(why: Option<&proto::Explained>) -> (String, String) {
    let Some(why) = why else {
        return (String::new(), String::new());
    };
    let message = [why.code.as_str(), &why.message].join(" ");
    (wording::explained(why.reason), message.trim().to_owned())
}

fn plane(revision: &str) -> &str {
    if revision.is_empty() { "-" } else { revision }
}

fn tone(astray: bool) -> Tone {
    if astray { Tone::Warn } else { Tone::Plain }
}
