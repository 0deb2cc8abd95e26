//! What is made of istiods' answers, and whom they are asked of.

use super::*;
use crate::config::Config;
use http::Response;
use kube::client::Body;
use revshift_core::connection::Stand;
use std::convert::Infallible;

/// As istiods of 1.11 to 1.23 answer: only what was sent is told, and no errors.
const OLDER: &str = r#"[
  {"cluster_id":"Kubernetes","proxy":"web-1.shop","istio_version":"1.13.5",
   "cluster_sent":"c1","cluster_acked":"c1","listener_sent":"l1","listener_acked":"l1",
   "route_sent":"r1","route_acked":"r1","endpoint_sent":"e1","endpoint_acked":"e1"},
  {"cluster_id":"Kubernetes","proxy":"web-2.shop","istio_version":"1.13.5",
   "cluster_sent":"c2","cluster_acked":"c1","listener_sent":"l1"},
  {"cluster_id":"Kubernetes","proxy":"web-3.shop","istio_version":"1.13.5"},
  {"cluster_id":"Kubernetes","proxy":"my.vm.shop","proxy_version":"1.13.5",
   "cluster_sent":"c1","cluster_acked":"c1"}
]"#;

/// As newer ones answer: every kind by its type URL, with its last error.
const NEWER: &str = r#"[
  {"cluster_id":"Kubernetes","proxy":"web-1.shop","proxy_type":"sidecar","istio_version":"1.27.0",
   "cluster_sent":"c1","cluster_acked":"c1","listener_sent":"l2","listener_acked":"l1",
   "resources":{
     "type.googleapis.com/envoy.config.cluster.v3.Cluster":
       {"sent":"c1","acked":"c1","sentTime":"2026-01-01T00:00:00Z"},
     "type.googleapis.com/envoy.config.listener.v3.Listener":
       {"sent":"l2","acked":"l1","sentTime":"2026-01-01T00:00:00Z","lastError":"bad \"filter\""},
     "type.googleapis.com/istio.networking.nds.v1.NameTable":{"sent":"n1"}}},
  {"cluster_id":"Kubernetes","proxy":"gateway-0.edge","proxy_type":"router",
   "cluster_sent":"c1","cluster_acked":"c1",
   "resources":{
     "type.googleapis.com/envoy.config.cluster.v3.Cluster":{"sent":"c1","acked":"c1"},
     "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret":
       {"sentTime":"0001-01-01T00:00:00Z"}}}
]"#;

fn stands(body: &str) -> Vec<(String, Stand)> {
    let told = syncz::proxies(body.as_bytes()).unwrap();
    let name = |proxy: &Proxy| format!("{}/{}", proxy.namespace, proxy.pod);
    told.proxies.into_iter().map(|proxy| (name(&proxy), proxy.stand)).collect()
}

#[test]
fn what_istiods_of_every_version_tell_is_read() {
    let stale = |kinds: &[&str]| Stand::Stale(kinds.iter().map(|&kind| kind.to_owned()).collect());
    let named = |name: &str, stand: Stand| (name.to_owned(), stand);
    assert_eq!(
        stands(OLDER),
        [
            named("shop/web-1", Stand::Synced),
            named("shop/web-2", stale(&["clusters", "listeners"])),
            named("shop/web-3", Stand::NotSent),
            named("shop/my.vm", Stand::Synced),
        ]
    );
    let rejected = Stand::Rejected("listeners".to_owned(), "bad \"filter\"".to_owned());
    assert_eq!(
        stands(NEWER),
        [named("shop/web-1", rejected), named("edge/gateway-0", Stand::Synced)]
    );
    assert_eq!(stands("[]"), []);
    assert_eq!(stands("null"), []);
    assert!(!syncz::proxies(OLDER.as_bytes()).unwrap().tells_errors);
    assert!(syncz::proxies(NEWER.as_bytes()).unwrap().tells_errors);
    for wrong in ["", "{}", "<html>", r#"[{"proxy":1}]"#] {
        assert!(syncz::proxies(wrong.as_bytes()).is_err(), "{wrong}");
    }
}

