//! Control planes that are proved to be unused, and deleted.

use super::events::until_told;
use crate::bed::Bed;
use crate::cluster::{
    NEW, create, delete_namespace, deployment, expect_injected, namespace, ready, set_label,
    with_pod_label,
};
use crate::mesh;
use crate::operator::{self, PaperPlane};
use crate::session::{Session, until};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

/// What nobody can look into where no istiod of such a plane runs.
pub(crate) const ALLOW: &str = "RS6015=no istiod of it runs";

/// A namespace that is labelled with the plane forbids its retirement, and is named with the command that
/// helps. Once it is gone the plane is proved to be unused, nothing new may name it, and it is deleted.
pub(crate) async fn a_used_plane_is_refused_and_an_unused_one_retired(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    namespace(&client, "retire-home", &[]).await?;
    let plane = PaperPlane::create(&client, "cp-v112x", "retire-home").await?;
    ready(bed, "retire-home", 1).await?;
    namespace(&client, "retire-uses", &[("istio.io/rev", &plane.revision)]).await?;
    // What nobody controls is looked into.
    let mut bare = deployment("retire-uses", "bare", 0);
    bare["kind"] = json!("ReplicaSet");
    create::<ReplicaSet>(&client, bare).await?;
    let session = Session::start(bed).await?;
    operator::apply_policy(&client).await?;
    plane
        .operated(async {
            until(bed, "the plane is known", async || {
                ensure!(session.done(&["planes"]).await?.contains("cp-v112x"));
                Ok(())
            })
            .await?;
            // Nobody is there to be asked.
            session.refused(&["retire", "cp-v112x"], 2, &["--yes"]).await?;
            let words = ["RS6003", "Namespace/retire-uses", "revshift migrate --from"];
            session.refused(&["retire", "cp-v112x", "--yes"], 1, &words).await?;
            ensure!(session.done(&["retirements", "-o", "name"]).await?.is_empty());
            set_label(&client, "retire-uses", "istio.io/rev", None).await?;
            let blockers = |found: &Value| -> Vec<String> {
                let all = found["findings"].as_array().into_iter().flatten();
                let blocking = all.filter(|it| it["blocks"] == true);
                blocking.filter_map(|it| Some(it["code"].as_str()?.to_owned())).collect()
            };
            let dry = ["retire", "cp-v112x", "--dry-run", "-o", "json", "--allow", ALLOW];
            until(bed, "nothing blocks any more", async || {
                let found: Value = serde_json::from_str(&session.run(&dry).await?.stdout)?;
                ensure!(blockers(&found).is_empty(), "{found}");
                ensure!(found["targets"][0]["kind"] == "IstioControlPlane", "{found}");
                Ok(())
            })
            .await?;
            ensure!(plane.exists().await?, "a dry run deletes nothing");

            let detached = ["retire", "cp-v112x", "--yes", "--detach", "--allow", ALLOW];
            let id = session.done(&detached).await?.trim().to_owned();
            until(bed, "it is being proved", async || {
                let shown = session.done(&["retirements"]).await?;
                ensure!(shown.contains(&id) && shown.contains("PROVING"), "{shown}");
                Ok(())
            })
            .await?;
            // From here on nobody may begin to use it, neither by a label nor by a migration.
            denied_by_the_cordon(&client, &plane.revision).await?;
            let target = ["migrate", "--from", "cp-v113x", "--to", "cp-v112x", "--all", "--yes"];
            session.refused(&target, 1, &["RS6026", &id]).await?;
            session
                .refused(&["retire", "cp-v112x", "--yes", "--allow", ALLOW], 1, &["RS6026"])
                .await?;

            session.done(&["retire", "cp-v112x", "--watch"]).await?;
            ensure!(!plane.exists().await?, "the plane is still there");
            let shown = session.done(&["retirements", "cp-v112x", "-o", "json"]).await?;
            let shown: Value = serde_json::from_str(&shown)?;
            let one = &shown["items"][0];
            ensure!(one["state"] == "STATE_RETIRED" && one["id"] == id.as_str(), "{one}");
            ensure!(one["proofTimes"].as_array().is_some_and(|all| all.len() == 2), "{one}");
            ensure!(one["allowed"][0]["code"] == "RS6015", "{one}");
            for reason in ["Deleting", "Retired"] {
                let told = until_told(bed, "default", &id, reason).await?;
                ensure!(told.involved_object.kind.as_deref() == Some("Retirement"), "{told:?}");
            }
            // The name is free again.
            namespace(&client, "retire-late", &[("istio.io/rev", &plane.revision)]).await
        })
        .await?;
    plane.remove().await?;
    operator::remove_policy(&client).await?;
    session.end_with(&["retire-home", "retire-uses", "retire-late"]).await
}

