//! Watches and reads that are late, incomplete or old, as far as an API server may be.

use std::time::Duration;

use http_body_util::BodyExt;
use revshift_sandbox::{Body, Sandbox};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use tower::ServiceExt;

use super::named::inject;
use crate::{sandbox, send};

const MAPS: &str = "/api/v1/namespaces/shop/configmaps";

/// Sets the value of a map, and gives the version.
fn put(sandbox: &Sandbox, name: &str, value: &str) -> u64 {
    sandbox.apply(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": name, "namespace": "shop" },
        "data": { "a": value },
    }));
    sandbox.version()
}

async fn open(sandbox: &Sandbox, version: u64) -> Body {
    let uri = format!("{MAPS}?watch=true&allowWatchBookmarks=true&resourceVersion={version}");
    let request = http::Request::get(uri).body(String::new()).unwrap();
    sandbox.service("raw").oneshot(request).await.unwrap().into_body()
}

/// What comes within so many seconds, as `TYPE name=value`, and whether the watch has ended.
async fn read(watch: &mut Body, seconds: u64) -> (Vec<String>, bool) {
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut events = Vec::new();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match timeout(left, watch.frame()).await {
            Err(_) => return (events, false),
            Ok(None) => return (events, true),
            Ok(Some(frame)) => {
                let bytes = frame.unwrap().into_data().unwrap();
                for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    let event: Value = serde_json::from_slice(line).unwrap();
                    let about = &event["object"];
                    let told = match event["type"].as_str().unwrap() {
                        "ERROR" => format!("ERROR {}", about["code"]),
                        "BOOKMARK" => "BOOKMARK".to_owned(),
                        kind => format!(
                            "{kind} {}={}",
                            about["metadata"]["name"].as_str().unwrap(),
                            about["data"]["a"].as_str().unwrap()
                        ),
                    };
                    events.push(told);
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn watches_fall_silent_or_end() {
    for (fault, expected, over) in [
        ("watch-expired", vec!["ERROR 410"], true),
        ("watch-closed", vec!["ADDED one=1"], true),
        ("half-open", vec![], false),
        ("watch-gap=15s", vec!["ERROR 410"], true),
        ("no-bookmarks", vec!["ADDED one=1", "ADDED two=1"], false),
        ("slow:get", vec!["ADDED one=1", "ADDED two=1", "BOOKMARK"], false),
    ] {
        let sandbox = sandbox();
        inject(&sandbox, 0, &[fault]);
        let mut watch = open(&sandbox, sandbox.version()).await;
        put(&sandbox, "one", "1");
        let (mut events, mut ended) = read(&mut watch, 5).await;
        if !ended {
            put(&sandbox, "two", "1");
            let (more, now) = read(&mut watch, 60).await;
            events.extend(more);
            ended = now;
        }
        assert_eq!((events, ended), (expected.iter().map(ToString::to_string).collect(), over));
    }
}

#[tokio::test(start_paused = true)]
async fn events_come_late_merged_or_in_another_order() {
    for (fault, expected) in [
        ("late-watch=10s", vec!["MODIFIED b=1", "MODIFIED b=2", "MODIFIED a=1", "ADDED c=1"]),
        ("merged-events=10s", vec!["MODIFIED b=2", "MODIFIED a=1", "ADDED c=1"]),
        ("reordered-events=10s", vec!["ADDED c=1", "MODIFIED b=1", "MODIFIED b=2", "MODIFIED a=1"]),
        (
            "repeated-events=1h",
            vec![
                "ADDED a=0",
                "ADDED b=0",
                "MODIFIED b=1",
                "MODIFIED b=2",
                "MODIFIED a=1",
                "ADDED c=1",
            ],
        ),
    ] {
        let sandbox = sandbox();
        put(&sandbox, "a", "0");
        let version = put(&sandbox, "b", "0");
        inject(&sandbox, 0, &[fault]);
        let mut watch = open(&sandbox, version).await;
        for (name, value) in [("b", "1"), ("b", "2"), ("a", "1"), ("c", "1")] {
            put(&sandbox, name, value);
        }
        let (early, over) = read(&mut watch, 5).await;
        assert_eq!(early.is_empty(), !fault.starts_with("repeated"), "{fault}: {early:?}");
        let (late, _) = read(&mut watch, 10).await;
        let events: Vec<_> = early.into_iter().chain(late).collect();
        assert_eq!((events, over), (expected.iter().map(ToString::to_string).collect(), false));
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_read_that_allows_it_is_stale() {
    let sandbox = sandbox();
    put(&sandbox, "one", "1");
    sleep(Duration::from_mins(1)).await;
    put(&sandbox, "one", "2");
    put(&sandbox, "two", "1");
    inject(&sandbox, 0, &["stale-read=30s:reads:always"]);
    let get = async |uri: String| send(&sandbox, "GET", &uri, "", &Value::Null).await;
    for (parameters, names, value) in
        [("", 2, "2"), ("?resourceVersion=0", 1, "1"), ("?resourceVersion=1", 2, "2")]
    {
        let (_, list) = get(format!("{MAPS}{parameters}")).await;
        assert_eq!(list["items"].as_array().unwrap().len(), names, "{parameters}");
        let (_, one) = get(format!("{MAPS}/one{parameters}")).await;
        assert_eq!(one["data"]["a"], value, "{parameters}");
    }
    assert_eq!(get(format!("{MAPS}/two?resourceVersion=0")).await.0, 404);
    // A watch that begins anywhere shows the old state, and then catches up.
    let (events, _) = read(&mut open(&sandbox, 0).await, 5).await;
    assert_eq!(events, ["ADDED one=1", "MODIFIED one=2", "ADDED two=1"]);
}
