//! Faults by name: their texts, where and how often they strike, and what they answer.

use std::time::Duration;

use http_body_util::BodyExt;
use revshift_sandbox::{Fault, FaultKind, Faults, Sandbox};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::{sandbox, send};

const MAPS: &str = "/api/v1/namespaces/shop/configmaps";

/// Arms faults, and gives them to look at.
pub(super) fn inject(sandbox: &Sandbox, seed: u64, faults: &[&str]) -> Faults {
    let faults = faults.iter().map(|text| text.parse::<Fault>().unwrap());
    let faults = Faults::new(seed, faults);
    sandbox.inject(&faults);
    faults
}

async fn create(sandbox: &Sandbox, name: &str) -> (u16, Value) {
    let map = json!({ "metadata": { "name": name }, "data": { "a": "1" } });
    send(sandbox, "POST", MAPS, "application/json", &map).await
}

#[test]
fn every_kind_has_a_text_that_means_it() {
    for kind in FaultKind::ALL.iter().copied() {
        let name = kind.name();
        let fault: Fault = name.parse().unwrap();
        assert_eq!(fault, Fault::new(kind), "{name}");
        assert_eq!(fault.to_string().parse(), Ok(fault.clone()), "{fault}");
        let lines = kind.summary().lines().count();
        assert!(lines == 1 && !kind.summary().ends_with('.'), "{name}");
    }
    for text in [
        "lost-reply:patch deployments:3",
        "slow=500ms:writes deployments.apps shop/web from kubectl:always after 4 1 in 3",
        "unavailable:any:for 1m30s",
        "clock-jump=-1h:any namespaces shop:1",
        "hang-before:update * */web:2",
        "gone:any from tcp:1",
    ] {
        assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
    }
}

