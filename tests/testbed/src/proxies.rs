//! The Envoys of pods that only KWOK plays: one ADS stream for every injected pod whose proxy is
//! running, to the istiod that injected it, so that `/debug/syncz` and istiod's metrics show who is
//! connected. They ask for clusters and listeners, acknowledge everything and use nothing of it; a pod's
//! label `bed.revshift.dev/proxy` is `absent` where its proxy never connects, `rejects` where it rejects
//! its listeners, or `silent` where it never acknowledges them; `bed.revshift.dev/proxy-at` names the plane
//! that it connects to instead of the one that has injected it.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, channel::mpsc};
use http::uri::PathAndQuery;
use k8s_openapi::api::core::v1 as core_v1;
use kube::{
    Api, Client, ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;
use tonic::{client::Grpc, transport::Endpoint};
use tonic_prost::ProstCodec;
use tracing::debug;

/// How long a proxy waits after a lost stream, as istiod may be down for long.
const RETRY: Duration = Duration::from_millis(500);
const METHOD: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
const TYPES: [&str; 2] = [
    "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    "type.googleapis.com/envoy.config.listener.v3.Listener",
];

const LISTENERS: &str = TYPES[1];
/// How a pod's proxy fares.
const PROXY: &str = "bed.revshift.dev/proxy";
/// Where it connects to, if not to the plane that has injected the pod.
const PROXY_AT: &str = "bed.revshift.dev/proxy-at";
/// What a proxy says that rejects its listeners.
const REJECTION: &str = "Error adding/updating listener(s) 0.0.0.0_8080: unknown filter";

/// The XDS addresses by revision.
type Istiods = Arc<Mutex<BTreeMap<String, SocketAddr>>>;

/// All proxies of a bed; dropping it closes their streams.
#[derive(Debug)]
pub(crate) struct Proxies {
    istiods: Istiods,
    _watch: AbortOnDropHandle<()>,
}

impl Proxies {
    pub(crate) fn start(client: Client) -> Self {
        let istiods = Istiods::default();
        let watch = tokio::spawn(watch(client, Arc::clone(&istiods)));
        Self { istiods, _watch: AbortOnDropHandle::new(watch) }
    }

    /// From now on, pods that this revision injects connect to this address.
    pub(crate) fn serve(&self, revision: String, xds: SocketAddr) {
        self.istiods.lock().unwrap_or_else(PoisonError::into_inner).insert(revision, xds);
    }
}

async fn watch(client: Client, istiods: Istiods) {
    let pods = Api::<core_v1::Pod>::all(client);
    let mut events = pin!(watcher(pods, watcher::Config::default()).default_backoff());
    let mut streams = HashMap::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(pod) | Event::InitApply(pod)) => {
                let id = pod.uid().unwrap_or_default();
                if pod.metadata.deletion_timestamp.is_some() {
                    streams.remove(&id);
                } else if !streams.contains_key(&id)
                    && let Some(proxy) = Proxy::of(&pod, &istiods)
                {
                    streams.insert(id, AbortOnDropHandle::new(tokio::spawn(proxy.run())));
                }
            }
            Ok(Event::Delete(pod)) => drop(streams.remove(&pod.uid().unwrap_or_default())),
            // A list starts over; it does not say which pods are gone.
            Ok(Event::Init) => streams.clear(),
            Ok(Event::InitDone) => {}
            Err(error) => debug!(%error, "the watch of pods broke"),
        }
    }
}

/// One pod's proxy.
struct Proxy {
    istiod: SocketAddr,
    node: proto::Node,
    /// Whether it rejects its listeners.
    rejects: bool,
    /// Whether it never acknowledges them.
    silent: bool,
}

