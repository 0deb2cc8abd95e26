//! How many ready endpoints the Services of a namespace have, and whether a move has cost them any.

use crate::cluster::{Controller, Family, Namespace, Slice};
use std::collections::BTreeMap;

/// What a namespace had before it was touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headcount {
    /// Ready endpoints of each Service.
    pub endpoints: BTreeMap<String, u32>,
    /// Pods of each controller, as `kind/name`; those of Jobs and of nobody under the empty name. Which of
    /// them a Service selects is not known.
    pub pods: BTreeMap<String, u32>,
}

/// A Service that has lost endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortfall {
    /// The Service.
    pub service: String,
    /// Ready endpoints before.
    pub before: u32,
    /// Ready endpoints now.
    pub now: u32,
}

impl Headcount {
    /// What `namespace` has now.
    pub fn of(namespace: &Namespace) -> Self {
        let mut pods = loose(namespace);
        for workload in namespace.workloads.values() {
            // Whatever a rollout adds for a while is endpoints for a while, too.
            pods.insert(workload.key.to_string(), workload.desired.max(workload.total));
        }
        Self { endpoints: namespace.ready_endpoints(), pods }
    }

    /// What was counted, by what is counted a little later, before anything was restarted: endpoints of
    /// pods that had gone just before are told off only then. What is added meanwhile is no measure.
    #[must_use]
    pub fn settled(&self, later: &Self) -> Self {
        let now = |service: &String| later.endpoints.get(service).copied().unwrap_or_default();
        let endpoints = self.endpoints.iter();
        let endpoints = endpoints.map(|(name, before)| (name.clone(), now(name).min(*before)));
        Self { endpoints: endpoints.collect(), pods: later.pods.clone() }
    }

    /// The first Service that has fewer ready endpoints than before, and fewer than what was scaled down
    /// meanwhile explains. A Service that is gone misses none.
    pub fn shortfall(&self, namespace: &Namespace) -> Option<Shortfall> {
        let mut wanted = loose(namespace);
        for workload in namespace.workloads.values() {
            wanted.insert(workload.key.to_string(), workload.desired);
        }
        let fewer = self.pods.iter().map(|(controller, before)| {
            before.saturating_sub(wanted.get(controller).copied().unwrap_or_default())
        });
        let fewer = fewer.fold(0, u32::saturating_add);
        let ready = namespace.ready_endpoints();
        let short = self.endpoints.iter().find_map(|(service, before)| {
            let now = *ready.get(service)?;
            (now < before.saturating_sub(fewer)).then(|| (service.clone(), *before, now))
        });
        short.map(|(service, before, now)| Shortfall { service, before, now })
    }
}

impl Namespace {
    /// Ready endpoints of each Service that has EndpointSlices.
    pub fn ready_endpoints(&self) -> BTreeMap<String, u32> {
        let mut families: BTreeMap<(&str, Family), u32> = BTreeMap::new();
        for Slice { service, family, ready } in self.slices.values() {
            let sum = families.entry((service, *family)).or_default();
            *sum = sum.saturating_add(*ready);
        }
        let mut services = BTreeMap::new();
        for ((service, _), ready) in families {
            let most: &mut u32 = services.entry(service.to_owned()).or_default();
            *most = ready.max(*most);
        }
        services
    }
}

/// Pods that no known workload has, by controller.
fn loose(namespace: &Namespace) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for pod in namespace.pods.values().filter(|pod| !pod.terminating) {
        let controller = namespace.controller(pod);
        if !matches!(controller, Controller::Workload(_)) {
            *counts.entry(controller.label().unwrap_or_default()).or_default() += 1;
        }
    }
    counts
}
