//! Services keep their ready endpoints through a move.

use crate::api::MoveState;
use crate::bed::Bed;
use crate::cluster::{NEW, create, edit, held_application, until_injected};
use crate::session::{Session, until};
use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ListParams};
use serde_json::json;

/// A Service that no pod fits any more fails the move, though every pod is ready; one whose pods were scaled
/// down meanwhile does not.
pub(crate) async fn a_service_keeps_its_endpoints(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    let names = ["ends-less", "ends-lost"];
    for name in names {
        held_application(bed, name).await?;
        let service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": "web", "namespace": name },
            "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80 }] },
        });
        create::<Service>(&client, service).await?;
        until_endpoints(bed, name, 2).await?;
    }
    let session = Session::start(bed).await?;
    let id = session.detach(&names, &["--rollout-timeout", "10s"]).await?;
    let [less, lost] = names;
    session.until_move(&id, less, MoveState::Restarting).await?;
    let one = json!({ "spec": { "replicas": 1 } });
    edit::<Deployment>(&client, less, "web", one).await?;
    session.release(&id, less).await?;

    session.until_move(&id, lost, MoveState::Restarting).await?;
    let other = json!({ "spec": { "selector": { "app": "another" } } });
    edit::<Service>(&client, lost, "web", other).await?;
    until_endpoints(bed, lost, 0).await?;
    let problem = crate::cluster::release(bed, lost, async || {
        let m = session.a_move(&id, lost).await?;
        ensure!(m.state() == MoveState::Failed, "it is {:?}: {:?}", m.state(), m.problem);
        Ok(m.problem.unwrap_or_default())
    })
    .await?;
    let told = problem.code == "RS3015" && problem.object == "Service/ends-lost/web";
    ensure!(told && problem.message.contains("had 2 ready endpoints"), "{problem:?}");
    until_injected(bed, lost, NEW, 2).await?;
    // Whoever retries says that it is as it should be.
    session.done(&["retry", &id, "-n", lost, "--yes"]).await?;
    session.until_state(&id, "SUCCEEDED").await?;
    session.end_with(&names).await
}

/// Waits until the Service of a namespace has so many ready endpoints.
async fn until_endpoints(bed: &dyn Bed, namespace: &str, expected: usize) -> Result<()> {
    let api = Api::<EndpointSlice>::namespaced(bed.client(), namespace);
    until(bed, format!("{namespace} has {expected} ready endpoints"), async || {
        let slices = api.list(&ListParams::default()).await?;
        let ready = |condition: Option<bool>| condition == Some(true);
        let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
        let endpoints = endpoints
            .filter(|one| ready(one.conditions.as_ref().and_then(|conditions| conditions.ready)));
        let found = endpoints.count();
        ensure!(found == expected, "it has {found}");
        Ok(())
    })
    .await
}
