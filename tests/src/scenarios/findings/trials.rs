//! The target's injector is asked what it makes of each pod template, and the answer put beside what runs.
//! Templates of StatefulSets that replace pods only when they are deleted differ from their pods.

use super::told::until_told;
use crate::bed::Bed;
use crate::cluster::{NEW, OLD, create, edit, namespace, pods, ready, stateful_set};
use crate::session::Session;
use anyhow::Result;
use k8s_openapi::api::apps::v1::{DaemonSet, StatefulSet};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams};
use serde_json::{Value, json};

/// What the injector refuses, adds, leaves out and changes, pod template by pod template.
pub(crate) async fn the_injector_is_asked_about_every_template(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    namespace(&client, "tried", &[("istio.io/rev", OLD)]).await?;
    let names = ["refused", "without", "newly", "native", "ports", "resources", "astray", "by-cni"];
    for name in names {
        let mut set = stateful_set("tried", name, 1);
        set["spec"]["updateStrategy"] = json!({ "type": "OnDelete" });
        if name == "newly" {
            set["spec"]["template"]["metadata"]["annotations"] =
                json!({ "sidecar.istio.io/inject": "false" });
        }
        create::<StatefulSet>(&client, set).await?;
    }
    ready(bed, "tried", names.len()).await?;
    let all = pods(&client, "tried").await?;
    let runs = all.iter().find(|pod| pod.name_any() == "native-0");
    let native = runs.and_then(|pod| pod.spec.as_ref()?.init_containers.as_ref());
    let native = native.is_some_and(|all| all.iter().any(|it| it.name == "istio-proxy"));
    let annotated =
        |key: &str, value: Value| json!({ "metadata": { "annotations": { key: value } } });
    let other = (!native).to_string();
    let image = "registry.k8s.io/pause:3.10";
    let app = json!({ "name": "app", "image": image });
    let proxy = json!({
        "name": "istio-proxy", "image": "auto",
        "ports": [{ "name": "admin", "containerPort": 15099 }],
    });
    for (name, template) in [
        ("refused", annotated("inject.istio.io/templates", json!("unheard-of"))),
        ("without", annotated("sidecar.istio.io/inject", json!("false"))),
        ("newly", annotated("sidecar.istio.io/inject", Value::Null)),
        ("native", annotated("sidecar.istio.io/nativeSidecar", json!(other))),
        ("ports", json!({ "spec": { "containers": [app, proxy] } })),
        ("resources", annotated("sidecar.istio.io/proxyCPU", json!("123m"))),
        ("astray", annotated("sidecar.istio.io/interceptionMode", json!("NONE"))),
        (
            "by-cni",
            json!({
                "metadata": { "annotations": { "sidecar.istio.io/interceptionMode": "NONE" } },
                "spec": { "initContainers": [{ "name": "istio-validation", "image": image }] },
            }),
        ),
    ] {
        let patch = json!({ "spec": { "template": template } });
        edit::<StatefulSet>(&client, "tried", name, patch).await?;
    }
    let session = Session::start(bed).await?;
    let args = ["check", "--from", OLD, "--to", NEW, "-n", "tried"];
    until_told(
        &session,
        &args,
        &[
            ("RS1120", "StatefulSet/tried/refused", "ERROR"),
            ("RS1121", "StatefulSet/tried/without", "ERROR"),
            ("RS1122", "StatefulSet/tried/newly", "WARNING"),
            ("RS1124", "StatefulSet/tried/native", "WARNING"),
            ("RS1125", "StatefulSet/tried/ports", "WARNING"),
            ("RS1126", "StatefulSet/tried/resources", "WARNING"),
            ("RS1127", "StatefulSet/tried/astray", "WARNING"),
            ("RS1107", "StatefulSet/tried/native", "ERROR"),
            ("RS2030", "StatefulSet/tried/by-cni", "ERROR"),
        ],
    )
    .await?;
    // A plugin of the source, which is ready nowhere.
    create::<DaemonSet>(&client, plugin()).await?;
    let told = until_told(
        &session,
        &args,
        &[
            ("RS2031", "DaemonSet/istio-system/istio-cni-tried", "WARNING"),
            ("RS2032", "DaemonSet/istio-system/istio-cni-tried", "WARNING"),
        ],
    )
    .await;
    let sets = Api::<DaemonSet>::namespaced(client.clone(), "istio-system");
    sets.delete("istio-cni-tried", &DeleteParams::background()).await?;
    told?;
    session.end_with(&["tried"]).await
}

fn plugin() -> Value {
    let mut set = crate::cluster::daemon_set("istio-system", "istio-cni-tried");
    set["metadata"]["labels"] = json!({ "app": "istio-cni-node", "istio.io/rev": OLD });
    let labels = &mut set["spec"]["template"]["metadata"]["labels"];
    labels["sidecar.istio.io/inject"] = json!("false");
    labels[crate::cluster::FAILS] = json!("never-ready");
    // By what an agent has of its node it is told from what only has its name.
    set["spec"]["template"]["spec"]["volumes"] =
        json!([{ "name": "cni-bin-dir", "hostPath": { "path": "/opt/cni/bin" } }]);
    set
}
