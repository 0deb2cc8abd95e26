//! Checks, by what is answered.

use super::*;
use crate::config::Config;
use crate::web::{Answer, network};
use bytes::Bytes;
use http::StatusCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// A Web that gives these answers, one after the other and the last for ever, and what it was asked.
fn answering(answers: Vec<(u16, &'static str)>) -> (Web, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (heard, next) = (Arc::clone(&asked), AtomicUsize::new(0));
    let web = Web::new(move |request| {
        heard.lock().unwrap().push(format!("{} {}", request.uri(), request.body()));
        let place = next.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1);
        let (status, body) = answers[place];
        async move {
            let status = StatusCode::from_u16(status).map_err(|_| "no answer".to_owned())?;
            Ok(Answer { status, body: Bytes::from_static(body.as_bytes()) })
        }
    });
    (web, asked)
}

fn prober(web: Web) -> Prober {
    prober_with(web, "", Arc::default())
}

/// One that asks the istiods of a configuration, and knows the pods that are published.
fn prober_with(web: Web, config: &str, published: Arc<Published>) -> Prober {
    let client = kube::Config::new(http::Uri::from_static("http://127.0.0.1:1"));
    let client = Client::try_from(client).unwrap();
    let config = tokio::sync::watch::channel(Config::parse(config).unwrap()).1;
    let proxies = Proxies::new(web.clone(), client.clone(), config);
    Prober::new(web, client, "revshift-system", proxies, published)
}

fn check(text: &str) -> CheckConfig {
    let text = format!("checks:\n- {}", text.replace('\n', "\n  "));
    Config::parse(&text).unwrap().checks.remove(0)
}

fn subject() -> Subject {
    Subject {
        migration: "m-1".to_owned(),
        wave: 2,
        run: 0,
        since: Timestamp::UNIX_EPOCH,
        source: "1-30".to_owned(),
        target: "1-31".to_owned(),
        namespaces: vec!["a".to_owned(), "b".to_owned()],
    }
}

fn baseline(value: Option<&str>) -> Baseline {
    let message = if value.is_none() { "it was down".to_owned() } else { String::new() };
    let (question, at) = (check(ERRORS).question(), Timestamp::UNIX_EPOCH);
    Baseline { question, value: value.map(str::to_owned), at, message }
}

/// A check that asks one question, whatever its thresholds.
const ERRORS: &str = "name: e\nprometheus: {url: 'http://p', query: x, atMost: 1}";

#[tokio::test(start_paused = true)]
async fn an_endpoint_passes_when_it_answers_with_2xx_at_last() {
    let smoke = check("name: smoke\nhttp: {url: 'http://x/healthz', retries: 2, interval: 3s}");
    for (answers, outcome, message, times) in [
        (vec![(204, "")], Outcome::Pass, "http://x/healthz answers 204 No Content", 1),
        (vec![(500, ""), (0, ""), (200, "")], Outcome::Pass, "http://x/healthz answers 200 OK", 3),
        (vec![(503, "")], Outcome::Fail, "http://x/healthz answers 503 Service Unavailable", 3),
        (vec![(302, "")], Outcome::Fail, "http://x/healthz answers 302 Found", 3),
        (vec![(0, "")], Outcome::Inconclusive, "http://x/healthz: no answer", 3),
    ] {
        let (web, asked) = answering(answers);
        let begun = tokio::time::Instant::now();
        let told = prober(web).check(&smoke, &subject(), None).await;
        assert_eq!(told, (outcome, message.to_owned()));
        assert_eq!(asked.lock().unwrap().len(), times, "{message}");
        let pauses = u32::try_from(times - 1).unwrap();
        assert_eq!(begun.elapsed(), Duration::from_secs(3) * pauses);
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_answer_in_time_tells_nothing() {
    let smoke = check("name: smoke\nhttp: {url: 'http://x', timeout: 1s, retries: 0}");
    let web = Web::new(|_| std::future::pending());
    let told = prober(web).check(&smoke, &subject(), None).await;
    assert_eq!(told, (Outcome::Inconclusive, "http://x: no answer within 1 s".to_owned()));
}

/// The answer of Prometheus with one number.
const HALF: &str = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"0.5"]}]}}"#;

