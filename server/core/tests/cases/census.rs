//! A census of a plane that nothing uses, and what may be added to it.

use super::world::{self, absent, is, key};
use jiff::Timestamp;
use revshift_core::cluster::{Change, Cluster, Kind, NamespaceMeta, Object};
use revshift_core::connection::Connections;
use revshift_core::injection::Injector;
use revshift_core::plane::{Plane, Revision, Source};
use revshift_core::pod::{Injected, InjectionWish, Make, Owner, Pod};
use revshift_core::retirement::census::{Census, Cordon, OperatorTraces};
use revshift_core::retirement::{Subject, Target, Terms};
use std::sync::Arc;
use std::time::Duration;

pub(crate) const OLD: &str = "cp-v113x.istio-system";
pub(crate) const NEW: &str = "cp-v115x.istio-system";

pub(crate) fn now() -> Timestamp {
    "2026-07-01T12:00:00Z".parse().unwrap()
}

pub(crate) fn plane(name: &str, mode: &str, available: bool) -> Plane {
    Plane {
        revision: Revision::of_calisti(name, "istio-system"),
        source: Source::Calisti,
        name: name.to_owned(),
        namespace: "istio-system".to_owned(),
        version: "1.13.5".to_owned(),
        mode: mode.to_owned(),
        network: String::new(),
        status: if available { "Available" } else { "Reconciling" }.to_owned(),
        available,
        mesh_expansion: None,
        gateway_addresses: Vec::new(),
        error: String::new(),
        created: None,
    }
}

pub(crate) fn subject() -> Subject {
    Subject {
        revision: Revision(OLD.to_owned()),
        source: Source::Calisti,
        name: "cp-v113x".to_owned(),
        namespace: "istio-system".to_owned(),
        uid: "u-plane".to_owned(),
    }
}

pub(crate) fn target() -> Target {
    Target {
        api: "servicemesh.cisco.com/v1alpha1".to_owned(),
        kind: "IstioControlPlane".to_owned(),
        namespace: "istio-system".to_owned(),
        name: "cp-v113x".to_owned(),
        uid: "u-plane".to_owned(),
    }
}

pub(crate) fn injector(configuration: &str, revision: &str, tag: Option<&str>) -> Injector {
    let selected = is("istio.io/rev", tag.unwrap_or(revision));
    let namespace = vec![selected, absent("istio-injection")];
    world::injector(configuration, revision, tag, namespace, Vec::new())
}

pub(crate) fn hook(cluster: &mut Cluster, injector: Injector) {
    let key = key("", &injector.configuration);
    cluster.apply(Change::Set(Kind::Injector, key, Object::Injectors(vec![injector])));
}

pub(crate) fn namespace(cluster: &mut Cluster, name: &str, labels: &[(&str, &str)]) {
    let labels = world::labels(labels);
    let meta = NamespaceMeta {
        uid: format!("u-{name}"),
        resource_version: "1".to_owned(),
        labels,
        lock: None,
        terminating: false,
        order: 0,
        skip: false,
        label_manager: None,
        label_owner: None,
    };
    cluster.apply(Change::Set(Kind::Namespace, key("", name), Object::Namespace(meta)));
}

pub(crate) fn pod(
    cluster: &mut Cluster,
    namespace: &str,
    name: &str,
    injected: Injected,
    job: bool,
) {
    let owner = job.then(|| Owner {
        group: "batch".to_owned(),
        kind: "Job".to_owned(),
        name: "once".to_owned(),
        template_hash: None,
    });
    let make = Make { owner, injected, wish: InjectionWish::default(), restart: None };
    let pod = Pod {
        name: name.to_owned(),
        uid: format!("u-{name}"),
        make: Arc::new(make),
        terminating: false,
    };
    cluster.apply(Change::Set(Kind::Pod, key(namespace, name), Object::Pod(Box::new(pod))));
}

/// A census of a plane that nothing uses.
pub(crate) fn unused() -> Census {
    let mut cluster = Cluster::default();
    for (name, mode) in [("cp-v113x", "ACTIVE"), ("cp-v115x", "ACTIVE")] {
        let plane = Object::Plane(Box::new(plane(name, mode, true)));
        let kind = Kind::Plane(Source::Calisti);
        cluster.apply(Change::Set(kind, key("istio-system", name), plane));
    }
    hook(&mut cluster, injector("old", OLD, None));
    hook(&mut cluster, injector("new", NEW, None));
    namespace(&mut cluster, "shop", &[("istio.io/rev", NEW)]);
    pod(&mut cluster, "shop", "web-1", Injected::By(Revision(NEW.to_owned())), false);
    Census {
        plane: Some(subject()),
        cluster,
        connections: Connections::default(),
        operator: OperatorTraces {
            deployments: vec![("smm/istio-operator-v113x".to_owned(), true)],
            ..OperatorTraces::default()
        },
        targets: vec![target()],
        cordon: Some(Cordon::Active),
        ..Census::default()
    }
}

pub(crate) fn terms() -> Terms {
    Terms { rollback_window: Duration::from_hours(24), allowed: Vec::new() }
}