/// Whatever newly names the plane is denied, whatever else it says of itself; what is never injected is not.
async fn denied_by_the_cordon(client: &Client, revision: &str) -> Result<()> {
    let denied = |what: &str, made: Result<()>| {
        let why = made.err().with_context(|| format!("{what} that names the plane was let in"))?;
        ensure!(format!("{why:?}").contains("is being retired"), "{what}: {why:?}");
        anyhow::Ok(())
    };
    let group = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "WorkloadGroup",
        "metadata": { "name": "late", "namespace": "retire-uses" },
        "spec": { "metadata": { "labels": { "istio.io/rev": revision } }, "template": {} },
    });
    let groups = ("v1", "WorkloadGroup", "workloadgroups");
    mesh::define_unless_there(client, "networking.istio.io", groups.0, groups.1, groups.2).await?;
    let groups = mesh::networking(client, "retire-uses", groups);
    let made = groups.create(&PostParams::default(), &serde_json::from_value(group)?).await;
    denied("a WorkloadGroup", made.map(|_| ()).map_err(Into::into))?;
    for more in [("team", "late"), ("app", "istiod"), ("sidecar.istio.io/inject", "false")] {
        let labels = [("istio.io/rev", revision), more];
        denied("a namespace", namespace(client, "retire-late", &labels).await)?;
    }
    let mut late = with_pod_label(deployment("retire-uses", "late", 0), "istio.io/rev", revision);
    late["metadata"]["labels"] = json!({ "sidecar.istio.io/inject": "false", "app": "istiod" });
    let made = create::<Deployment>(client, late.clone()).await.map(|_| ());
    denied("a Deployment", made)?;
    let never = with_pod_label(late, "sidecar.istio.io/inject", "false");
    create::<Deployment>(client, never).await.map(|_| ())
}

/// Up to the deletion a retirement can be given up; without the policy it goes on all the same.
pub(crate) async fn a_retirement_is_given_up_before_it_deletes(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    namespace(&client, "retire-not", &[]).await?;
    let plane = PaperPlane::create(&client, "cp-v111x", "retire-not").await?;
    ready(bed, "retire-not", 1).await?;
    let session = Session::start(bed).await?;
    plane
        .operated(async {
            let args = ["retire", "cp-v111x", "--yes", "--detach", "--allow", ALLOW];
            until(bed, "the plane can be retired", async || session.done(&args).await).await?;
            until(bed, "it is being proved without a cordon", async || {
                let shown = session.done(&["retirements", "cp-v111x", "-o", "json"]).await?;
                let shown: Value = serde_json::from_str(&shown)?;
                ensure!(shown["items"][0]["state"] == "STATE_PROVING", "{shown}");
                Ok(())
            })
            .await?;
            session.done(&["retire", "cp-v111x", "--cancel", "--yes"]).await?;
            until(bed, "it is given up", async || {
                let shown = session.done(&["retirements", "cp-v111x"]).await?;
                ensure!(shown.contains("CANCELLED"), "{shown}");
                Ok(())
            })
            .await?;
            session
                .refused(&["retire", "cp-v111x", "--cancel", "--yes"], 2, &["no unfinished"])
                .await?;
            session.refused(&["retire", "cp-v111x", "--watch"], 1, &["CANCELLED"]).await?;
            ensure!(plane.exists().await?, "the plane is gone");
            Ok(())
        })
        .await?;
    plane.remove().await?;
    delete_namespace(&client, "retire-not").await?;
    session.end().await
}

