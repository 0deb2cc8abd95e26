//! Namespaces that are kept in a repository: their labels are waited for, never written.

use crate::api::MoveState;
use crate::bed::Bed;
use crate::cluster::{
    NEW, OLD, application, expect_label, held_application, set_label, set_label_as, until_injected,
};
use crate::history::History;
use crate::mesh;
use crate::session::{Session, until};
use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use std::io::Write;

/// The field manager of Argo CD.
const ARGO: &str = "argocd-controller";
const REVISION: &str = "istio.io/rev";

/// The plan names who keeps the label; the others of the wave move; the label appears, goes back by a
/// rollback, and is written by its keeper each time.
pub(crate) async fn a_label_kept_by_gitops_is_waited_for(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    for name in ["kept-a", "kept-b", "kept-c"] {
        application(bed, name).await?;
    }
    adopt(&client, "kept-a").await?;
    // Helm is known by its annotations, whoever set the label last.
    let release = json!({ "metadata": { "annotations": { "meta.helm.sh/release-name": "c" } } });
    let namespaces = Api::<Namespace>::all(client.clone());
    namespaces.patch("kept-c", &PatchParams::default(), &Patch::Merge(&release)).await?;
    let history = History::of(bed, "kept-a").await?;
    let session = Session::start(bed).await?;
    let mut file = tempfile::NamedTempFile::new()?;
    writeln!(file, "source: {OLD}\ntarget: {NEW}\nwaves:")?;
    writeln!(file, "- namespaces: [kept-a, kept-b, kept-c]")?;
    let path = file.path().display().to_string();
    let migrate = ["migrate", "-f", &path];
    until(bed, "the plan names who keeps the labels", async || {
        let plan = session.done(&[&migrate[..], &["--dry-run"]].concat()).await?;
        for words in ["RS1007 Namespace/kept-a", "Argo CD", ARGO, "RS1007 Namespace/kept-c", "Helm"]
        {
            ensure!(plan.contains(words), "no {words} in {plan}");
        }
        ensure!(!plan.contains("RS1007 Namespace/kept-b"), "{plan}");
        Ok(())
    })
    .await?;
    let id = session.done(&[&migrate[..], &["--yes", "--detach"]].concat()).await?;
    let id = id.trim();
    session.until_move(id, "kept-b", MoveState::Moved).await?;
    let m = session.until_move(id, "kept-a", MoveState::AwaitingLabel).await?;
    ensure!(m.label_owner.contains("Argo CD") && m.attempt == 1, "{m:?}");
    session.until_move(id, "kept-c", MoveState::AwaitingLabel).await?;
    let migration = session.migration(id).await?;
    ensure!(migration.waiting_for == ["Namespace/kept-a", "Namespace/kept-c"], "{migration:?}");
    ensure!(migration.message.contains("Argo CD"), "{migration:?}");
    ensure!(migration.counts.is_some_and(|counts| counts.awaiting == 2), "{migration:?}");
    untouched(&client, "kept-a").await?;
    history.untouched(bed).await?;
    session.done(&["skip", id, "-n", "kept-c", "--yes"]).await?;
    session.until_move(id, "kept-c", MoveState::Skipped).await?;

    set_label_as(&client, ARGO, "kept-a", REVISION, Some(NEW)).await?;
    session.until_state(id, "COMPLETED_WITH_EXCEPTIONS").await?;
    session.until_move(id, "kept-a", MoveState::Moved).await?;
    history.replaced_once(bed).await?;
    until_injected(bed, "kept-a", NEW, 2).await?;
    untouched(&client, "kept-a").await?;

    let back = ["rollback", id, "-n", "kept-a", "--reason", "to see", "--yes", "--detach"];
    let back = session.done(&back).await?;
    let back = back.trim();
    session.until_move(back, "kept-a", MoveState::AwaitingLabel).await?;
    expect_label(&client, "kept-a", NEW).await?;
    set_label_as(&client, ARGO, "kept-a", REVISION, Some(OLD)).await?;
    session.until_state(back, "SUCCEEDED").await?;
    until_injected(bed, "kept-a", OLD, 2).await?;
    untouched(&client, "kept-a").await?;
    expect_label(&client, "kept-c", OLD).await?;
    // The account of it names what became of each, who decided, and the way back.
    let report = session.done(&["report", id]).await?;
    for word in ["Deployment/web", "ROLL", "SKIPPED", "skip kept-c: ", back] {
        ensure!(report.contains(word), "no {word} in {report}");
    }
    let report = session.done(&["report", id, "-o", "json"]).await?;
    let report: serde_json::Value = serde_json::from_str(&report)?;
    ensure!(report["rollbacks"][0]["migration"]["id"] == back, "{report}");
    session.end_with(&["kept-a", "kept-b", "kept-c"]).await
}

