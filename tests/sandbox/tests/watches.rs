//! Watches, raw and through the client's watcher.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{WatchEvent, WatchParams};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;
use kube::runtime::watcher::Event;
use kube::{Api, ResourceExt};
use revshift_sandbox::{Sandbox, fixtures};
use serde_json::json;

use crate::{client, merge, run, sandbox};

fn map(name: &str, value: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": name, "namespace": "shop", "labels": { "color": value } },
    })
}

/// What a watch of ConfigMaps shows until it is silent for a second.
async fn shown(
    sandbox: &Sandbox,
    parameters: &WatchParams,
    version: &str,
    act: impl AsyncFnOnce(),
) -> Vec<String> {
    let api: Api<ConfigMap> = Api::namespaced(client(sandbox), "shop");
    let mut stream = api.watch(parameters, version).await.unwrap().boxed();
    act().await;
    let mut all = Vec::new();
    while let Ok(Ok(Some(event))) =
        tokio::time::timeout(Duration::from_secs(1), stream.try_next()).await
    {
        all.push(match event {
            WatchEvent::Added(one) => format!("+{}", one.name_any()),
            WatchEvent::Modified(one) => format!("~{}", one.name_any()),
            WatchEvent::Deleted(one) => format!("-{}", one.name_any()),
            WatchEvent::Bookmark(one) => format!("#{}", one.metadata.annotations.len()),
            WatchEvent::Error(status) => format!("!{}", status.code),
        });
    }
    all
}

#[tokio::test(start_paused = true)]
async fn a_watch_shows_changes_since_a_version() {
    let sandbox = sandbox();
    sandbox.apply(map("one", "red"));
    let version = sandbox.version().to_string();
    sandbox.apply(map("two", "red"));
    let parameters = WatchParams::default();
    let act = async || {
        sandbox.apply(map("one", "blue"));
        sandbox.remove("/api/v1/namespaces/shop/configmaps/two");
    };
    assert_eq!(shown(&sandbox, &parameters, &version, act).await, ["+two", "~one", "-two"]);
    assert_eq!(shown(&sandbox, &parameters, "0", async || ()).await, ["+one"]);
    assert_eq!(shown(&sandbox, &parameters, "", async || ()).await, ["+one"]);
}

#[tokio::test(start_paused = true)]
async fn objects_enter_and_leave_a_selected_watch() {
    let sandbox = sandbox();
    let version = sandbox.version().to_string();
    let parameters = WatchParams::default().labels("color=red");
    let act = async || {
        sandbox.apply(map("one", "blue"));
        sandbox.apply(map("one", "red"));
        sandbox.apply(map("one", "blue"));
        sandbox.apply(map("one", "green"));
    };
    assert_eq!(shown(&sandbox, &parameters, &version, act).await, ["+one", "-one"]);
}

