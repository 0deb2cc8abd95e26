//! What kubectl asks beyond a client of objects: tables, scales, OpenAPI, discovery.

use http_body_util::BodyExt;
use revshift_sandbox::{Sandbox, fixtures};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::{OLD, merge, run, sandbox, send};

const ACCEPT: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// The response to a request for tables.
async fn open(sandbox: &Sandbox, uri: &str) -> http::Response<revshift_sandbox::Body> {
    let request = http::Request::builder()
        .uri(uri)
        .header("accept", ACCEPT)
        .body(http_body_util::Empty::<bytes::Bytes>::new())
        .unwrap();
    sandbox.service("kubectl").oneshot(request).await.unwrap()
}

async fn table(sandbox: &Sandbox, uri: &str) -> Value {
    let bytes = open(sandbox, uri).await.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap()
}

/// A table as text: names of columns, `+` before those of `-o wide`, and then the rows.
fn lines(table: &Value) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let head = table["columnDefinitions"].as_array().into_iter().flatten().map(|column| {
        let wide = if column["priority"] == 0 { "" } else { "+" };
        format!("{wide}{}", text(&column["name"]))
    });
    let mut lines = vec![head.collect::<Vec<_>>().join("|")];
    for row in table["rows"].as_array().unwrap() {
        let cells = row["cells"].as_array().unwrap().iter().map(text);
        lines.push(cells.collect::<Vec<_>>().join("|"));
    }
    lines
}

async fn application() -> Sandbox {
    let sandbox = sandbox();
    sandbox.apply(fixtures::deployment("shop", "web", 2));
    sandbox.apply(fixtures::stateful_set("shop", "db", 1));
    sandbox.apply(fixtures::daemon_set("shop", "agent"));
    sandbox.apply(fixtures::job("shop", "import", 5));
    sandbox.apply(fixtures::cron_job("shop", "nightly", "0 2 * * *"));
    run(&sandbox, 90).await;
    sandbox
}