/// A repository that was not changed puts the old label back: it is named, and left to it.
pub(crate) async fn a_label_that_gitops_puts_back_is_drift(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    held_application(bed, "put-back").await?;
    adopt(&client, "put-back").await?;
    let session = Session::start(bed).await?;
    let id = session.detach(&["put-back"], &[]).await?;
    session.until_move(&id, "put-back", MoveState::AwaitingLabel).await?;
    // Whoever sets the label, it is there: by hand, for example.
    set_label(&client, "put-back", REVISION, Some(NEW)).await?;
    session.until_move(&id, "put-back", MoveState::Restarting).await?;
    set_label_as(&client, ARGO, "put-back", REVISION, Some(OLD)).await?;
    let problem = session.until_problem(&id, "put-back", MoveState::Blocked, "RS4001").await?;
    ensure!(problem.manager == ARGO, "{problem:?}");
    untouched(&client, "put-back").await?;
    session.done(&["cancel", &id, "--yes"]).await?;
    session.until_state(&id, "CANCELLED").await?;
    // What is asked for again waits again, and nothing has to be finished to give it up.
    let again = session.detach(&["put-back"], &[]).await?;
    session.until_move(&again, "put-back", MoveState::AwaitingLabel).await?;
    session.done(&["cancel", &again, "--yes"]).await?;
    session.until_state(&again, "CANCELLED").await?;
    session.until_move(&again, "put-back", MoveState::Cancelled).await?;
    session.end_with(&["put-back"]).await
}

/// The labels of a plane's namespaces follow those of another cluster: that one is named.
pub(crate) async fn what_another_cluster_decides_on_is_refused(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    application(bed, "followed").await?;
    let (group, version) = ("servicemesh.cisco.com", "v1alpha1");
    let (kind, plural) = ("PeerIstioControlPlane", "peeristiocontrolplanes");
    mesh::define(&client, group, version, kind, plural, "Namespaced").await?;
    let plane = json!({ "version": "1.15.3", "mode": "ACTIVE" });
    mesh::create_in_calisti(&client, "IstioControlPlane", "cp-led", plane, json!({})).await?;
    mesh::set_calisti_status(&client, "cp-led", "Available", "").await?;
    let source = "controlplane.istio.servicemesh.cisco.com/namespace-injection-source";
    let spec = json!({ "version": "1.15.3", "mode": "ACTIVE", "clusterID": "east" });
    let marks = json!({ source: "true" });
    until(bed, "a peer can be created", async || {
        mesh::create_in_calisti(&client, kind, "cp-led", spec.clone(), marks.clone()).await
    })
    .await?;
    let session = Session::start(bed).await?;
    let migrate = ["migrate", "--from", OLD, "--to", "cp-led", "-n", "followed", "--yes"];
    until(bed, "the other cluster is known", async || {
        let words = ["RS2004", "ControlPlane/cp-led.istio-system", "cluster `east`"];
        session.refused(&migrate, 1, &words).await
    })
    .await?;
    expect_label(&client, "followed", OLD).await?;
    for kind in [kind, "IstioControlPlane"] {
        mesh::delete_in_calisti(&client, kind, "cp-led").await?;
    }
    session.end_with(&["followed"]).await
}

/// Makes the label one of Argo CD's fields, as when it was applied from a repository, and marks the
/// namespace as its own.
async fn adopt(client: &Client, name: &str) -> Result<()> {
    set_label_as(client, ARGO, name, REVISION, None).await?;
    set_label_as(client, ARGO, name, REVISION, Some(OLD)).await?;
    let id = format!("apps:/Namespace:{name}/{name}");
    let mark = json!({ "metadata": { "annotations": { "argocd.argoproj.io/tracking-id": id } } });
    let params = PatchParams { field_manager: Some(ARGO.to_owned()), ..PatchParams::default() };
    let namespaces = Api::<Namespace>::all(client.clone());
    namespaces.patch(name, &params, &Patch::Merge(&mark)).await?;
    Ok(())
}

/// Requires that revshift has written nothing to a namespace.
async fn untouched(client: &Client, name: &str) -> Result<()> {
    let found = Api::<Namespace>::all(client.clone()).get(name).await?;
    ensure!(!found.annotations().contains_key("revshift.dev/migration"), "{name} is locked");
    let managers = found.metadata.managed_fields.iter().flatten();
    let mut ours = managers.filter(|entry| entry.manager.as_deref() == Some("revshift"));
    ensure!(ours.next().is_none(), "revshift has written to {name}");
    Ok(())
}