#[tokio::test(start_paused = true)]
async fn a_value_keeps_to_its_thresholds_or_not() {
    for (thresholds, before, outcome, message) in [
        ("atMost: 0.5", None, Outcome::Pass, "it is 0.5"),
        ("atMost: 0.4", None, Outcome::Fail, "it is 0.5, and may be at most 0.4"),
        ("atLeast: 0.6", None, Outcome::Fail, "it is 0.5, and must be at least 0.6"),
        (
            "atMostAboveBaseline: 0.25",
            Some(baseline(Some("0.4"))),
            Outcome::Pass,
            "it is 0.5; it was 0.4 before the wave",
        ),
        (
            "atMostAboveBaseline: 0.5",
            Some(baseline(Some("0.25"))),
            Outcome::Fail,
            "it is 0.5; it was 0.25 before the wave, and may be 0.375",
        ),
        (
            "atMostBelowBaseline: 0.25",
            Some(baseline(Some("1"))),
            Outcome::Fail,
            "it is 0.5; it was 1 before the wave, and must be 0.75",
        ),
        (
            "atMostAboveBaseline: 1",
            Some(baseline(None)),
            Outcome::Inconclusive,
            "it is 0.5; before the wave nothing was measured: it was down",
        ),
        (
            "atMostAboveBaseline: 1",
            None,
            Outcome::Inconclusive,
            "it is 0.5; nothing was measured before the wave",
        ),
    ] {
        let config = format!("name: e\nprometheus: {{url: 'http://p', query: x, {thresholds}}}");
        let (web, _) = answering(vec![(200, HALF)]);
        let told = prober(web).check(&check(&config), &subject(), before.as_ref()).await;
        assert_eq!(told, (outcome, message.to_owned()), "{thresholds}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_query_has_measured_is_not_compared() {
    let config = check("name: e\nprometheus: {url: 'http://p', query: y, atMostAboveBaseline: 9}");
    let (web, _) = answering(vec![(200, HALF)]);
    let told = prober(web).check(&config, &subject(), Some(&baseline(Some("0.4")))).await;
    let why = "it is 0.5; another query was measured before the wave";
    assert_eq!(told, (Outcome::Inconclusive, why.to_owned()));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_number_tells_nothing() {
    let config = check("name: e\nprometheus: {url: 'http://p/', query: x, atMost: 1}");
    for (status, body, message) in [
        (200, r#"{"data":{"resultType":"vector","result":[]}}"#, "the query has no result"),
        (
            200,
            r#"{"data":{"resultType":"vector","result":[{"value":[1,"1"]},{"value":[1,"2"]}]}}"#,
            "the query has 2 results, and must have one",
        ),
        (
            200,
            r#"{"data":{"resultType":"scalar","result":[1,"NaN"]}}"#,
            "the query gives `NaN`, which is no number to compare",
        ),
        (
            200,
            r#"{"data":{"resultType":"matrix","result":[]}}"#,
            "the query gives a matrix, and must give one number",
        ),
        (
            400,
            r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#,
            "http://p/api/v1/query answers 400 Bad Request: parse error",
        ),
        (200, "<html>", "http://p/api/v1/query answers 200 OK, and not as Prometheus does"),
    ] {
        let (web, _) = answering(vec![(status, body)]);
        let prober = prober(web);
        let told = prober.check(&config, &subject(), None).await;
        assert_eq!(told, (Outcome::Inconclusive, message.to_owned()));
        assert_eq!(prober.measure(&config, &subject()).await, Err(message.to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn the_query_says_what_it_is_about() {
    let config = check(
        "name: e\nprometheus:\n  url: http://p\n  query: 'rate(x{ns=~\"{{namespaces}}\",\
         rev=\"{{target}}\",old=\"{{source}}\"}[5m])'\n  atMostAboveBaseline: 0",
    );
    let (web, asked) = answering(vec![(200, HALF)]);
    assert_eq!(prober(web).measure(&config, &subject()).await, Ok("0.5".to_owned()));
    let asked = asked.lock().unwrap();
    let (url, body) = asked[0].split_once(' ').unwrap();
    let query: Vec<_> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    assert_eq!(url, "http://p/api/v1/query");
    let expected = r#"rate(x{ns=~"a|b",rev="1-31",old="1-30"}[5m])"#;
    assert_eq!(query, [("query".to_owned(), expected.to_owned())]);
}

#[tokio::test]
async fn the_network_is_asked_in_earnest() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = vec![0; 1024];
        let length = stream.read(&mut heard).await.unwrap();
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8_lossy(&heard[..length]).into_owned()
    });
    let config = |retries: u32| {
        check(&format!("name: s\nhttp: {{url: 'http://{address}/x', retries: {retries}}}"))
    };
    let prober = prober(network());
    let (outcome, message) = prober.check(&config(0), &subject(), None).await;
    assert_eq!(outcome, Outcome::Pass, "{message}");
    let heard = serving.await.unwrap();
    assert!(heard.starts_with("GET /x HTTP/1.1\r\n"), "{heard}");
    // Nobody listens any more.
    let (outcome, message) = prober.check(&config(0), &subject(), None).await;
    assert_eq!(outcome, Outcome::Inconclusive);
    assert!(message.contains("Connection refused"), "{message}");
}

/// What is published of `a`: two pods that the target has injected, and one that it has not.
fn moved() -> Arc<Published> {
    use revshift_core::cluster::{Change, Key, Kind, NamespaceMeta, Object};
    use revshift_core::label::Labels;
    use revshift_core::plane::Revision;
    use revshift_core::pod::{Injected, InjectionWish, Make, Pod};
    let published = Arc::new(Published::default());
    let key = |namespace: &str, name: &str| Key { namespace: namespace.into(), name: name.into() };
    let meta = NamespaceMeta {
        uid: "uid".to_owned(),
        resource_version: "1".to_owned(),
        labels: Labels::new(),
        lock: None,
        terminating: false,
        order: 0,
        skip: false,
        label_manager: None,
        label_owner: None,
    };
    published.update(|state| {
        state.cluster.apply(Change::Set(Kind::Namespace, key("", "a"), Object::Namespace(meta)));
        for (name, revision) in [("web-1", "1-31"), ("web-2", "1-31"), ("job", "1-30")] {
            let injected = Injected::By(Revision(revision.to_owned()));
            let wish = InjectionWish::default();
            let make = Arc::new(Make { owner: None, injected, wish, restart: None });
            let pod = Pod { name: name.into(), uid: name.into(), make, terminating: false };
            let pod = Object::Pod(Box::new(pod));
            state.cluster.apply(Change::Set(Kind::Pod, key("a", name), pod));
        }
    });
    published
}

#[tokio::test(start_paused = true)]
async fn istiods_tell_whether_what_was_moved_is_served() {
    const ISTIODS: &str = "istiods: {1-31: ['http://i:1']}";
    let check = check("name: i\nistiod: {rejects: 1, retries: 0}");
    assert!(check.measures());
    let before = |value: &str| Baseline {
        question: check.question(),
        value: Some(value.to_owned()),
        at: Timestamp::UNIX_EPOCH,
        message: String::new(),
    };
    let synced = r#"{"proxy":"web-1.a","cluster_sent":"1","cluster_acked":"1"}"#;
    let second = |acked: &str| {
        let told = format!(r#"{{"proxy":"web-2.a","cluster_sent":"1","cluster_acked":"{acked}"}}"#);
        format!("[{synced},{told}]")
    };
    let rejecting = r#"{"proxy":"web-2.a","resources":{"x.Listener":{"lastError":"no filter"}}}"#;
    let rejecting = format!("[{synced},{rejecting}]");
    let metrics = "pilot_info 1\npilot_total_xds_rejects{type=\"lds\"} 5\n";
    for (syncz, baseline, outcome, word) in [
        (
            second("1"),
            Some(before("4")),
            Outcome::Pass,
            "all 2 pods are connected to `1-31`; 1 rejects",
        ),
        (second("1"), Some(before("3")), Outcome::Fail, "2 times since before the wave, and may 1"),
        (second("1"), Some(before("6")), Outcome::Inconclusive, "an istiod has started anew"),
        (second("1"), None, Outcome::Inconclusive, "rejects were not counted before the wave"),
        (second("0"), None, Outcome::Fail, "1 of 2 pods (a/web-2) have not acknowledged"),
        (
            rejecting,
            None,
            Outcome::Fail,
            "1 of 2 pods (a/web-2) reject what `1-31` has for them: listeners: no filter",
        ),
        (
            format!("[{synced}]"),
            None,
            Outcome::Fail,
            "1 of 2 pods (a/web-2) are not connected to `1-31`",
        ),
        (String::new(), None, Outcome::Inconclusive, "cannot be told: http://i:1/debug/syncz"),
    ] {
        let answer = syncz.clone();
        let web = Web::new(move |request| {
            let syncz = request.uri().path() == "/debug/syncz";
            let body = if syncz { answer.clone() } else { metrics.to_owned() };
            async move { Ok(Answer { status: StatusCode::OK, body: Bytes::from(body) }) }
        });
        let prober = prober_with(web, ISTIODS, moved());
        let told = prober.check(&check, &subject(), baseline.as_ref()).await;
        assert!(told.0 == outcome && told.1.contains(word), "{syncz}: {told:?}");
        assert_eq!(prober.measure(&check, &subject()).await, Ok("5".to_owned()));
    }
}
