//! Watches: every kind that the product looks at, as one stream of changes.
//!
//! No typed object is kept: each is converted when it arrives. A relist ends in a complete list,
//! since kube's watcher does not tell what vanished meanwhile; that of pods is told one by one.

use crate::definitions::Definitions;
use crate::kube::{crd, external, install, observe};
use backon::ExponentialBuilder;
use futures::{Stream, StreamExt};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::ResetTimerBackoff;
use kube::runtime::watcher::{self, Event};
use kube::{Client, Resource, ResourceExt};
use revshift_core::cluster::{Change, Key, Kind, Object};
use revshift_core::plan::PLAN_VERSION;
use revshift_core::plane::Source;
use revshift_core::workload::WorkloadKind;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{debug, warn};

/// What the watches tell.
#[derive(Debug)]
pub enum Observed {
    /// Something about the cluster.
    Cluster(Change),
    /// Something about stored migrations.
    Migrations(Records<crd::Migration>),
    /// Something about stored shards.
    Shards(Records<crd::MigrationShard>),
    /// Something about stored retirements.
    Retirements(Records<crd::Retirement>),
    /// What the cluster's CRDs of revshift can store.
    Definitions(Definitions),
    /// Versions went back, so many times by now: everything that is told from here on is listed anew.
    Restored(u64),
}

/// What is listed before everything is known. The default validator is not: nothing depends on it.
pub const WATCHED: [Kind; 12] = [
    Kind::Namespace,
    Kind::Workload(WorkloadKind::Deployment),
    Kind::Workload(WorkloadKind::StatefulSet),
    Kind::Workload(WorkloadKind::DaemonSet),
    Kind::Workload(WorkloadKind::Rollout),
    Kind::Pod,
    Kind::Job,
    Kind::Slice,
    Kind::Injector,
    Kind::Plane(Source::Calisti),
    Kind::Plane(Source::Sail),
    Kind::Peer,
];

/// What was learnt about stored objects of one kind.
#[derive(Debug)]
pub enum Records<K> {
    /// A complete list.
    Listed(Vec<K>),
    /// An object is now so.
    Set(Box<K>),
    /// The object of this name does not exist any more.
    Gone(String),
}

/// Where the watches send what they see; bounded, so a slow engine slows them.
pub type Sender = mpsc::Sender<Observed>;

/// Kinds that exist only where their CRD is installed, by the CRD's name.
const OPTIONAL: [(&str, Optional); 7] = [
    ("istiocontrolplanes.servicemesh.cisco.com", Optional::Cluster(Kind::Plane(Source::Calisti))),
    ("peeristiocontrolplanes.servicemesh.cisco.com", Optional::Cluster(Kind::Peer)),
    ("istiorevisions.sailoperator.io", Optional::Cluster(Kind::Plane(Source::Sail))),
    ("rollouts.argoproj.io", Optional::Cluster(Kind::Workload(WorkloadKind::Rollout))),
    ("migrations.revshift.dev", Optional::Migrations),
    ("migrationshards.revshift.dev", Optional::Shards),
    ("retirements.revshift.dev", Optional::Retirements),
];

#[derive(Clone, Copy, Debug)]
enum Optional {
    Cluster(Kind),
    Migrations,
    Shards,
    Retirements,
}

/// What every watch has.
#[derive(Clone)]
struct Base {
    client: Client,
    sender: Sender,
    seed: u64,
}

/// Watches until dropped. Returns only when nobody listens any more. From the `seed` follow the random
/// parts of the pauses after failures, which keep replicas from coming back all at once. All watches begin
/// anew when versions were `restored`: a version that is not reached yet tells nothing, without an error.
pub async fn run(
    client: Client,
    sender: Sender,
    seed: u64,
    mut restored: tokio::sync::watch::Receiver<u64>,
) {
    let base = Base { client, sender, seed };
    loop {
        let mut watches = start(&base);
        let again = tokio::select! {
            again = optional(&base, &mut restored) => again,
            () = async { while watches.join_next().await.is_some() {} } => None,
        };
        watches.shutdown().await;
        let Some(times) = again else {
            return;
        };
        if base.sender.send(Observed::Restored(times)).await.is_err() {
            return;
        }
    }
}

