//! `revshift explain`: why pods are where they are, and what another label would make of a namespace.

mod injectors;
mod kept;

pub(crate) use injectors::the_webhooks_of_the_day_are_told;
pub(crate) use kept::what_keeps_a_pod_where_it_is_is_told;

use crate::bed::Bed;
use crate::cluster::{
    NEW, OLD, create, deployment, edit, namespace, pod_template, ready, set_label, stateful_set,
    until_injecting, with_pod_label,
};
use crate::session::{Session, until};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

/// Each reason that labels, templates and controllers give, and that a namespace is looked at live.
pub(crate) async fn a_namespace_is_explained_pod_by_pod(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    namespace(&client, "why", &[("istio.io/rev", OLD)]).await?;
    create::<Deployment>(&client, deployment("why", "web", 2)).await?;
    let out = with_pod_label(deployment("why", "out", 1), "sidecar.istio.io/inject", "false");
    create::<Deployment>(&client, out).await?;
    create::<Deployment>(&client, deployment("why", "held", 2)).await?;
    create::<Deployment>(&client, deployment("why", "idle", 0)).await?;
    let mut spared = deployment("why", "spared", 1);
    spared["metadata"]["annotations"] = json!({ "revshift.dev/skip": "true" });
    create::<Deployment>(&client, spared).await?;
    let mut on_delete = stateful_set("why", "on-delete", 1);
    on_delete["spec"]["updateStrategy"] = json!({ "type": "OnDelete" });
    create::<StatefulSet>(&client, on_delete).await?;
    let mut bare = pod_template("bare");
    bare["metadata"]["name"] = json!("bare");
    bare["metadata"]["namespace"] = json!("why");
    create::<Pod>(&client, bare).await?;
    ready(bed, "why", 8).await?;
    edit::<Deployment>(&client, "why", "held", json!({ "spec": { "paused": true } })).await?;

    let session = Session::start(bed).await?;
    foreseen(&session).await?;
    session.refused(&["explain", "nowhere"], 1, &["no namespace `nowhere`"]).await?;
    session.refused(&["explain", "why", "--to", "nobody"], 1, &["no control plane"]).await?;

    set_label(&client, "why", "istio.io/rev", Some(NEW)).await?;
    until_injecting(bed, "why", NEW).await?;
    for (name, expected) in [
        ("web", "REASON_NOT_RESTARTED"),
        ("out", "REASON_EXCLUDED"),
        ("held", "REASON_PAUSED"),
        ("idle", "REASON_SCALED_TO_ZERO"),
        ("spared", "REASON_SKIPPED"),
        ("on-delete", "REASON_ON_DELETE"),
    ] {
        until_reason(&session, "why", "workloads", name, expected).await?;
    }
    until_reason(&session, "why", "pods", "bare", "REASON_BARE_POD").await?;
    let shown = session.done(&["explain", "why"]).await?;
    for words in ["PENDING_RESTART", NEW, OLD, "NOT_RESTARTED", "8, 7 not where they should be"] {
        ensure!(shown.contains(words), "it does not say `{words}`:\n{shown}");
    }
    ensure!(session.done(&["explain", "why", "-o", "name"]).await?.lines().count() == 7);

    set_label(&client, "why", "istio.io/rev", Some("gone")).await?;
    until_reason(&session, "why", "workloads", "web", "REASON_DANGLING").await?;
    session.end_with(&["why"]).await
}

/// What would happen, webhook by webhook.
async fn foreseen(session: &Session<'_>) -> Result<()> {
    until(session.bed, "all of it is foreseen", async || {
        let answer = explained(session, "why", &["--to", "cp-v115x"]).await?;
        for (name, action) in [
            ("web", "ACTION_ROLL"),
            ("held", "ACTION_EVICT"),
            ("out", "ACTION_NONE"),
            ("idle", "ACTION_NONE"),
        ] {
            let after = &found(&answer, "workloads", name)?["after"];
            ensure!(after["action"] == action, "{name}: {after}");
        }
        let web = &found(&answer, "workloads", "web")?["after"];
        ensure!(web["wantedPlane"] == NEW, "{web}");
        let webhooks = web["webhooks"].as_array().context("no webhooks")?;
        let called = |now: &str| {
            let called = webhooks.iter().filter(|it| it[now] == true && it["object"] == true);
            called.filter_map(|it| it["revision"].as_str()).collect::<Vec<_>>()
        };
        ensure!(called("namespaceNow") == [OLD], "{web}");
        ensure!(called("namespaceAfter") == [NEW], "{web}");
        // Its only pod would have to be evicted.
        let alone = &found(&answer, "workloads", "on-delete")?["after"];
        ensure!(alone["code"] == "RS1107", "{alone}");
        Ok(())
    })
    .await?;
    let shown = session.done(&["explain", "why", "--to", NEW]).await?;
    for words in ["ROLL", "CALLED AFTER", "rev.namespace.sidecar-injector.istio.io", "REFUSED"] {
        ensure!(shown.contains(words), "it does not say `{words}`:\n{shown}");
    }
    Ok(())
}

/// Waits until a workload or a pod of a namespace is told to be where it is for a reason.
async fn until_reason(
    session: &Session<'_>,
    namespace: &str,
    list: &str,
    name: &str,
    reason: &str,
) -> Result<Value> {
    until(session.bed, format!("{name} is told to be {reason}"), async || {
        let answer = explained(session, namespace, &[]).await?;
        let told = found(&answer, list, name)?;
        ensure!(told["why"]["reason"] == reason, "{told}");
        ensure!(told["why"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{told}");
        Ok(told.clone())
    })
    .await
}

async fn explained(session: &Session<'_>, namespace: &str, more: &[&str]) -> Result<Value> {
    let args = [&["explain", namespace, "-o", "json"][..], more].concat();
    Ok(serde_json::from_str(&session.done(&args).await?)?)
}

fn found<'a>(answer: &'a Value, list: &str, name: &str) -> Result<&'a Value> {
    let mut items = answer[list].as_array().context("an empty list")?.iter();
    items.find(|it| it["name"] == name).with_context(|| format!("no {name}: {answer}"))
}