#[test]
fn what_names_no_fault_is_refused() {
    for (text, told) in [
        ("lost-replies", "there is no fault `lost-replies`, only conflict, gone,"),
        ("", "there is no fault ``"),
        ("conflict:pach namespaces", "there is no verb `pach`, only any, reads"),
        ("conflict:patch namespaces a b", "`b` is too much"),
        ("conflict:patch from", "`from` whom?"),
        ("conflict:patch:often", "`often` is no count"),
        ("conflict:patch:1 in 0", "`1 in 0` is no count"),
        ("conflict:patch:1:2", "`2` is too much"),
        ("conflict=3s", "conflict takes no duration"),
        ("slow=soon", "`soon` is no duration"),
        ("slow=-3s", "`-3s` is no duration"),
    ] {
        let error = text.parse::<Fault>().unwrap_err().to_string();
        assert!(error.contains(told), "{text}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn faults_strike_where_and_as_often_as_told() {
    let sandbox = sandbox();
    let faults = inject(&sandbox, 0, &["internal-error:create configmaps shop:2 after 1"]);
    let mut codes = Vec::new();
    for number in 0..4 {
        codes.push(create(&sandbox, &format!("map-{number}")).await.0);
    }
    assert_eq!(codes, [201, 500, 500, 201]);
    assert_eq!(faults.struck()[0].1, 2);
    // Other verbs, namespaces, names and clients are spared.
    for place in ["get", "create pods", "create * orders", "any * */other", "any from kubectl"] {
        inject(&sandbox, 0, &[&format!("internal-error:{place}:always")]);
        let (code, _) = create(&sandbox, &format!("spared-{}", place.len())).await;
        assert_eq!(code, 201, "{place}");
    }
    // The user agent of these requests is `tester`, the tag of the service `raw`.
    for place in ["any from tester", "any from raw", "writes configmaps", "any * shop"] {
        inject(&sandbox, 0, &[&format!("internal-error:{place}:always")]);
        assert_eq!(create(&sandbox, "never").await.0, 500, "{place}");
    }
    inject(&sandbox, 0, &["unavailable:any:for 30s"]);
    assert_eq!(create(&sandbox, "late").await.0, 503);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(create(&sandbox, "late").await.0, 503);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(create(&sandbox, "late").await.0, 201);
}

#[tokio::test(start_paused = true)]
async fn the_seed_chooses_and_the_same_seed_chooses_the_same() {
    let mut runs = Vec::new();
    for seed in [7, 7, 8] {
        let sandbox = sandbox();
        inject(&sandbox, seed, &["internal-error:create:always 1 in 3"]);
        let mut codes = Vec::new();
        for number in 0..40 {
            codes.push(create(&sandbox, &format!("map-{number}")).await.0);
        }
        let struck = codes.iter().filter(|code| **code == 500).count();
        assert!((5..=25).contains(&struck), "{struck} of 40");
        runs.push(codes);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}

#[tokio::test(start_paused = true)]
async fn refusals_say_what_a_real_server_says() {
    let sandbox = sandbox();
    let path = format!("{MAPS}/one");
    create(&sandbox, "one").await;
    let change = json!({ "data": { "a": "2" } });
    for (fault, code, reason, words) in [
        ("conflict", 409, "Conflict", "the object has been modified"),
        ("gone", 410, "Expired", "continue parameter is too old"),
        ("invalid", 422, "Invalid", "configmaps \"one\" is invalid"),
        (
            "forbidden",
            403,
            "Forbidden",
            "configmaps \"one\" is forbidden: User \"system:serviceaccount:revshift-system:\
             revshift-server\" cannot patch resource \"configmaps\" in API group \"\" in the \
             namespace \"shop\"",
        ),
        ("denied", 403, "Forbidden", "denied the request"),
        ("throttled", 429, "TooManyRequests", "Too many requests"),
        ("throttled-bare", 429, "TooManyRequests", "Too many requests"),
        ("internal-error", 500, "InternalError", "Internal error occurred"),
        ("unavailable", 503, "ServiceUnavailable", "unable to handle the request"),
        ("timeout", 504, "Timeout", "did not complete"),
    ] {
        inject(&sandbox, 0, &[&format!("{fault}:patch")]);
        let (found, status) = crate::merge(&sandbox, &path, &change).await;
        assert_eq!((found, &status["reason"]), (code, &json!(reason)), "{fault}");
        assert!(status["message"].as_str().unwrap().contains(words), "{status}");
        assert_eq!(sandbox.object(&path).unwrap()["data"]["a"], "1", "{fault}");
    }
    for (fault, header) in [("throttled=5s", Some("5")), ("throttled-bare", None)] {
        inject(&sandbox, 0, &[&format!("{fault}:any")]);
        let request = http::Request::get(MAPS).body(String::new()).unwrap();
        let response = sandbox.service("raw").oneshot(request).await.unwrap();
        let told = response.headers().get("retry-after").map(|value| value.to_str().unwrap());
        assert_eq!((response.status().as_u16(), told), (429, header));
    }
}

#[tokio::test(start_paused = true)]
async fn connections_break_and_answers_trickle() {
    let sandbox = sandbox();
    let path = format!("{MAPS}/one");
    for (fault, answered, whole, applied) in [
        ("reset", false, false, false),
        ("reset-after", false, false, true),
        ("truncated", true, false, true),
        ("trickle", true, true, true),
        ("hang-before", false, false, false),
        ("hang-after", false, false, true),
        ("lost-reply", true, true, true),
        ("slow=20s", true, true, true),
    ] {
        sandbox.remove(&path);
        inject(&sandbox, 0, &[&format!("{fault}:create")]);
        let map = json!({ "metadata": { "name": "one" } }).to_string();
        let request = http::Request::post(MAPS).body(map).unwrap();
        let began = tokio::time::Instant::now();
        let hour = Duration::from_hours(1);
        let response = tokio::time::timeout(hour, sandbox.service("raw").oneshot(request)).await;
        let response = response.ok().and_then(Result::ok);
        assert_eq!(response.is_some(), answered, "{fault}");
        if let Some(response) = response {
            let body = response.into_body().collect().await;
            assert_eq!(body.is_ok(), whole, "{fault}");
            if let (Ok(body), "trickle") = (body, fault) {
                let seconds = began.elapsed().as_secs();
                assert_eq!(usize::try_from(seconds).unwrap() - 1, body.to_bytes().len());
            }
        }
        assert_eq!(sandbox.object(&path).is_some(), applied, "{fault}");
    }
}