/// The whole procedure: its last step is refused at each point before it, and done then.
pub(crate) async fn the_old_plane_goes_once_everything_has_moved(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    namespace(&client, "goes-home", &[]).await?;
    let plane = PaperPlane::create(&client, "cp-v110x", "goes-home").await?;
    for name in ["goes-a", "goes-b"] {
        namespace(&client, name, &[("istio.io/rev", &plane.revision)]).await?;
        create::<Deployment>(&client, deployment(name, "web", 2)).await?;
        ready(bed, name, 2).await?;
    }
    ready(bed, "goes-home", 1).await?;
    let session = Session::start(bed).await?;
    let retire = ["retire", "cp-v110x", "--yes", "--allow", ALLOW];
    let migrate = ["migrate", "--from", "cp-v110x", "--to", "cp-v115x", "--yes", "-n"];
    plane
        .operated(async {
            until(bed, "the plane is known", async || {
                ensure!(session.done(&["planes"]).await?.contains("cp-v110x"));
                Ok(())
            })
            .await?;
            session.refused(&retire, 1, &["RS6003 Namespace/goes-a", "Namespace/goes-b"]).await?;
            session.done(&[&migrate[..], &["goes-a"]].concat()).await?;
            session.refused(&retire, 1, &["RS6003 Namespace/goes-b", "RS6012"]).await?;
            session.done(&[&migrate[..], &["goes-b"]].concat()).await?;
            session.refused(&retire, 1, &["RS6012"]).await?;
            let now = [&retire[..], &["--rollback-window", "0s"]].concat();
            let dry = ["--dry-run", "--rollback-window", "0s", "--allow", ALLOW];
            let dry = [&["retire", "cp-v110x"][..], &dry].concat();
            until(bed, "nothing blocks any more", async || session.done(&dry).await).await?;
            session.done(&now).await?;
            ensure!(!plane.exists().await?, "the plane is still there");
            for name in ["goes-a", "goes-b"] {
                expect_injected(&client, name, &[(NEW, 2)]).await?;
            }
            Ok(())
        })
        .await?;
    plane.remove().await?;
    session.end_with(&["goes-home", "goes-a", "goes-b"]).await
}

/// A plane that nobody operates goes with all that is istiod's own, and nothing else of its revision.
pub(crate) async fn a_plane_without_an_operator_goes_object_by_object(bed: &dyn Bed) -> Result<()> {
    let (client, home, revision) = (bed.client(), "retire-plain", "plain-1-29");
    namespace(&client, home, &[]).await?;
    for (kind, plural) in
        [("WorkloadGroup", "workloadgroups"), ("WorkloadEntry", "workloadentries")]
    {
        mesh::define_unless_there(&client, "networking.istio.io", "v1", kind, plural).await?;
    }
    mesh::create_injector(&client, (home, revision), revision, revision, &[]).await?;
    let labels = json!({ "app": "istiod", "istio.io/rev": revision });
    let mut istiod = deployment(home, "istiod-plain", 1);
    istiod["metadata"]["labels"] = labels.clone();
    istiod["spec"]["selector"] = json!({ "matchLabels": labels });
    istiod["spec"]["template"]["metadata"]["labels"] = labels;
    istiod["spec"]["template"]["metadata"]["labels"]["sidecar.istio.io/inject"] = json!("false");
    let session = Session::start(bed).await?;
    let dry = ["retire", revision, "--dry-run", "--allow", ALLOW];
    until(bed, "it is told to be external", async || {
        let told = session.run(&dry).await?;
        ensure!(told.status == 1 && told.stdout.contains("RS6001"), "{}", told.stdout);
        Ok(())
    })
    .await?;
    create::<Deployment>(&client, istiod).await?;
    for (name, labels) in [
        ("istio", json!({ "istio.io/rev": revision, "operator.istio.io/component": "Pilot" })),
        ("notes", json!({ "istio.io/rev": revision })),
    ] {
        let metadata = json!({ "name": name, "namespace": home, "labels": labels });
        create::<ConfigMap>(&client, json!({ "metadata": metadata })).await?;
    }
    ready(bed, home, 1).await?;
    let plan = until(bed, "nothing uses it", async || session.done(&dry).await).await?;
    ensure!(plan.contains("ConfigMap retire-plain/istio") && !plan.contains("notes"), "{plan}");
    session.done(&["retire", revision, "--yes", "--allow", ALLOW]).await?;
    let hooks = Api::<MutatingWebhookConfiguration>::all(client.clone());
    ensure!(hooks.get_opt(revision).await?.is_none(), "its webhook is still there");
    let istiods = Api::<Deployment>::namespaced(client.clone(), home);
    ensure!(istiods.get_opt("istiod-plain").await?.is_none(), "its istiod is still there");
    let settings = Api::<ConfigMap>::namespaced(client.clone(), home);
    ensure!(settings.get_opt("istio").await?.is_none(), "its settings are still there");
    ensure!(settings.get_opt("notes").await?.is_some(), "what is somebody's own is gone");
    session.end_with(&[home]).await
}
