//! What a check finds, and what becomes of a migration then.

mod configuration;
mod planes;
mod told;
mod trials;

pub(super) use configuration::configuration_is_read_as_the_target_would;
pub(super) use planes::what_is_wrong_with_planes_is_told;
pub(super) use trials::the_injector_is_asked_about_every_template;

use crate::bed::Bed;
use crate::cluster::{
    NEW, OLD, application, create, daemon_set, deployment, expect_label, with_pod_label,
};
use crate::mesh;
use crate::session::Session;
use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Client;
use kube::api::Api;
use serde_json::{Value, json};
use told::until_told;

/// Workloads at risk, Istio's resources, both planes: everything is told, nothing is touched.
pub(crate) async fn a_check_tells_what_is_at_risk_and_touches_nothing(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    application(bed, "risky").await?;
    create::<Deployment>(&client, deployment("risky", "alone", 1)).await?;
    let mut at_once = deployment("risky", "at-once", 2);
    at_once["spec"]["strategy"] = json!({ "type": "Recreate" });
    create::<Deployment>(&client, at_once).await?;
    let opted = with_pod_label(deployment("risky", "opted", 1), "sidecar.istio.io/inject", "false");
    create::<Deployment>(&client, opted).await?;
    let pinned = with_pod_label(deployment("risky", "pinned", 1), "istio.io/rev", OLD);
    create::<Deployment>(&client, pinned).await?;
    let mut host = daemon_set("risky", "host");
    host["spec"]["template"]["spec"]["hostNetwork"] = json!(true);
    create::<DaemonSet>(&client, host).await?;
    let budget = json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": { "name": "all", "namespace": "risky" },
        "spec": { "minAvailable": "100%", "selector": { "matchLabels": { "app": "web" } } },
    });
    create::<PodDisruptionBudget>(&client, budget).await?;
    configure(&client).await?;
    let namespaces = Api::<Namespace>::all(client.clone());
    let before = namespaces.get("risky").await?.metadata.resource_version;
    let session = Session::start(bed).await?;
    let args = ["check", "--from", OLD, "--to", NEW, "-n", "risky"];
    let expected = [
        ("RS1110", "DaemonSet/risky/host", "INFO"),
        ("RS1111", "Deployment/risky/pinned", "INFO"),
        ("RS1112", "Deployment/risky/opted", "INFO"),
        ("RS1113", "Deployment/risky/alone", "INFO"),
        ("RS1114", "Deployment/risky/at-once", "WARNING"),
        ("RS1116", "Deployment/risky/web", "WARNING"),
        ("RS1123", "Deployment/risky/web", "INFO"),
        ("RS2014", &format!("ControlPlane/{NEW}"), "WARNING"),
        ("RS5004", "EnvoyFilter/risky/tied", "WARNING"),
        ("RS5008", "VirtualService/risky/astray", "WARNING"),
    ];
    let found = until_told(&session, &args, &expected).await?;
    let untold = ["RS2028", "RS4006", "RS5009"];
    let unread = found.iter().find(|it| untold.iter().any(|code| it["code"] == *code));
    ensure!(unread.is_none(), "{unread:?}");
    let text = session.done(&args).await?;
    for words in [
        "check: 1 namespace from cp-v113x.istio-system to cp-v115x.istio-system",
        "WARNING RS1114 Deployment/risky/at-once: its strategy is Recreate",
        "it names the host nowhere, which no Service and no ServiceEntry of this cluster offers",
        "it names the gateway risky/missing, which does not exist",
        "0 errors, ",
    ] {
        ensure!(text.contains(words), "no {words:?} in\n{text}");
    }
    // What could not be moved at all is an error among others.
    let both = [&args[..], &["-n", "risky-absent"]].concat();
    let output = session.run(&both).await?;
    ensure!(output.status == 1, "it ended with {}\n{}", output.status, output.stdout);
    ensure!(output.stdout.contains("ERROR RS1001 Namespace/risky-absent"), "{}", output.stdout);
    ensure!(output.stdout.contains("RS1114"), "{}", output.stdout);
    expect_label(&client, "risky", OLD).await?;
    let after = namespaces.get("risky").await?.metadata.resource_version;
    ensure!(before == after, "the check has written to the namespace");
    session.end_with(&["risky"]).await
}