/// The watches of kinds that every cluster has.
fn start(b: &Base) -> JoinSet<()> {
    let mut watches = JoinSet::new();
    let everything = config();
    let unfinished = config().fields("status.phase!=Succeeded,status.phase!=Failed");
    watches.spawn(cluster::<Namespace>(b, Kind::Namespace, &everything, observe::namespace));
    let kind = Kind::Workload(WorkloadKind::Deployment);
    watches.spawn(cluster::<Deployment>(b, kind, &everything, observe::deployment));
    let kind = Kind::Workload(WorkloadKind::StatefulSet);
    watches.spawn(cluster::<StatefulSet>(b, kind, &everything, observe::stateful_set));
    let kind = Kind::Workload(WorkloadKind::DaemonSet);
    watches.spawn(cluster::<DaemonSet>(b, kind, &everything, observe::daemon_set));
    watches.spawn(cluster::<MutatingWebhookConfiguration>(
        b,
        Kind::Injector,
        &everything,
        observe::injectors,
    ));
    let validator = config().fields("metadata.name=istiod-default-validator");
    watches.spawn(cluster::<PartialObjectMeta<ValidatingWebhookConfiguration>>(
        b,
        Kind::DefaultValidator,
        &validator,
        observe::default_validator,
    ));
    watches.spawn(cluster::<PartialObjectMeta<Pod>>(b, Kind::Pod, &unfinished, observe::pod));
    watches.spawn(cluster::<PartialObjectMeta<Job>>(b, Kind::Job, &everything, observe::job));
    watches.spawn(cluster::<EndpointSlice>(b, Kind::Slice, &everything, observe::endpoints::slice));
    watches
}

/// A watch is begun anew every so often: one whose connection died silently is noticed by that.
fn config() -> watcher::Config {
    watcher::Config::default().timeout(60)
}

/// Starts and stops the watches of kinds whose CRD comes and goes, until versions were restored, so many
/// times, or nobody listens any more.
async fn optional(base: &Base, restored: &mut tokio::sync::watch::Receiver<u64>) -> Option<u64> {
    let api: Api<PartialObjectMeta<CustomResourceDefinition>> = Api::all(base.client.clone());
    let mut events = events(api, config(), base.seed);
    let mut listing: Vec<(String, u32)> = Vec::new();
    let mut running: BTreeMap<&'static str, JoinSet<()>> = BTreeMap::new();
    let mut own: BTreeMap<String, u32> = BTreeMap::new();
    let mut told = None;
    loop {
        let event = tokio::select! {
            Ok(()) = restored.changed() => {
                // What they have seen must not come after what is seen anew.
                for task in running.values_mut() {
                    task.shutdown().await;
                }
                return Some(*restored.borrow());
            }
            event = events.next() => event,
        };
        let event = match event {
            Some(Ok(event)) => event,
            Some(Err(_)) => continue,
            None => return None,
        };
        let served = match event {
            Event::Init => {
                listing.clear();
                continue;
            }
            Event::InitApply(definition) => {
                listing.push((definition.name_any(), install::version(&definition)));
                continue;
            }
            Event::InitDone => {
                let found = std::mem::take(&mut listing);
                own = found.iter().filter(|(name, _)| is_own(name)).cloned().collect();
                OPTIONAL.map(|(name, _)| Some(found.iter().any(|(found, _)| found == name)))
            }
            Event::Apply(definition) => {
                let name = definition.name_any();
                if is_own(&name) {
                    own.insert(name.clone(), install::version(&definition));
                }
                only(&name, true)
            }
            Event::Delete(definition) => {
                own.remove(&definition.name_any());
                only(&definition.name_any(), false)
            }
        };
        let definitions = definitions(&own);
        if told != Some(definitions) {
            told = Some(definitions);
            if base.sender.send(Observed::Definitions(definitions)).await.is_err() {
                return None;
            }
        }
        for ((name, kind), served) in OPTIONAL.into_iter().zip(served) {
            let Some(served) = served else {
                continue;
            };
            if !switch(base, &mut running, name, kind, served).await {
                return None;
            }
        }
    }
}