#[tokio::test(start_paused = true)]
async fn built_in_kinds_have_the_columns_of_kubectl() {
    let sandbox = application().await;
    let apps = "/apis/apps/v1/namespaces/shop";
    let batch = "/apis/batch/v1/namespaces/shop";
    let image = "registry.example/app:1";
    for (uri, expected) in [
        ("/api/v1/namespaces/shop".to_owned(), ["Name|Status|Age", "shop|Active|90s"].map(Into::into)),
        (format!("{apps}/deployments"), [
            "Name|Ready|Up-to-date|Available|Age|+Containers|+Images|+Selector".to_owned(),
            format!("web|2/2|2|2|90s|app|{image}|app=web"),
        ]),
        (format!("{apps}/statefulsets"), [
            "Name|Ready|Age|+Containers|+Images".to_owned(),
            format!("db|1/1|90s|app|{image}"),
        ]),
        (format!("{apps}/daemonsets"), [
            "Name|Desired|Current|Ready|Up-to-date|Available|Node Selector|Age|+Containers|\
             +Images|+Selector"
                .to_owned(),
            format!("agent|1|1|1|1|1|<none>|90s|app|{image}|app=agent"),
        ]),
        (format!("{batch}/cronjobs"), [
            "Name|Schedule|Timezone|Suspend|Active|Last Schedule|Age|+Containers|+Images|+Selector"
                .to_owned(),
            format!("nightly|0 2 * * *|<none>|False|0|<none>|90s|app|{image}|<none>"),
        ]),
    ] {
        assert_eq!(lines(&table(&sandbox, &uri).await), expected, "{uri}");
    }
    let jobs = lines(&table(&sandbox, &format!("{batch}/jobs")).await);
    assert!(jobs[1].starts_with("import|Complete|1/1|6s|90s|app|"), "{jobs:?}");
    let sets = lines(&table(&sandbox, &format!("{apps}/replicasets")).await);
    assert_eq!(sets[0], "Name|Desired|Current|Ready|Age|+Containers|+Images|+Selector");
    assert!(sets[1].contains("|2|2|2|90s|app|"), "{sets:?}");
    let events = lines(&table(&sandbox, "/api/v1/events").await);
    let columns =
        "Last Seen|Type|Reason|Object|+Subobject|+Source|Message|+First Seen|+Count|+Name";
    assert_eq!(events[0], columns);
    assert!(events.iter().any(|line| line.contains("|Normal|Scheduled|pod/db-0|")), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn pods_say_what_their_containers_do() {
    let sandbox = application().await;
    let failing = |name: &str, how: &str| {
        let pod = fixtures::pod("shop", name);
        fixtures::with_pod_label(pod, "bed.revshift.dev/fails", how)
    };
    let objects = [
        failing("z-crash", "crash-loop"),
        failing("z-idle", "never-ready"),
        failing("z-pull", "image-pull"),
    ];
    for object in objects {
        sandbox.apply(object);
    }
    run(&sandbox, 15).await;
    let table = table(&sandbox, "/api/v1/namespaces/shop/pods").await;
    let lines = lines(&table);
    assert_eq!(
        lines[0],
        "Name|Ready|Status|Restarts|Age|+IP|+Node|+Nominated Node|+Readiness Gates"
    );
    for start in ["db-0|2/2|Running|0|", "z-pull|0/1|ImagePullBackOff|0|15s|"] {
        assert!(lines.iter().any(|line| line.starts_with(start)), "{start}: {lines:#?}");
    }
    for part in ["|0/2|Completed|0|", "z-crash|0/1|CrashLoopBackOff|1|15s", "z-idle|0/1|Running|0|"]
    {
        assert!(lines.iter().any(|line| line.contains(part)), "{part}: {lines:#?}");
    }
    // Rows carry what `-L`, `-n` and the next watch need.
    let metadata = &table["rows"][0]["object"];
    assert_eq!(metadata["kind"], "PartialObjectMetadata");
    assert_eq!(metadata["metadata"]["labels"]["istio.io/rev"], OLD);
    assert_eq!(table["metadata"]["resourceVersion"], sandbox.version().to_string());
    let none = crate::tables::table(&sandbox, "/api/v1/pods?includeObject=None").await;
    assert!(none["rows"][0]["object"].is_null());
}

#[tokio::test(start_paused = true)]
async fn custom_kinds_have_the_columns_of_their_definitions() {
    let sandbox = sandbox();
    let mut plane = fixtures::istio_control_plane("cp-v113x", "istio-system", "1.13.5");
    plane["spec"]["meshExpansion"] = json!({ "enabled": true });
    plane["status"]["gatewayAddress"] = json!(["3.122.28.53", "3.122.43.249"]);
    plane["metadata"]["creationTimestamp"] = json!("2025-12-31T22:33:00Z");
    sandbox.apply(plane);
    let group = "/apis/servicemesh.cisco.com/v1alpha1/namespaces/istio-system/istiocontrolplanes";
    let lines = lines(&table(&sandbox, group).await);
    assert_eq!(lines[0], "Name|Mode|Network|Status|Mesh expansion|Expansion GW IPs|Error|Age");
    assert_eq!(
        lines[1],
        r#"cp-v113x|ACTIVE|network1|Available|true|["3.122.28.53","3.122.43.249"]||87m"#
    );

    let definition = fixtures::definition("x.example", "v1", "Thing", "things", "Cluster", &[]);
    sandbox.apply(definition);
    let thing =
        json!({ "apiVersion": "x.example/v1", "kind": "Thing", "metadata": { "name": "a" } });
    sandbox.apply(thing);
    let things = table(&sandbox, "/apis/x.example/v1/things").await;
    assert_eq!(crate::tables::lines(&things), ["Name|Age", "a|0s"]);
}

#[tokio::test(start_paused = true)]
async fn tables_page_and_are_watched() {
    let sandbox = application().await;
    let page = table(&sandbox, "/api/v1/pods?limit=2").await;
    assert_eq!(page["rows"].as_array().unwrap().len(), 2);
    let token = page["metadata"]["continue"].as_str().unwrap();
    let rest = table(&sandbox, &format!("/api/v1/pods?continue={token}")).await;
    assert_eq!(rest["metadata"]["resourceVersion"], page["metadata"]["resourceVersion"]);

    let version = sandbox.version();
    let uri = format!("/api/v1/namespaces?watch=true&timeoutSeconds=5&resourceVersion={version}");
    let watch = open(&sandbox, &uri).await.into_body();
    for color in ["red", "blue"] {
        let patch = json!({ "metadata": { "labels": { "color": color } } });
        merge(&sandbox, "/api/v1/namespaces/shop", &patch).await;
    }
    let bytes = watch.collect().await.unwrap().to_bytes();
    let events: Vec<Value> = bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(events.len(), 2);
    assert_eq!(
        (&events[0]["type"], &events[0]["object"]["kind"]),
        (&json!("MODIFIED"), &json!("Table"))
    );
    // The columns are told once.
    assert_eq!(lines(&events[0]["object"])[0], "Name|Status|Age");
    assert_eq!(lines(&events[1]["object"]), ["", "shop|Active|90s"]);
}

#[tokio::test(start_paused = true)]
async fn workloads_scale_by_their_subresource() {
    let sandbox = application().await;
    let uri = "/apis/apps/v1/namespaces/shop/deployments/web/scale";
    let (code, scale) = send(&sandbox, "GET", uri, "", &Value::Null).await;
    assert_eq!((code, &scale["spec"]["replicas"]), (200, &json!(2)));
    assert_eq!(scale["status"], json!({ "replicas": 2, "selector": "app=web" }));
    let (code, _) = merge(&sandbox, uri, &json!({ "spec": { "replicas": 5 } })).await;
    assert_eq!(code, 200);
    // What was read before is stale now.
    let (code, _) = send(&sandbox, "PUT", uri, "application/json", &scale).await;
    assert_eq!(code, 409);
    let (code, _) = merge(&sandbox, uri, &json!({ "spec": { "replicas": -1 } })).await;
    assert_eq!(code, 422);
    run(&sandbox, 5).await;
    let web = sandbox.object("/apis/apps/v1/namespaces/shop/deployments/web").unwrap();
    assert_eq!((&web["spec"]["replicas"], &web["status"]["readyReplicas"]), (&json!(5), &json!(5)));
    let agent = "/apis/apps/v1/namespaces/shop/daemonsets/agent/scale";
    assert_eq!(send(&sandbox, "GET", agent, "", &Value::Null).await.0, 501);
}

#[tokio::test(start_paused = true)]
async fn kubectl_learns_what_it_may_send() {
    let sandbox = sandbox();
    let get = async |uri: &str| send(&sandbox, "GET", uri, "", &Value::Null).await;
    let (_, index) = get("/openapi/v3").await;
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    let (code, document) = get(url).await;
    assert_eq!(code, 200);
    let url = "/apis/apps/v1/namespaces/{namespace}/deployments/{name}";
    let patch = &document["paths"][url]["patch"];
    assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Deployment");
    assert!(patch["parameters"].to_string().contains("fieldValidation"));
    assert_eq!(get("/openapi/v3/apis/none/v1").await.0, 404);
    assert_eq!(get("/openapi/v2").await.0, 501);

    let (_, apps) = get("/apis/apps/v1").await;
    let resources = apps["resources"].as_array().unwrap();
    let found = |name: &str| resources.iter().find(|one| one["name"] == name);
    assert_eq!(found("deployments").unwrap()["categories"], json!(["all"]));
    assert_eq!(found("deployments/scale").unwrap()["group"], "autoscaling");
    assert!(found("daemonsets/scale").is_none());

    // Some of kubectl's commands speak nothing but protobuf.
    let protobuf = "application/vnd.kubernetes.protobuf";
    let (code, status) = send(&sandbox, "POST", "/api/v1/namespaces", protobuf, &json!({})).await;
    assert_eq!((code, &status["reason"]), (415, &json!("UnsupportedMediaType")));
}
