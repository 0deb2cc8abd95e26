//! What is refused before anything is touched: planes, namespaces, workloads, malformed requests.

use crate::bed::Bed;
use crate::cluster::{
    NEW, OLD, application, create, daemon_set, delete_namespace, deployment, edit, namespace,
    pod_template, ready, stateful_set,
};
use crate::history::History;
use crate::mesh;
use crate::session::{Session, until};
use anyhow::{Result, ensure};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;

/// Planes that do not exist, or are one and the same.
pub(crate) async fn a_migration_needs_two_planes(bed: &dyn Bed) -> Result<()> {
    application(bed, "two-planes").await?;
    let session = Session::start(bed).await?;
    let untouched = Untouched::note(&session, &["two-planes"]).await?;
    for (from, to, words) in [
        ("cp-v113x", "cp-nowhere", ["no control plane `cp-nowhere`", "revshift planes"]),
        ("cp-nowhere", NEW, ["no control plane `cp-nowhere`", NEW]),
        (OLD, OLD, ["source and target are both", OLD]),
        (OLD, "cp-v113x", ["source and target are both", OLD]),
        ("cp-v113x", "cp-v113x", ["source and target are both", OLD]),
    ] {
        let args = ["migrate", "--from", from, "--to", to, "-n", "two-planes", "--yes"];
        session.refused(&args, 1, &words).await?;
    }
    untouched.expect(&session).await?;
    session.end_with(&["two-planes"]).await
}

/// Namespaces that are not attached to the source in the way that this version moves. One of them
/// refuses the whole migration, and all of them are told at once.
pub(crate) async fn namespaces_that_cannot_be_moved_are_refused(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    application(bed, "good").await?;
    namespace(&client, "bare-ns", &[]).await?;
    namespace(&client, "elsewhere", &[("istio.io/rev", "another")]).await?;
    namespace(&client, "tagged", &[("istio.io/rev", "refusals-tag")]).await?;
    namespace(&client, "enabled", &[("istio-injection", "enabled")]).await?;
    namespace(&client, "alone", &[("istio.io/rev", OLD)]).await?;
    let skip = json!({ "metadata": { "annotations": { "revshift.dev/skip": "true" } } });
    let skip = Patch::Merge(&skip);
    Api::<Namespace>::all(client.clone()).patch("alone", &PatchParams::default(), &skip).await?;
    let tag = [("istio.io/tag", "refusals-tag")];
    mesh::create_injector(&client, ("istio-system", "refusals-tag"), OLD, "refusals-tag", &tag)
        .await?;
    terminating(bed, "dying").await?;
    let session = Session::start(bed).await?;
    let names = ["good", "bare-ns", "elsewhere", "tagged", "enabled", "alone", "dying"];
    let untouched = Untouched::note(&session, &names).await?;
    for (name, code) in [
        ("nowhere", "RS1001"),
        ("dying", "RS1002"),
        ("bare-ns", "RS1003"),
        ("elsewhere", "RS1003"),
        ("tagged", "RS1004"),
        ("enabled", "RS1005"),
        ("alone", "RS1006"),
    ] {
        let violation = format!("{code} Namespace/{name}");
        migrate_refused(&session, &["good", name], &[&violation]).await?;
    }
    let all = ["nowhere", "bare-ns", "tagged", "enabled"];
    let codes = ["RS1001", "RS1003", "RS1004", "RS1005"];
    migrate_refused(&session, &all, &codes).await?;
    untouched.expect(&session).await?;

    mesh::delete::<MutatingWebhookConfiguration>(&client, "refusals-tag").await?;
    let released = json!({ "metadata": { "finalizers": null } });
    edit::<ConfigMap>(&client, "dying", "hold", released).await?;
    session.end_with(&["good", "bare-ns", "elsewhere", "tagged", "enabled", "alone"]).await
}

/// Workloads that a changed pod template does not move and that have only one pod; each is named
/// with its own reason.
pub(crate) async fn workloads_that_would_be_interrupted_are_refused(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    namespace(&client, "stiff", &[("istio.io/rev", OLD)]).await?;
    create::<Deployment>(&client, deployment("stiff", "paused", 1)).await?;
    let mut on_delete = stateful_set("stiff", "on-delete", 1);
    on_delete["spec"]["updateStrategy"] = json!({ "type": "OnDelete" });
    create::<StatefulSet>(&client, on_delete).await?;
    let mut partition = stateful_set("stiff", "partition", 1);
    let strategy = json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 1 } });
    partition["spec"]["updateStrategy"] = strategy;
    create::<StatefulSet>(&client, partition).await?;
    let mut agent = daemon_set("stiff", "agent");
    agent["spec"]["updateStrategy"] = json!({ "type": "OnDelete" });
    create::<DaemonSet>(&client, agent).await?;
    let mut lonely = deployment("stiff", "lonely", 1);
    lonely["kind"] = json!("ReplicaSet");
    create::<ReplicaSet>(&client, lonely).await?;
    create_pod_of_a_stranger(&client, "stiff").await?;
    ready(bed, "stiff", 6).await?;
    edit::<Deployment>(&client, "stiff", "paused", json!({ "spec": { "paused": true } })).await?;
    let history = History::of(bed, "stiff").await?;

    let session = Session::start(bed).await?;
    let untouched = Untouched::note(&session, &["stiff"]).await?;
    let words = [
        "RS1107 Deployment/stiff/paused: its rollouts are paused",
        "RS1107 StatefulSet/stiff/on-delete: its update strategy is OnDelete",
        "RS1107 StatefulSet/stiff/partition: its update strategy has a partition",
        "RS1107 DaemonSet/stiff/agent: its update strategy is OnDelete",
        "RS1107 ReplicaSet/stiff/lonely: a ReplicaSet does not replace pods",
        "RS1107 ConfigMap/stiff/stranger: revshift does not know how a ConfigMap",
        "--allow-downtime",
    ];
    migrate_refused(&session, &["stiff"], &words).await?;
    untouched.expect(&session).await?;
    history.untouched(bed).await?;
    session.end_with(&["stiff"]).await
}