const METRICS: &str = r#"# HELP pilot_total_xds_rejects Total number of XDS responses from pilot rejected by proxy.
# TYPE pilot_total_xds_rejects counter
pilot_total_xds_rejects{type="cds"} 2
pilot_total_xds_rejects{type="l}ds"} 3 1700000000000
pilot_total_xds_rejects_of_others 70
# TYPE pilot_xds_lds_reject gauge
pilot_xds_lds_reject{err="Internal",node="web-2.shop"} 3
pilot_xds_cds_reject{node="web-9.shop",err="a \"quoted\" } one"} 1
pilot_xds_rds_reject{err="Internal",node="web-1.shop"} 0
pilot_info{version="1.13.5"} 1
"#;

#[test]
fn rejects_are_counted_over_all_kinds() {
    assert_eq!(metrics::rejects(METRICS.as_bytes()), Ok(5));
    assert_eq!(metrics::rejects(b"pilot_info{version=\"1\"} 1\n"), Ok(0));
    assert!(metrics::rejects(b"up 1\n").is_err());
    assert!(metrics::rejects(b"\xff").is_err());
    let of = metrics::rejecting(METRICS.as_bytes());
    let of: Vec<_> = of.iter().map(|(node, kind)| (node.as_str(), *kind)).collect();
    assert_eq!(of, [("web-2.shop", "listeners"), ("web-9.shop", "clusters")]);
}

/// A Kubernetes that has these pods as istiods, and knows the caller as `user`.
fn kubernetes(addresses: &[&str], user: &'static str) -> Client {
    let pods: Vec<_> = addresses
        .iter()
        .enumerate()
        .map(|(index, address)| {
            serde_json::json!({
                "metadata": {"name": format!("istiod-{index}"), "namespace": "istio-system"},
                "spec": {"containers": []}, "status": {"podIP": address},
            })
        })
        .collect();
    let list = serde_json::json!({
        "apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": pods,
    });
    let hooks = serde_json::json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfigurationList",
        "metadata": {}, "items": [{
            "metadata": {"name": "istio-sidecar-injector-1-31", "labels": {"istio.io/rev": "1-31"}},
            "webhooks": [{
                "name": "rev.namespace.sidecar-injector.istio.io",
                "clientConfig": {"service": {"name": "istiod-1-31", "namespace": "istio-system"}},
                "admissionReviewVersions": ["v1"], "sideEffects": "None",
            }],
        }],
    });
    let answer = move |request: Request<Body>| {
        let path = request.uri().path().to_owned();
        let answer = match path.as_str() {
            "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations" => hooks.clone(),
            // Only where the injector calls: in any other namespace a tenant may label a pod as an istiod.
            "/api/v1/namespaces/istio-system/pods" => list.clone(),
            "/apis/authentication.k8s.io/v1/selfsubjectreviews" => serde_json::json!({
                "metadata": {}, "status": {"userInfo": {"username": user}},
            }),
            "/api/v1/namespaces/home/serviceaccounts/me/token" => serde_json::json!({
                "metadata": {}, "spec": {"audiences": ["istio-ca"]},
                "status": {"token": "secret", "expirationTimestamp": "2026-01-01T00:00:00Z"},
            }),
            other => panic!("nobody asks for {other}"),
        };
        let body = Body::from(answer.to_string().into_bytes());
        async move { Ok::<_, Infallible>(Response::new(body)) }
    };
    Client::new(tower::service_fn(answer), "default")
}

/// Requests that were sent: the URL, and the token.
type Heard = Arc<Mutex<Vec<String>>>;

fn proxies(
    config: &str,
    client: Client,
    answer: impl Fn(&str, bool) -> (u16, &'static str) + Send + Sync + 'static,
) -> (Proxies, Heard) {
    let heard = Heard::default();
    let (log, answer) = (Arc::clone(&heard), Arc::new(answer));
    let web = Web::new(move |request| {
        let url = request.uri().to_string();
        let token = request.headers().get(AUTHORIZATION).map(|it| it.to_str().unwrap().to_owned());
        let known = token.as_deref() == Some("Bearer secret");
        log.lock().unwrap().push(format!("{url} {}", token.unwrap_or_default()).trim().to_owned());
        let answer = Arc::clone(&answer);
        async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let (status, body) = answer(&url, known);
            let status = StatusCode::from_u16(status).map_err(|_| "refused".to_owned())?;
            Ok(Answer { status, body: body.into() })
        }
    });
    let config = watch::channel(Config::parse(config).unwrap()).1;
    (Proxies::new(web, client, config), heard)
}

fn revision() -> Revision {
    Revision("1-31".to_owned())
}

const TWO: &str = "istiods: {1-31: ['http://a:15014/', 'http://b:15014']}";