/// How many kinds are revshift's own.
const OWN: usize = 3;

/// Whether a CRD is one of revshift's own.
fn is_own(definition: &str) -> bool {
    OPTIONAL.iter().any(|(name, kind)| *name == definition && !matches!(kind, Optional::Cluster(_)))
}

/// What revshift's own CRDs can store. Older versions had fewer of them.
fn definitions(own: &BTreeMap<String, u32>) -> Definitions {
    let whole = own.len() == OWN;
    let older = own.contains_key("migrations.revshift.dev")
        && own.contains_key("migrationshards.revshift.dev");
    match Definitions::of(own.values().copied()) {
        Definitions::Current if older && !whole => Definitions::Outdated(PLAN_VERSION - 1),
        _ if !older => Definitions::Missing,
        known => known,
    }
}

/// Whether objects of a kind exist only where its CRD is installed.
fn optional_kind(kind: Kind) -> bool {
    OPTIONAL.iter().any(|(_, it)| matches!(it, Optional::Cluster(found) if *found == kind))
}

/// Whether each optional kind is served, as far as one CRD tells.
fn only(definition: &str, served: bool) -> [Option<bool>; OPTIONAL.len()] {
    OPTIONAL.map(|(name, _)| (name == definition).then_some(served))
}

/// Starts or stops the watch of one kind; false when nobody listens any more.
async fn switch(
    base: &Base,
    running: &mut BTreeMap<&'static str, JoinSet<()>>,
    name: &'static str,
    kind: Optional,
    served: bool,
) -> bool {
    let Base { client, sender, .. } = base;
    if !served {
        running.remove(name);
        let told = match kind {
            Optional::Cluster(kind) => {
                sender.send(Observed::Cluster(Change::Listed(kind, Vec::new()))).await
            }
            Optional::Migrations => {
                sender.send(Observed::Migrations(Records::Listed(Vec::new()))).await
            }
            Optional::Shards => sender.send(Observed::Shards(Records::Listed(Vec::new()))).await,
            Optional::Retirements => {
                sender.send(Observed::Retirements(Records::Listed(Vec::new()))).await
            }
        };
        return told.is_ok();
    }
    if running.contains_key(name) {
        return true;
    }
    let mut task = JoinSet::new();
    match kind {
        Optional::Cluster(kind) => {
            let (resource, convert) = dynamic(kind);
            let api = Api::<DynamicObject>::all_with(client.clone(), &resource);
            task.spawn(pump(api, base.clone(), kind, config(), convert));
        }
        Optional::Migrations => {
            task.spawn(records(base.clone(), Observed::Migrations));
        }
        Optional::Shards => {
            task.spawn(records(base.clone(), Observed::Shards));
        }
        Optional::Retirements => {
            task.spawn(records(base.clone(), Observed::Retirements));
        }
    }
    running.insert(name, task);
    true
}

/// A kind that is read as plain JSON.
fn dynamic(kind: Kind) -> (ApiResource, fn(&DynamicObject) -> Object) {
    match kind {
        Kind::Workload(_) => (observe::rollouts(), observe::rollout),
        Kind::Plane(Source::Calisti) => (observe::calisti_planes(), observe::calisti_plane),
        Kind::Peer => (observe::peers(), external::peer),
        _ => (observe::sail_planes(), observe::sail_plane),
    }
}

fn cluster<K>(
    base: &Base,
    kind: Kind,
    config: &watcher::Config,
    convert: fn(&K) -> Object,
) -> impl Future<Output = ()> + Send + 'static
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    pump(Api::<K>::all(base.client.clone()), base.clone(), kind, config.clone(), convert)
}

