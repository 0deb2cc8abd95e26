//! Argo's Rollouts, which their own controller restarts.

use crate::bed::{Bed, Power, require};
use crate::cluster::{
    NEW, OLD, create, deployment, expect_injected, namespace, ready, until_injected,
};
use crate::history::History;
use crate::mesh;
use crate::session::{Session, until};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt};
use revshift_proto::v1 as proto;
use revshift_proto::v1::restart::Method;
use serde_json::{Value, json};

/// Their definition comes while the server runs, and goes again; meanwhile they are told to restart,
/// each once, and their templates stay as they are.
pub(crate) async fn a_rollout_is_restarted_by_its_own_controller(bed: &dyn Bed) -> Result<()> {
    require(bed, Power::Rollouts)?;
    let client = bed.client();
    let session = Session::start(bed).await?;
    mesh::define(&client, "argoproj.io", "v1alpha1", "Rollout", "rollouts", "Namespaced").await?;
    namespace(&client, "canary", &[("istio.io/rev", OLD)]).await?;
    let mut own = deployment("canary", "web", 3);
    own["spec"]["strategy"] = json!({ "canary": { "maxUnavailable": 1 } });
    rollout(&client, own).await?;
    // The template of this one is a Deployment's that has no pods of its own.
    create::<Deployment>(&client, deployment("canary", "lender", 0)).await?;
    let mut borrower = deployment("canary", "borrower", 2);
    borrower["spec"]["selector"] = json!({ "matchLabels": { "app": "lender" } });
    borrower["spec"]["template"].take();
    borrower["spec"]["workloadRef"] =
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "lender" });
    rollout(&client, borrower).await?;
    ready(bed, "canary", 5).await?;
    let history = History::of(bed, "canary").await?;

    let migrate = ["migrate", "--from", OLD, "--to", NEW, "-n", "canary", "--dry-run"];
    until(bed, "the plan shows both", async || {
        let plan = session.done(&migrate).await?;
        ensure!(plan.matches("RESTART").count() == 2, "{plan}");
        Ok(())
    })
    .await?;
    let id = session.detach(&["canary"], &[]).await?;
    session.until_state(&id, "SUCCEEDED").await?;
    history.replaced_once(bed).await?;
    expect_injected(&client, "canary", &[(NEW, 5)]).await?;
    let m = session.a_move(&id, "canary").await?;
    let methods: Vec<Method> = m.restarts.iter().map(proto::Restart::method).collect();
    ensure!(methods == [Method::Restart; 2] && m.leftovers.is_empty(), "{m:?}");
    for name in ["web", "borrower"] {
        let found = rollouts(&client).get(name).await?;
        let restart = found.annotations().get("revshift.dev/restart");
        ensure!(restart == Some(&format!("{id}.1")), "{found:?}");
        let asked = found.data["spec"]["restartAt"].as_str().context("it was not told")?;
        ensure!(found.data["status"]["restartedAt"] == asked, "{found:?}");
        let template = &found.data["spec"]["template"]["metadata"]["annotations"];
        ensure!(template.is_null(), "{found:?}");
    }

    session.done(&["rollback", &id, "--reason", "to see it", "--yes"]).await?;
    until_injected(bed, "canary", OLD, 5).await?;
    // With their definition all of them go; nothing has to be started anew.
    mesh::delete::<CustomResourceDefinition>(&client, "rollouts.argoproj.io").await?;
    ready(bed, "canary", 0).await?;
    session.migrate(&["canary"]).await?;
    session.end_with(&["canary"]).await
}

/// A Rollout with one pod would be interrupted, and its owner has to agree.
pub(crate) async fn the_only_pod_of_a_rollout_goes_only_when_told(bed: &dyn Bed) -> Result<()> {
    require(bed, Power::Rollouts)?;
    let client = bed.client();
    mesh::define(&client, "argoproj.io", "v1alpha1", "Rollout", "rollouts", "Namespaced").await?;
    namespace(&client, "canary", &[("istio.io/rev", OLD)]).await?;
    let session = Session::start(bed).await?;
    until(bed, "Rollouts are served", async || {
        let mut web = deployment("canary", "web", 1);
        web["spec"]["strategy"] = json!({ "canary": {} });
        rollout(&client, web).await
    })
    .await?;
    ready(bed, "canary", 1).await?;
    let migrate = ["migrate", "--from", OLD, "--to", NEW, "-n", "canary", "--dry-run"];
    until(bed, "the plan is refused", async || {
        session.refused(&migrate, 1, &["RS1107 Rollout/canary/web", "--allow-downtime"]).await
    })
    .await?;
    let id = session.detach(&["canary"], &["--allow-downtime"]).await?;
    session.until_state(&id, "SUCCEEDED").await?;
    expect_injected(&client, "canary", &[(NEW, 1)]).await?;
    session.end_with(&["canary"]).await
}

fn rollouts(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Rollout");
    let resource = ApiResource::from_gvk_with_plural(&kind, "rollouts");
    Api::namespaced_with(client.clone(), "canary", &resource)
}

/// Makes a Rollout of what is else a Deployment.
async fn rollout(client: &Client, mut like: Value) -> Result<()> {
    like["apiVersion"] = json!("argoproj.io/v1alpha1");
    like["kind"] = json!("Rollout");
    let object: DynamicObject = serde_json::from_value(like)?;
    rollouts(client).create(&PostParams::default(), &object).await?;
    Ok(())
}