#[tokio::test(start_paused = true)]
async fn every_replica_is_asked_and_who_does_not_answer_is_told() {
    let (proxies, heard) = proxies(TWO, kubernetes(&[], ""), |url, _| match url {
        "http://a:15014/debug/syncz" => (200, NEWER),
        _ => (0, ""),
    });
    let told = proxies.connections(&revision()).await;
    assert_eq!(told.proxies.len(), 2);
    assert_eq!(told.missing, ["http://b:15014/debug/syncz: refused"]);
    let heard = heard.lock().unwrap();
    assert_eq!(*heard, ["http://a:15014/debug/syncz", "http://b:15014/debug/syncz"]);
}

#[tokio::test(start_paused = true)]
async fn a_token_goes_only_to_who_wants_one() {
    let answer = |_: &str, known: bool| if known { (200, "[]") } else { (401, "") };
    let account = "system:serviceaccount:home:me";
    let (pods, heard) = proxies("", kubernetes(&["10.0.0.1", "fd00::1"], account), answer);
    let told = pods.connections(&revision()).await;
    assert_eq!(*told, Connections::default());
    let mut heard = heard.lock().unwrap().clone();
    heard.sort();
    let of = |host: &str| {
        let url = format!("http://{host}:15014/debug/syncz");
        [url.clone(), format!("{url} Bearer secret")]
    };
    assert_eq!(heard, [of("10.0.0.1"), of("[fd00::1]")].concat());

    let (nobody, _) = proxies(TWO, kubernetes(&[], "admin"), answer);
    let why = nobody.connections(&revision()).await.incomplete().unwrap();
    assert!(
        why.contains("wants a token, and revshift runs as `admin`, which is no Service"),
        "{why}"
    );
    let (forbidden, _) =
        proxies(
            TWO,
            kubernetes(&[], account),
            |_, known| {
                if known { (403, "") } else { (401, "") }
            },
        );
    let why = forbidden.connections(&revision()).await.incomplete().unwrap();
    assert!(why.contains("DEBUG_ENDPOINT_AUTH_ALLOWED_NAMESPACES"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_plane_without_istiods_cannot_be_asked() {
    let (proxies, _) = proxies("", kubernetes(&[], ""), |_, _| (200, "[]"));
    let told = proxies.connections(&revision()).await;
    assert!(told.incomplete().unwrap().contains("label app=istiod"), "{told:?}");
    assert!(proxies.rejects(&revision()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_older_istiod_tells_by_its_metrics_who_rejects() {
    let one = "istiods: {1-31: ['http://a:15014']}";
    let (proxies, _) = proxies(one, kubernetes(&[], ""), |url, _| match url {
        "http://a:15014/debug/syncz" => (200, OLDER),
        _ => (200, METRICS),
    });
    let told = proxies.connections(&revision()).await;
    let stand = &told.proxy("shop", "web-2").unwrap().stand;
    assert_eq!(*stand, Stand::Rejected("listeners".to_owned(), String::new()));
    assert_eq!(told.proxy("shop", "web-1").unwrap().stand, Stand::Synced);
    assert_eq!(proxies.rejects(&revision()).await, Ok(5));
}

#[tokio::test(start_paused = true)]
async fn all_who_ask_at_once_share_a_question() {
    let one = "istiods: {1-31: ['http://a:15014']}";
    let (proxies, heard) = proxies(one, kubernetes(&[], ""), |_, _| (200, NEWER));
    let asked = || heard.lock().unwrap().len();
    let ask = async || proxies.connections(&revision()).await;
    tokio::join!(ask(), ask(), ask());
    assert_eq!(asked(), 1);
    // Later ones want to know what is so now, though not before its time.
    let begun = Instant::now();
    tokio::join!(ask(), ask());
    assert_eq!((asked(), begun.elapsed()), (2, Duration::from_secs(2)));
    // Whoever only looks takes what is a few seconds old.
    proxies.recent(&revision(), Duration::from_secs(2)).await;
    assert_eq!(asked(), 2);
    tokio::time::advance(RECENT).await;
    proxies.recent(&revision(), Duration::from_secs(2)).await;
    assert_eq!(asked(), 3);
    tokio::time::advance(RECENT * 2).await;
    let late = proxies.recent(&revision(), Duration::from_millis(500)).await;
    assert!(late.incomplete().unwrap().contains("have not answered within"), "{late:?}");
}