impl Proxy {
    /// The proxy of a pod, unless it has none that runs or its istiod is not of this bed.
    fn of(pod: &core_v1::Pod, istiods: &Istiods) -> Option<Self> {
        let fares = pod.labels().get(PROXY).map(String::as_str);
        if fares == Some("absent") {
            return None;
        }
        let record = pod.annotations().get("sidecar.istio.io/status")?;
        let record = serde_json::from_str::<serde_json::Value>(record).ok()?;
        let istiod = {
            let istiods = istiods.lock().unwrap_or_else(PoisonError::into_inner);
            let at = pod.labels().get(PROXY_AT).map(String::as_str);
            *istiods.get(at.or_else(|| record["revision"].as_str())?)?
        };
        let status = pod.status.as_ref()?;
        let containers = [&status.container_statuses, &status.init_container_statuses];
        let proxy =
            containers.into_iter().flatten().flatten().find(|it| it.name == "istio-proxy")?;
        proxy.state.as_ref()?.running.as_ref()?;
        let address = status.pod_ip.as_ref()?;
        let (name, namespace) = (pod.name_any(), pod.namespace()?);
        let id = format!("sidecar~{address}~{name}.{namespace}~{namespace}.svc.cluster.local");
        // The images' tag is the plane's version.
        let version = proxy.image.rsplit(':').next().unwrap_or_default();
        let metadata = [
            ("NAME", name.as_str()),
            ("NAMESPACE", &namespace),
            ("CLUSTER_ID", "Kubernetes"),
            ("ISTIO_VERSION", version),
        ];
        let (rejects, silent) = (fares == Some("rejects"), fares == Some("silent"));
        Some(Self { istiod, node: proto::Node::new(id, &metadata), rejects, silent })
    }

    async fn run(self) {
        let mut pace = interval(RETRY);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            pace.tick().await;
            if let Err(error) = self.talk().await {
                debug!(proxy = self.node.id, %error, "lost its istiod");
            }
        }
    }

    /// Follows istiod until it closes the stream.
    async fn talk(&self) -> Result<()> {
        let channel = Endpoint::from_shared(format!("http://{}", self.istiod))?.connect().await?;
        let mut client = Grpc::new(channel);
        client.ready().await?;
        let (requests, outgoing) = mpsc::unbounded();
        for type_url in TYPES {
            let node = Some(self.node.clone());
            let type_url = type_url.to_owned();
            requests.unbounded_send(proto::DiscoveryRequest {
                node,
                type_url,
                ..Default::default()
            })?;
        }
        let codec = ProstCodec::<proto::DiscoveryRequest, proto::DiscoveryResponse>::default();
        let path = PathAndQuery::from_static(METHOD);
        let stream = client.streaming(tonic::Request::new(outgoing), path, codec).await?;
        let mut stream = stream.into_inner();
        while let Some(update) = stream.message().await? {
            if self.silent && update.type_url == LISTENERS {
                continue;
            }
            let rejected = self.rejects && update.type_url == LISTENERS;
            let error_detail = rejected.then(|| proto::Status {
                code: i32::from(tonic::Code::Internal),
                message: REJECTION.to_owned(),
            });
            // What is rejected leaves a proxy at the version that it had, which is none.
            let version_info = if rejected { String::new() } else { update.version_info };
            let answer = proto::DiscoveryRequest {
                version_info,
                type_url: update.type_url,
                response_nonce: update.nonce,
                error_detail,
                node: None,
            };
            requests.unbounded_send(answer).context("the stream is closed")?;
        }
        Ok(())
    }
}

/// The few fields of Envoy's discovery messages that a proxy without traffic needs. What a response
/// carries is skipped while it is decoded.
mod proto {
    use prost_types::{Struct, Value, value::Kind};

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Node {
        #[prost(string, tag = "1")]
        pub(super) id: String,
        #[prost(message, optional, tag = "3")]
        pub(super) metadata: Option<Struct>,
    }

    impl Node {
        pub(super) fn new(id: String, metadata: &[(&str, &str)]) -> Self {
            let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
            let fields = metadata.iter().map(|(key, value)| ((*key).to_owned(), text(value)));
            Self { id, metadata: Some(Struct { fields: fields.collect() }) }
        }
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct DiscoveryRequest {
        #[prost(string, tag = "1")]
        pub(super) version_info: String,
        #[prost(message, optional, tag = "2")]
        pub(super) node: Option<Node>,
        #[prost(string, tag = "4")]
        pub(super) type_url: String,
        #[prost(string, tag = "5")]
        pub(super) response_nonce: String,
        #[prost(message, optional, tag = "6")]
        pub(super) error_detail: Option<Status>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Status {
        #[prost(int32, tag = "1")]
        pub(super) code: i32,
        #[prost(string, tag = "2")]
        pub(super) message: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct DiscoveryResponse {
        #[prost(string, tag = "1")]
        pub(super) version_info: String,
        #[prost(string, tag = "4")]
        pub(super) type_url: String,
        #[prost(string, tag = "5")]
        pub(super) nonce: String,
    }
}
