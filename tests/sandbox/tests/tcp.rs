//! The sandbox over TCP, on the real clock, with a client as a kubeconfig makes it.

use k8s_openapi::api::core::v1::Namespace;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};
use revshift_sandbox::kubeconfig;
use serde_json::json;
use tokio::net::TcpListener;

use crate::sandbox;

#[tokio::test]
async fn a_kubeconfig_leads_to_the_sandbox() {
    let sandbox = sandbox();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let text = kubeconfig(listener.local_addr().unwrap());
    let cluster = sandbox.clone();
    let server = tokio::spawn(async move { cluster.serve(listener).await });

    let file = Kubeconfig::from_yaml(&text).unwrap();
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
    let client = Client::try_from(config).unwrap();
    assert!(client.apiserver_version().await.unwrap().git_version.contains("sandbox"));
    let api: Api<Namespace> = Api::all(client);
    let label = kube::api::Patch::Merge(json!({ "metadata": { "labels": { "color": "red" } } }));
    api.patch("shop", &kube::api::PatchParams::default(), &label).await.unwrap();
    assert_eq!(api.get("shop").await.unwrap().labels()["color"], "red");

    server.abort();
    let _ = server.await;
    assert!(api.get("shop").await.is_err(), "connections end with the server");
}
