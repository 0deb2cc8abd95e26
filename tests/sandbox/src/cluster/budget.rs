//! Evictions: deletions of pods that PodDisruptionBudgets may refuse.
//!
//! What counts is the status that the disruption controller wrote last, as at the real API
//! server: an eviction takes one from `disruptionsAllowed`, and the controller counts anew.

use serde_json::{Value, json};

use super::{Author, Cluster, DeleteOptions, Part};
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
        let named = object::name(eviction);
        if !named.is_empty() && named != reference.name {
            return Err(Refusal::bad_request("name in URL does not match name in Eviction object"));
        }
        let Some(pod) = self.store.get(reference).cloned() else {
            return Err(Refusal::not_found(kind, &reference.name));
        };
        let options = eviction.get("deleteOptions").map(DeleteOptions::parse).unwrap_or_default();
        let author = Author { dry_run: author.dry_run || options.dry_run, ..author };
        // A pod that serves nobody may always go.
        let idle =
            matches!(object::text(&pod, "/status/phase"), "Succeeded" | "Failed" | "Pending");
        if !idle && !object::deleting(&pod) {
            self.spend(&pod, author)?;
        }
        if !author.dry_run {
            self.mark_evicted(kind, reference, &pod, &options)?;
        }
        // The mark made a new version, after which that of the caller was checked.
        let version = options.version.filter(|_| author.dry_run);
        self.delete(kind, reference, &DeleteOptions { version, ..options }, author).map(drop)
    }

    /// Takes the disruption from the budget of the pod, if it has one.
    fn spend(&mut self, pod: &Value, author: Author<'_>) -> Result<(), Refusal> {
        let covers = |budget: &Value| {
            let selector = object::at(budget, "/spec/selector");
            selector.is_some() && LabelSelector::structured(selector).matches_object(pod)
        };
        let mut budgets = self
            .store
            .list(kind::BUDGETS, Some(object::namespace(pod)))
            .filter(|budget| covers(budget))
            .cloned();
        let Some(budget) = budgets.next() else { return Ok(()) };
        if budgets.next().is_some() {
            return Err(Refusal::new(
                500,
                "",
                "This pod has more than one PodDisruptionBudget, which the eviction subresource \
                 does not support.",
            ));
        }
        drop(budgets);
        let status =
            |field: &str| object::integer(&budget, &format!("/status/{field}")).unwrap_or_default();
        let (healthy, desired) = (status("currentHealthy"), status("desiredHealthy"));
        if !object::condition_holds(pod, "Ready")
            && (object::text(&budget, "/spec/unhealthyPodEvictionPolicy") == "AlwaysAllow"
                || (healthy >= desired && desired > 0))
        {
            return Ok(());
        }
        let name = object::name(&budget);
        let generation = object::integer(&budget, "/metadata/generation").unwrap_or_default();
        if status("observedGeneration") < generation {
            let why =
                format!("The disruption budget {name} is still being processed by the server.");
            return Err(too_many(&why, Some(10)));
        }
        let allowed = status("disruptionsAllowed");
        if allowed == 0 {
            return Err(too_many(&shortage(&budget, healthy, desired), None));
        }
        let reference = Reference::new(kind::BUDGETS, object::namespace(pod), name);
        let Some(kind) = self.store.kind(kind::BUDGETS) else { return Ok(()) };
        let now = self.stamp();
        self.update(&kind, &reference, Part::Status, author, |budget| {
            let mut next = budget.clone();
            object::set(&mut next, "/status/disruptionsAllowed", allowed - 1);
            set_allowed(&mut next, allowed - 1, &now);
            Ok(next)
        })
        .map(drop)
    }

    fn mark_evicted(
        &mut self,
        kind: &Kind,
        reference: &Reference,
        pod: &Value,
        options: &DeleteOptions,
    ) -> Result<(), Refusal> {
        for (label, given, actual, what) in [
            ("UID", &options.uid, object::uid(pod), "deleted and then recreated"),
            ("ResourceVersion", &options.version, object::version(pod), "modified"),
        ] {
            if let Some(given) = given.as_deref().filter(|given| *given != actual) {
                let why = format!(
                    "the {label} in the precondition ({given}) does not match the {label} in \
                     record ({actual}). The object might have been {what}"
                );
                let mut refusal = Refusal::conflict(kind, &reference.name, &why);
                // This one message of the API server names the kind, not the resource.
                refusal.message = refusal.message.replacen("on pods ", "on Pod ", 1);
                return Err(refusal);
            }
        }
        let now = self.stamp();
        self.update_status(reference, "kube-apiserver", |pod| {
            let condition = json!({
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "EvictionByEvictionAPI",
                "message": "Eviction API: evicting",
            });
            object::set_condition(pod, condition, &now);
        });
        Ok(())
    }
}

/// The condition that says whether a budget has room.
pub(crate) fn set_allowed(budget: &mut Value, allowed: i64, now: &str) {
    let (status, reason) =
        if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let observed = object::integer(budget, "/status/observedGeneration").unwrap_or_default();
    let condition = json!({
        "type": "DisruptionAllowed",
        "status": status,
        "reason": reason,
        "message": "",
        "observedGeneration": observed,
    });
    object::set_condition(budget, condition, now);
}

fn shortage(budget: &Value, healthy: i64, desired: i64) -> String {
    let name = object::name(budget);
    let condition = object::condition(budget, "DisruptionAllowed")
        .filter(|one| object::text(one, "/status") == "False")
        .map(|one| (object::text(one, "/reason"), object::text(one, "/message")))
        .filter(|(_, message)| !message.is_empty());
    match condition {
        Some(("SyncFailed", message)) => format!(
            "The disruption budget {name} does not allow evicting pods currently because it \
             failed sync: {message}"
        ),
        _ if healthy <= desired => format!(
            "The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"
        ),
        Some((reason, message)) => format!(
            "The disruption budget {name} does not allow evicting pods currently ({reason}): \
             {message}"
        ),
        None => format!("The disruption budget {name} does not allow evicting pods currently"),
    }
}

fn too_many(why: &str, retry_after: Option<u64>) -> Refusal {
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    let mut refusal = Refusal::new(429, "TooManyRequests", message);
    refusal.details = json!({ "causes": [{ "reason": "DisruptionBudget", "message": why }] });
    if let Some(seconds) = retry_after {
        refusal.details["retryAfterSeconds"] = json!(seconds);
    }
    refusal
}