/// Planes of different trust domains stop a migration, unless somebody takes that upon himself.
pub(crate) async fn an_error_stops_a_migration_until_it_is_allowed(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    application(bed, "stopped").await?;
    let session = Session::start(bed).await?;
    let elsewhere = json!({ "trustDomain": "elsewhere.example" });
    mesh::set_calisti_mesh(&client, "cp-v115x", elsewhere).await?;
    let told = stopped(&session, &client).await;
    mesh::set_calisti_mesh(&client, "cp-v115x", Value::Null).await?;
    told?;
    session.end_with(&["stopped"]).await
}

/// What happens while the target has another trust domain.
async fn stopped(session: &Session<'_>, client: &Client) -> Result<()> {
    let before = session.count_migrations().await?;
    let args = ["migrate", "--from", OLD, "--to", NEW, "-n", "stopped", "--yes"];
    let words = [
        "ERROR RS2022 ControlPlane/cp-v115x.istio-system: its trust domain is `elsewhere.example`",
        "error: the check forbids it",
        "--allow CODE=REASON",
    ];
    session.refused(&args, 1, &words).await?;
    expect_label(client, "stopped", OLD).await?;
    ensure!(session.count_migrations().await? == before, "a migration was stored");
    session.refused(&[&args[..], &["--allow", "RS2022"]].concat(), 2, &["CODE=REASON"]).await?;
    let nonsense = [&args[..], &["--allow", "RS9999=so"]].concat();
    session.refused(&nonsense, 1, &["`RS9999` is no code of a finding"]).await?;
    let id = session.detach(&["stopped"], &["--allow", "RS2022=the domains are aliases"]).await?;
    session.until_state(&id, "SUCCEEDED").await?;
    expect_label(client, "stopped", NEW).await?;
    let stored: Value = serde_json::from_str(&session.done(&["status", &id, "-o", "json"]).await?)?;
    let allowed = &stored["migration"]["allowedFindings"][0];
    ensure!(
        allowed["code"] == "RS2022" && allowed["reason"] == "the domains are aliases",
        "{stored}"
    );
    Ok(())
}

/// Istio's resources in the namespace, of each group one kind at least.
async fn configure(client: &Client) -> Result<()> {
    for (group, version, kind, plural) in [
        ("networking.istio.io", "v1", "VirtualService", "virtualservices"),
        ("networking.istio.io", "v1alpha3", "EnvoyFilter", "envoyfilters"),
        ("networking.istio.io", "v1", "ServiceEntry", "serviceentries"),
        ("security.istio.io", "v1", "PeerAuthentication", "peerauthentications"),
        ("telemetry.istio.io", "v1", "Telemetry", "telemetries"),
        ("extensions.istio.io", "v1alpha1", "WasmPlugin", "wasmplugins"),
    ] {
        mesh::define_unless_there(client, group, version, kind, plural).await?;
    }
    let routes = json!({
        "hosts": ["astray.example"],
        "gateways": ["missing"],
        "http": [{ "route": [{ "destination": { "host": "nowhere" } }] }],
    });
    let tied = json!({ "configPatches": [{
        "applyTo": "CLUSTER",
        "match": { "context": "SIDECAR_OUTBOUND", "proxy": { "proxyVersion": "^1\\.13.*" } },
        "patch": { "operation": "MERGE", "value": { "connect_timeout": "3s" } },
    }] });
    for (kind, name, spec) in [
        (("v1", "VirtualService", "virtualservices"), "astray", routes),
        (("v1alpha3", "EnvoyFilter", "envoyfilters"), "tied", tied),
    ] {
        mesh::create_networking(client, "risky", kind, name, spec, json!({})).await?;
    }
    Ok(())
}
