//! What checks look at beside the watched view: read live, for one check, in pages, and not kept.
//!
//! Whatever cannot be read is told as such, and stops nothing that can.

mod configuration;
mod mesh;
mod rights;
mod trial;
mod webhooks;
mod workloads;

use crate::kube::cni;
use crate::kube::gateway_class::Classes;
use crate::kube::served::served;
use crate::webhook::Webhooks;
use futures::StreamExt as _;
use futures::stream;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::{Client, Error, Resource, ResourceExt as _};
use revshift_core::check::Scope;
use revshift_core::check::surroundings::{Cni, Gateway, Surroundings, Unread};
use revshift_core::plane::{Plane, Planes, Revision, Source};
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::fmt::{self, Debug};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
pub use trial::Samples;

/// Objects of one page.
const PAGE: u32 = 500;
/// Up to so many namespaces are listed one by one; more are picked from lists of everything.
const FEW: usize = 10;
/// So long are istiods asked in one check: clients wait for a minute for all of it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Looks around.
#[derive(Clone)]
pub struct Look {
    client: Client,
    istiods: Webhooks,
}

impl Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Look").finish_non_exhaustive()
    }
}

/// What is read so far, of which namespaces.
struct Reading<'a> {
    client: &'a Client,
    namespaces: &'a BTreeSet<String>,
    /// Whether there are Argo Rollouts in them.
    rollouts: bool,
    around: Surroundings,
}

impl Look {
    /// Reads by `client`, and asks `istiods`.
    pub fn new(client: Client, istiods: Webhooks) -> Self {
        Self { client, istiods }
    }

    /// What is around `scope`, whose planes are among `planes`; of each workload the pod in `samples` is
    /// looked at.
    pub async fn around(&self, planes: &Planes, scope: &Scope, samples: &Samples) -> Surroundings {
        let mut reading = Reading {
            client: &self.client,
            namespaces: &scope.namespaces,
            rollouts: false,
            around: Surroundings::default(),
        };
        let [source, target] = [&scope.source, &scope.target].map(|it| planes.get(it));
        let found: Vec<&Plane> = [source, target].into_iter().flatten().collect();
        let webhooks = webhooks::read(&mut reading, &found, scope).await;
        for plane in &found {
            mesh::read(&mut reading, plane).await;
        }
        reading.cni().await;
        reading.gateways().await;
        let homes: BTreeSet<&str> = found.iter().map(|it| it.namespace.as_str()).collect();
        workloads::around(&mut reading, &homes).await;
        let until = Instant::now() + PATIENCE;
        let injector = webhooks.injector(&scope.target);
        trial::make(&mut reading, &self.istiods, injector, samples, until).await;
        let validator = webhooks.validator(&scope.target);
        let root = planes.get(&scope.target).map(|target| reading.root_namespace(target));
        configuration::read(&mut reading, &self.istiods, validator, root, until).await;
        rights::read(&mut reading, scope).await;
        reading.around
    }
}

impl Reading<'_> {
    /// All objects of a kind in the namespaces, each given to `take` at once; false when they could not be
    /// read, which is noted.
    async fn each<K>(&mut self, what: &str, take: impl FnMut(K)) -> bool
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + DeserializeOwned + Debug,
    {
        let (client, namespaces) = (self.client.clone(), self.namespaces);
        self.of_each(what, namespaces, take, |namespace| match namespace {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        })
        .await
    }

    /// Likewise of a kind that may not be served, in `namespaces`; then there are none.
    async fn each_dynamic(
        &mut self,
        what: &str,
        resource: &ApiResource,
        namespaces: &BTreeSet<String>,
        take: impl FnMut(DynamicObject),
    ) -> bool {
        let client = self.client.clone();
        self.of_each(what, namespaces, take, |namespace| match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
            None => Api::all_with(client.clone(), resource),
        })
        .await
    }

    async fn of_each<K>(
        &mut self,
        what: &str,
        namespaces: &BTreeSet<String>,
        mut take: impl FnMut(K),
        api: impl Fn(Option<&str>) -> Api<K>,
    ) -> bool
    where
        K: Resource + Clone + DeserializeOwned + Debug,
    {
        let apis: Vec<Api<K>> = if namespaces.len() > FEW {
            vec![api(None)]
        } else {
            namespaces.iter().map(|namespace| api(Some(namespace))).collect()
        };
        for api in apis {
            let read = pages(&api, ListParams::default(), |object: K| {
                if namespaces.contains(object.meta().namespace.as_deref().unwrap_or_default()) {
                    take(object);
                }
            });
            let read = read.await;
            if !self.noted(what, read) {
                return false;
            }
        }
        true
    }

    /// The namespace whose configuration holds for all that are on a plane: its own, unless it is told.
    fn root_namespace(&self, plane: &Plane) -> String {
        let mesh = self.around.meshes.get(&plane.revision);
        let told = mesh.and_then(|mesh| mesh.root_namespace.clone());
        told.unwrap_or_else(|| plane.namespace.clone())
    }

    /// Notes why something could not be read; whether it could.
    fn noted<T>(&mut self, what: &str, read: Result<T, Error>) -> bool {
        let why = match read {
            Ok(_) => return true,
            Err(Error::Api(status)) if status.code == 404 => return true,
            Err(Error::Api(status)) => status.message.clone(),
            Err(error) => error.to_string(),
        };
        self.around.unread.push(Unread { what: what.to_owned(), why });
        false
    }

    /// Istio's CNI plugin, wherever it runs.
    async fn cni(&mut self) {
        let api = Api::<DaemonSet>::all(self.client.clone());
        let mut found = Vec::new();
        let read = pages(&api, ListParams::default(), |object: DaemonSet| {
            if !cni::is_agent(&object) {
                return;
            }
            let status = object.status.clone().unwrap_or_default();
            let count = |number: i32| u32::try_from(number).unwrap_or_default();
            found.push(Cni {
                namespace: object.namespace().unwrap_or_default(),
                revision: object.labels().get("istio.io/rev").cloned(),
                desired: count(status.desired_number_scheduled),
                ready: count(status.number_ready),
                name: object.name_any(),
            });
        });
        let read = read.await;
        self.noted("CNI DaemonSets", read);
        self.around.cni = found;
    }

    /// Gateways that are described by resources.
    async fn gateways(&mut self) {
        let mut found = Vec::new();
        let classes = match Classes::read(self.client).await {
            Ok(classes) => classes,
            Err(error) => {
                self.noted::<()>("GatewayClasses", Err(error));
                Classes::default()
            }
        };
        let kinds = [
            ("gateway.networking.k8s.io", "Gateway"),
            ("servicemesh.cisco.com", "IstioMeshGateway"),
        ];
        for (group, kind) in kinds {
            let resource = match served(self.client, group, kind).await {
                Ok(Some(resource)) => resource,
                Ok(None) => continue,
                Err(error) => {
                    self.noted::<()>(&format!("{kind}s"), Err(error));
                    continue;
                }
            };
            let take = |object: DynamicObject| found.extend(gateway(kind, &object, &classes));
            let namespaces = self.namespaces;
            self.each_dynamic(&format!("{kind}s"), &resource, namespaces, take).await;
        }
        self.around.gateways = found;
    }
}