#[tokio::test(start_paused = true)]
async fn a_version_before_the_compaction_is_gone() {
    let sandbox = sandbox();
    let version = sandbox.version().to_string();
    sandbox.apply(map("one", "red"));
    sandbox.compact();
    let parameters = WatchParams::default();
    assert_eq!(shown(&sandbox, &parameters, &version, async || ()).await, ["!410"]);
    let version = sandbox.version().to_string();
    assert!(shown(&sandbox, &parameters, &version, async || ()).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_and_the_server_ends_the_stream() {
    let sandbox = sandbox();
    let api: Api<ConfigMap> = Api::all(client(&sandbox));
    let version = sandbox.version().to_string();
    let stream = api.watch(&WatchParams::default().timeout(150), &version).await.unwrap();
    let start = tokio::time::Instant::now();
    let events: Vec<_> = stream.try_collect().await.unwrap();
    assert!(events.iter().all(|event| matches!(event, WatchEvent::Bookmark(_))));
    assert_eq!(events.len(), 2);
    assert!((149..=151).contains(&start.elapsed().as_secs()));
}

#[tokio::test(start_paused = true)]
async fn initial_events_end_with_a_marked_bookmark() {
    let sandbox = sandbox();
    sandbox.apply(map("one", "red"));
    let parameters = WatchParams::default().initial_events();
    let act = async || sandbox.apply(map("two", "red"));
    assert_eq!(shown(&sandbox, &parameters, "", act).await, ["+one", "#1", "+two"]);
}

#[tokio::test(start_paused = true)]
async fn the_metadata_watcher_follows_pods_through_compaction_and_drops() {
    let sandbox = sandbox();
    sandbox.apply(fixtures::deployment("shop", "web", 2));
    let api: Api<PartialObjectMeta<Pod>> = Api::all(client(&sandbox));
    let config = watcher::Config::default().fields("status.phase!=Succeeded,status.phase!=Failed");
    let mut events = watcher(api, config).boxed();
    let (mut live, mut starts) = (std::collections::BTreeSet::new(), 0);
    let follow = async {
        let mut known = std::collections::BTreeSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => {
                    known.clear();
                    starts += 1;
                }
                Ok(Event::Apply(pod) | Event::InitApply(pod)) => {
                    known.insert((pod.namespace(), pod.name_any()));
                }
                Ok(Event::Delete(pod)) => {
                    known.remove(&(pod.namespace(), pod.name_any()));
                }
                // From errors the watcher itself recovers.
                Ok(Event::InitDone) | Err(_) => {}
            }
            live.clone_from(&known);
        }
    };
    let scenario = async {
        for round in 0..3 {
            tokio::time::sleep(Duration::from_secs(20)).await;
            let patch = crate::restart(&round.to_string());
            merge(&sandbox, "/apis/apps/v1/namespaces/shop/deployments/web", &patch).await;
            if round == 1 {
                sandbox.drop_watches();
                sandbox.compact();
            }
        }
        tokio::time::sleep(Duration::from_secs(20)).await;
    };
    tokio::select! {
        () = follow => {}
        () = sandbox.run() => {}
        () = scenario => {}
    }
    let stored: std::collections::BTreeSet<_> = sandbox
        .objects("/api/v1/pods")
        .into_iter()
        .map(|pod| {
            let text = |field: &str| pod["metadata"][field].as_str().unwrap().to_owned();
            (Some(text("namespace")), text("name"))
        })
        .collect();
    assert_eq!(live, stored);
    assert_eq!(stored.len(), 4);
    assert_eq!(starts, 2);
}

#[tokio::test(start_paused = true)]
async fn watches_of_a_deleted_definition_end() {
    let sandbox = sandbox();
    let uri = "/apis/servicemesh.cisco.com/v1alpha1/istiocontrolplanes?watch=true";
    let watch = crate::send(&sandbox, "GET", uri, "application/json", &json!(null));
    let act = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        sandbox.remove("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/istiocontrolplanes.servicemesh.cisco.com");
    };
    let start = tokio::time::Instant::now();
    let ((code, _), ()) = tokio::join!(watch, act);
    assert_eq!(code, 200);
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn two_runs_are_the_same() {
    let mut histories = Vec::new();
    for _ in 0..2 {
        let sandbox = sandbox();
        sandbox.apply(fixtures::deployment("shop", "web", 3));
        sandbox.apply(fixtures::stateful_set("shop", "db", 2));
        run(&sandbox, 30).await;
        let api: Api<Namespace> = Api::all(client(&sandbox));
        api.get("shop").await.unwrap();
        let history: Vec<_> = sandbox
            .changes()
            .into_iter()
            .map(|change| (change.version, change.time, change.reference, change.object))
            .collect();
        histories.push(history);
    }
    assert!(histories[0] == histories[1]);
}

#[tokio::test(start_paused = true)]
async fn a_short_history_ends_watches_that_are_too_far_behind() {
    let sandbox = Sandbox::new(revshift_sandbox::Options {
        history: Some(10),
        ..revshift_sandbox::Options::default()
    });
    sandbox.apply(fixtures::namespace("shop", &[]));
    sandbox.apply(map("a", "0"));
    let start = sandbox.version();
    for number in 1..30 {
        sandbox.apply(map("a", &number.to_string()));
        run(&sandbox, 1).await;
    }
    let behind = WatchParams::default();
    let old = shown(&sandbox, &behind, &start.to_string(), async || {}).await;
    assert_eq!(old, ["!410"]);
    let recent = (sandbox.version() - 5).to_string();
    assert_eq!(shown(&sandbox, &behind, &recent, async || {}).await.len(), 5);

    // One that was open falls behind while nobody reads it.
    let version = sandbox.version().to_string();
    let late = shown(&sandbox, &behind, &version, async || {
        for number in 0..30 {
            sandbox.apply(map("a", &number.to_string()));
        }
        run(&sandbox, 1).await;
    });
    assert_eq!(late.await, ["!410"]);
}