/// Requests that make no sense, whatever the cluster holds.
pub(crate) async fn malformed_requests_are_refused(bed: &dyn Bed) -> Result<()> {
    application(bed, "malformed").await?;
    let session = Session::start(bed).await?;
    let untouched = Untouched::note(&session, &["malformed"]).await?;
    let migrate = ["migrate", "--from", "cp-v113x", "--to", "cp-v115x"];
    let with = |extra: &[&'static str]| [&migrate[..], extra].concat();
    // Nobody agreed to it, and nobody can be asked.
    session.refused(&with(&["-n", "malformed"]), 2, &["--yes", "nothing was done"]).await?;
    session.refused(&with(&["--yes"]), 2, &["--namespace"]).await?;
    session.refused(&with(&["-n", "malformed", "-n", "malformed", "--yes"]), 1, &["twice"]).await?;
    session.refused(&with(&["-n", "Mal_formed", "--yes"]), 1, &["spec.namespaces[0]"]).await?;
    session.refused(&with(&["-n", "", "--yes"]), 1, &["spec.namespaces[0]"]).await?;
    let short = with(&["-n", "malformed", "--rollout-timeout", "10ms", "--yes"]);
    session.refused(&short, 1, &["spec.rollout_timeout"]).await?;
    let odd = with(&["-n", "malformed", "--rollout-timeout", "soon", "--yes"]);
    session.refused(&odd, 2, &["90s"]).await?;
    for id in ["nonsense", "m-0123", "m-0123456789x", "../m-0123456789"] {
        let retry = ["retry", id, "-n", "malformed", "--yes"];
        let rollback = ["rollback", id, "--reason", "why not", "--yes"];
        for command in [&["status", id][..], &["watch", id], &["pause", id], &retry, &rollback] {
            session.refused(command, 1, &["id: "]).await?;
        }
    }
    for command in ["status", "watch", "pause", "resume"] {
        let words = ["no migration `m-0123456789`", "revshift migrations"];
        session.refused(&[command, "m-0123456789"], 1, &words).await?;
    }
    untouched.expect(&session).await?;
    session.end_with(&["malformed"]).await
}

/// Requires that the CLI refuses to move `namespaces` and says each of `words`.
async fn migrate_refused(session: &Session<'_>, namespaces: &[&str], words: &[&str]) -> Result<()> {
    let mut args = vec!["migrate", "--from", "cp-v113x", "--to", "cp-v115x", "--yes"];
    args.extend(namespaces.iter().flat_map(|namespace| ["-n", namespace]));
    // What was just created may not be seen yet.
    until(session.bed, format!("{namespaces:?} are refused"), async || {
        let dry = [&args[..5], &args[6..], &["--dry-run"]].concat();
        session.refused(&dry, 1, words).await
    })
    .await?;
    session.refused(&args, 1, words).await
}

/// A namespace that is being deleted and cannot end.
async fn terminating(bed: &dyn Bed, name: &str) -> Result<()> {
    let client = bed.client();
    namespace(&client, name, &[("istio.io/rev", OLD)]).await?;
    let hold = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "hold", "namespace": name, "finalizers": ["bed.revshift.dev/hold"],
        },
    });
    create::<ConfigMap>(&client, hold).await?;
    delete_namespace(&client, name).await
}

/// A pod whose controller is of a kind that controls no pods.
async fn create_pod_of_a_stranger(client: &Client, namespace: &str) -> Result<()> {
    let stranger = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": "stranger", "namespace": namespace },
    });
    let stranger = create::<ConfigMap>(client, stranger).await?;
    let mut pod = pod_template("strange");
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!("strange");
    pod["metadata"]["namespace"] = json!(namespace);
    pod["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "stranger",
        "uid": stranger.uid(),
        "controller": true,
    }]);
    create::<Pod>(client, pod).await.map(|_| ())
}

/// How things stood before something was refused.
struct Untouched {
    migrations: usize,
    namespaces: Vec<(String, String)>,
}

impl Untouched {
    async fn note(session: &Session<'_>, namespaces: &[&str]) -> Result<Self> {
        let mut noted = Vec::new();
        for name in namespaces {
            noted.push(((*name).to_owned(), version(session, name).await?));
        }
        Ok(Self { migrations: session.count_migrations().await?, namespaces: noted })
    }

    async fn expect(&self, session: &Session<'_>) -> Result<()> {
        for (name, before) in &self.namespaces {
            let now = version(session, name).await?;
            ensure!(now == *before, "{name} was changed from {before} to {now}");
        }
        let now = session.count_migrations().await?;
        ensure!(now == self.migrations, "{} migrations became {now}", self.migrations);
        Ok(())
    }
}

/// Labels and annotations of a namespace: others write its status.
async fn version(session: &Session<'_>, name: &str) -> Result<String> {
    let found = Api::<Namespace>::all(session.bed.client()).get(name).await?;
    Ok(format!("{:?} {:?}", found.labels(), found.annotations()))
}
