//! What is wrong with planes, between them and with who leads to them: on planes that are made of objects.

use super::told::until_told;
use crate::bed::{Bed, Power, require};
use crate::cluster::{create, deployment, full_autoscaler, namespace, ready};
use crate::mesh;
use crate::operator::PaperPlane;
use crate::session::Session;
use anyhow::Result;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;

const SOURCE: &str = "ControlPlane/cp-f1x.istio-system";
const TARGET: &str = "ControlPlane/cp-f2x.istio-system";
const SHOP: &str = "Namespace/paper";

/// Each is told of its object once its cause is there.
pub(crate) async fn what_is_wrong_with_planes_is_told(bed: &dyn Bed) -> Result<()> {
    require(bed, Power::PlaneStatus)?;
    let client = bed.client();
    namespace(&client, "paper-home", &[]).await?;
    let old = PaperPlane::create(&client, "cp-f1x", "paper-home").await?;
    let new = PaperPlane::create(&client, "cp-f2x", "paper-home").await?;
    namespace(&client, "paper", &[("istio.io/rev", &old.revision)]).await?;
    create::<Deployment>(&client, deployment("paper", "web", 1)).await?;
    ready(bed, "paper", 1).await?;
    full_autoscaler(&client, "istio-system", "istiod-cp-f2x", 1).await?;
    let session = Session::start(bed).await?;
    let told = told(&session, &client, &old, &new).await;
    let autoscalers = Api::<HorizontalPodAutoscaler>::namespaced(client.clone(), "istio-system");
    autoscalers.delete("istiod-cp-f2x", &DeleteParams::default()).await?;
    old.remove().await?;
    new.remove().await?;
    told?;
    session.end_with(&["paper", "paper-home"]).await
}

async fn told(
    session: &Session<'_>,
    client: &Client,
    old: &PaperPlane,
    new: &PaperPlane,
) -> Result<()> {
    let args = ["check", "--from", &old.revision, "--to", &new.revision, "-n", "paper"];
    let hook = "MutatingWebhookConfiguration/istio-sidecar-injector-cp-f2x-istio-system";
    // Nobody stands behind a plane of paper.
    let as_they_are = [
        ("RS2007", TARGET, "WARNING"),
        ("RS2009", hook, "ERROR"),
        ("RS2010", hook, "ERROR"),
        ("RS2021", SOURCE, "WARNING"),
        ("RS2021", TARGET, "WARNING"),
        ("RS2028", TARGET, "WARNING"),
    ];
    until_told(session, &args, &as_they_are).await?;

    let at_odds = json!({
        "version": "1.16.0", "meshID": "mesh-f2", "networkName": "network-f2",
        "meshConfig": {
            "trustDomain": "f2.example", "accessLogFile": "/dev/stderr",
            "discoverySelectors": [{ "matchLabels": { "seen": "by-f2" } }],
        },
    });
    mesh::specify_calisti(client, "cp-f2x", at_odds).await?;
    let own = json!({ "meshID": "mesh-f1", "meshConfig": { "trustDomain": "f1.example" } });
    mesh::specify_calisti(client, "cp-f1x", own).await?;
    for (name, root, cluster) in [("cp-f1x", "root f1", "one"), ("cp-f2x", "root f2", "two")] {
        let status =
            json!({ "caRootCertificate": root, "clusterID": cluster, "injectionNamespaces": [] });
        mesh::report_calisti(client, name, status).await?;
    }
    mesh::set_calisti_status(client, "cp-f2x", "Reconciling", "").await?;
    let istiods = Api::<Deployment>::namespaced(client.clone(), "istio-system");
    let more = json!({ "spec": {
        "strategy": { "type": "Recreate", "rollingUpdate": null },
        "template": { "metadata": { "labels": { crate::cluster::FAILS: "never-ready" } } },
    } });
    istiods.patch("istiod-cp-f2x", &PatchParams::default(), &Patch::Merge(&more)).await?;
    let at_odds = [
        ("RS1013", SHOP, "ERROR"),
        ("RS2001", TARGET, "ERROR"),
        ("RS2005", SOURCE, "WARNING"),
        ("RS2006", TARGET, "WARNING"),
        ("RS2008", TARGET, "WARNING"),
        ("RS2013", TARGET, "ERROR"),
        ("RS2020", TARGET, "ERROR"),
        ("RS2022", TARGET, "ERROR"),
        ("RS2023", TARGET, "ERROR"),
        ("RS2024", TARGET, "ERROR"),
        ("RS2025", TARGET, "ERROR"),
        ("RS2026", TARGET, "WARNING"),
    ];
    until_told(session, &args, &at_odds).await?;

    mesh::specify_calisti(client, "cp-f2x", json!({ "version": "1.12.0" })).await?;
    until_told(session, &args, &[("RS2015", TARGET, "WARNING")]).await?;
    mesh::specify_calisti(client, "cp-f2x", json!({ "version": "1.x" })).await?;
    until_told(session, &args, &[("RS2012", TARGET, "WARNING")]).await?;

    // Others who want the namespace's pods, now and after.
    for (name, of) in [("paper-greedy-old", &old.revision), ("paper-greedy-new", &new.revision)] {
        mesh::create_injector(client, ("istio-system", name), "paper-greedy", of, &[]).await?;
    }
    let several = [("RS1011", SHOP, "WARNING"), ("RS2003", SHOP, "ERROR")];
    let found = until_told(session, &args, &several).await;
    for name in ["paper-greedy-old", "paper-greedy-new"] {
        mesh::delete::<MutatingWebhookConfiguration>(client, name).await?;
    }
    found?;
    for name in ["cp-f1x", "cp-f2x"] {
        let name = format!("istio-sidecar-injector-{name}-istio-system");
        mesh::delete::<MutatingWebhookConfiguration>(client, &name).await?;
    }
    let none = [("RS1010", SHOP, "WARNING"), ("RS2011", TARGET, "ERROR")];
    until_told(session, &args, &none).await.map(|_| ())
}