/// Sends what is learnt about one kind until nobody listens any more.
async fn pump<K>(
    api: Api<K>,
    Base { sender, seed, .. }: Base,
    kind: Kind,
    config: watcher::Config,
    convert: fn(&K) -> Object,
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut events = events(api, config, seed);
    let mut listing: Vec<(Key, Object)> = Vec::new();
    loop {
        let event = match events.next().await {
            Some(Ok(event)) => event,
            // A CRD may be there without the version that is known here: then there are no such
            // objects, which must not keep everything else from being ready.
            Some(Err(watcher::Error::InitialListFailed(kube::Error::Api(status))))
                if status.code == 404 && optional_kind(kind) =>
            {
                if sender.send(Observed::Cluster(Change::Listed(kind, Vec::new()))).await.is_err() {
                    return;
                }
                continue;
            }
            Some(Err(_)) => continue,
            None => return,
        };
        let change = match event {
            Event::Init if kind == Kind::Pod => Change::ListingPods,
            Event::InitDone if kind == Kind::Pod => Change::ListedPods,
            Event::Init => {
                listing.clear();
                continue;
            }
            Event::InitApply(object) if kind != Kind::Pod => {
                listing.push((observe::key(&object), convert(&object)));
                continue;
            }
            Event::InitDone => Change::Listed(kind, std::mem::take(&mut listing)),
            Event::Apply(object) | Event::InitApply(object) => {
                Change::Set(kind, observe::key(&object), convert(&object))
            }
            Event::Delete(object) => Change::Gone(kind, observe::key(&object)),
        };
        if sender.send(Observed::Cluster(change)).await.is_err() {
            return;
        }
    }
}

/// Sends what is learnt about stored objects. One that cannot be understood is passed over with a
/// warning: it must not hide the others.
async fn records<K>(Base { client, sender, seed }: Base, wrap: fn(Records<K>) -> Observed)
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Debug + Send + 'static,
{
    let resource = ApiResource::erase::<K>(&());
    let api = Api::<DynamicObject>::all_with(client, &resource);
    let mut events = events(api, config(), seed);
    let mut listing = Vec::new();
    loop {
        let event = match events.next().await {
            Some(Ok(event)) => event,
            Some(Err(_)) => continue,
            None => return,
        };
        let change = match event {
            Event::Init => {
                listing.clear();
                continue;
            }
            Event::InitApply(object) => {
                listing.extend(typed(object));
                continue;
            }
            Event::InitDone => Records::Listed(std::mem::take(&mut listing)),
            Event::Apply(object) => match typed(object) {
                Some(object) => Records::Set(Box::new(object)),
                None => continue,
            },
            Event::Delete(object) => Records::Gone(object.name_any()),
        };
        if sender.send(wrap(change)).await.is_err() {
            return;
        }
    }
}

fn typed<K: DeserializeOwned>(object: DynamicObject) -> Option<K> {
    let name = object.name_any();
    let typed = serde_json::to_value(object).and_then(serde_json::from_value);
    typed.inspect_err(|error| warn!(object = %name, %error, "a stored object is malformed")).ok()
}

/// kube's watcher with back-off, made anew where it would repeat an HTTP 410 for ever: it keeps
/// the version that is too old when the watch is refused before it starts.
fn events<K>(
    api: Api<K>,
    config: watcher::Config,
    seed: u64,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + Unpin
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    // The watches of one replica do not come back all at once either.
    let seed = api.resource_url().bytes().fold(seed, |seed, byte| {
        seed.rotate_left(5).wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte)
    });
    let start = move || {
        let watch = watcher::watcher(api.clone(), config.clone());
        watch.backoff(back_off(seed)).boxed()
    };
    let first = start();
    futures::stream::unfold((first, start), |(mut stream, start)| async move {
        let event = stream.next().await?;
        match &event {
            Err(watcher::Error::WatchStartFailed(kube::Error::Api(status)))
                if status.code == 410 =>
            {
                stream = start();
            }
            Err(error @ watcher::Error::InitialListFailed(_)) => {
                warn!(kind = std::any::type_name::<K>(), %error, "cannot list");
            }
            Err(error) => debug!(%error, "a watch was interrupted"),
            Ok(_) => {}
        }
        Some((event, (stream, start)))
    })
    .boxed()
}

/// What kube does by default, but for the seed.
fn back_off(seed: u64) -> ResetTimerBackoff<watcher::ExponentialBackoff> {
    let pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(800))
        .with_max_delay(Duration::from_secs(30))
        .with_factor(2.0)
        .without_max_times()
        .with_jitter()
        .with_jitter_seed(seed);
    ResetTimerBackoff::new(pauses.into(), Duration::from_mins(2))
}
