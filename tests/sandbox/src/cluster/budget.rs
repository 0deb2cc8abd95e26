//! Evictions: deletions of pods that PodDisruptionBudgets may refuse.

use serde_json::{Value, json};

use super::{Author, Cluster, DeleteOptions};
use crate::kind::{self, Kind};
use crate::object;
use crate::refusal::Refusal;
use crate::selector::LabelSelector;
use crate::store::Reference;

impl Cluster {
    /// Deletes a pod unless a budget forbids it now.
    pub(crate) fn evict(
        &mut self,
        kind: &Kind,
        reference: &Reference,
        eviction: &Value,
        author: Author<'_>,
    ) -> Result<(), Refusal> {
        let Some(pod) = self.store.get(reference).cloned() else {
            return Err(Refusal::not_found(kind, &reference.name));
        };
        let mut options = DeleteOptions::default();
        if let Some(given) = eviction.get("deleteOptions") {
            options = DeleteOptions::parse(given);
        }
        // A pod that serves nobody may always go.
        let serves = object::text(&pod, "/status/phase") == "Running" && !object::deleting(&pod);
        if serves {
            for budget in self.store.list(kind::BUDGETS, Some(&reference.namespace)) {
                self.check(budget, &pod)?;
            }
        }
        self.delete(kind, reference, &options, author).map(drop)
    }

    fn check(&self, budget: &Value, pod: &Value) -> Result<(), Refusal> {
        let selector = LabelSelector::structured(object::at(budget, "/spec/selector"));
        if !selector.matches_object(pod) || !object::condition_holds(pod, "Ready") {
            return Ok(());
        }
        let pods: Vec<_> = self
            .store
            .list(kind::PODS, Some(object::namespace(pod)))
            .filter(|one| selector.matches_object(one))
            .collect();
        let healthy = pods
            .iter()
            .filter(|one| object::condition_holds(one, "Ready") && !object::deleting(one));
        let healthy = i64::try_from(healthy.count()).unwrap_or(i64::MAX);
        let expected = self.expected_pods(&pods);
        let needed = match object::share(object::at(budget, "/spec/maxUnavailable"), expected, true)
        {
            Some(unavailable) => expected - unavailable,
            None => object::share(object::at(budget, "/spec/minAvailable"), expected, true)
                .unwrap_or_default(),
        };
        if healthy > needed {
            return Ok(());
        }
        let mut refusal = Refusal::new(
            429,
            "TooManyRequests",
            "Cannot evict pod as it would violate the pod's disruption budget.",
        );
        refusal.details = json!({ "causes": [{
            "reason": "DisruptionBudget",
            "message": format!(
                "The disruption budget {} needs {needed} healthy pods and has {healthy} currently",
                object::name(budget)
            ),
        }] });
        Err(refusal)
    }

    /// How many pods the controllers of these pods want.
    fn expected_pods(&self, pods: &[&std::sync::Arc<Value>]) -> i64 {
        let mut controllers: Vec<Reference> = Vec::new();
        let mut expected = 0;
        for pod in pods {
            let Some(owner) = object::controller(pod) else {
                expected += 1;
                continue;
            };
            let resource = match object::text(owner, "/kind") {
                "ReplicaSet" => kind::REPLICA_SETS,
                "StatefulSet" => kind::STATEFUL_SETS,
                _ => {
                    expected += 1;
                    continue;
                }
            };
            let mut found =
                Reference::new(resource, object::namespace(pod), object::text(owner, "/name"));
            // During a rollout a Deployment's size counts, not those of its ReplicaSets.
            if let Some(set) = self.store.get(&found)
                && let Some(owner) = object::controller(set)
            {
                let name = object::text(owner, "/name");
                found = Reference::new(kind::DEPLOYMENTS, object::namespace(pod), name);
            }
            if !controllers.contains(&found) {
                let replicas = self.store.get(&found);
                expected += replicas
                    .and_then(|one| object::integer(one, "/spec/replicas"))
                    .unwrap_or_default();
                controllers.push(found);
            }
        }
        expected
    }
}