/// A gateway that Istio is behind; none where its class is somebody else's.
fn gateway(kind: &str, object: &DynamicObject, classes: &Classes) -> Option<Gateway> {
    let class = object.data["spec"]["gatewayClassName"].as_str();
    if class.is_some_and(|class| !classes.is_istios(class)) {
        return None;
    }
    let plane = &object.data["spec"]["istioControlPlane"];
    let of_calisti = plane["name"].as_str().map(|name| {
        let namespace = plane["namespace"].as_str().unwrap_or("istio-system");
        Revision::of_calisti(name, namespace).0
    });
    Some(Gateway {
        kind: kind.to_owned(),
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        revision: of_calisti.or_else(|| object.labels().get("istio.io/rev").cloned()),
        waypoint: class == Some("istio-waypoint"),
    })
}

/// Gives each object of a list to `take`, page by page.
async fn pages<K>(api: &Api<K>, params: ListParams, take: impl FnMut(K)) -> Result<(), Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    crate::kube::pages::pages(api, params.limit(PAGE), take).await
}

/// Whether a plane is one of Calisti's.
fn of_calisti(plane: &Plane) -> bool {
    plane.source == Source::Calisti
}

/// So many questions are asked of one istiod at a time.
const AT_ONCE: usize = 8;

/// Asks each of `questions`, several at a time, until one cannot be asked or the time is over: what was
/// answered until then, in order, and why that is not all.
async fn asked<Q, A, F: Future<Output = Result<A, String>>>(
    questions: Vec<Q>,
    until: Instant,
    ask: impl Fn(Q) -> F,
) -> (Vec<A>, Option<String>) {
    let all = questions.len();
    let mut told = std::pin::pin!(stream::iter(questions).map(ask).buffered(AT_ONCE));
    let mut answers = Vec::new();
    loop {
        match timeout_at(until, told.next()).await {
            Ok(Some(Ok(answer))) => answers.push(answer),
            Ok(Some(Err(why))) => return (answers, Some(why)),
            Ok(None) => return (answers, None),
            Err(_) => {
                let why = format!("it has answered {} of {all} questions in time", answers.len());
                return (answers, Some(why));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::future::pending;

    #[tokio::test(start_paused = true)]
    async fn nobody_is_asked_for_longer_than_the_time_or_after_who_cannot_be_asked() {
        let until = Instant::now() + PATIENCE;
        let ask = async |question: u32| match question {
            3 => pending().await,
            other => Ok(other),
        };
        let (answers, why) = asked((0..9).collect(), until, ask).await;
        assert_eq!((answers, Instant::now()), (vec![0, 1, 2], until));
        assert_eq!(why.as_deref(), Some("it has answered 3 of 9 questions in time"));

        let heard = Cell::new(0);
        let (answers, why) = asked((0..900).collect(), Instant::now() + PATIENCE, async |one| {
            heard.set(heard.get() + 1);
            if one == 2 { Err("refused".to_owned()) } else { Ok(one) }
        })
        .await;
        assert_eq!((answers, why.as_deref()), (vec![0, 1], Some("refused")));
        assert!(heard.get() <= 2 * AT_ONCE, "{}", heard.get());
    }
}
