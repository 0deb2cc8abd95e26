//! Deployments: one ReplicaSet a template, scaled against each other by the strategy. Rollouts
//! roll in the same way, under names of their own.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Outcome, pods, progress};
use crate::cluster::{Author, Cluster, DeleteOptions};
use crate::defaults;
use crate::kind;
use crate::object;
use crate::refusal::Refusal;
use crate::store::Reference;

/// What differs by kind of what owns ReplicaSets.
pub(super) struct Dialect {
    resource: &'static str,
    pub(super) hash: &'static str,
    revision: &'static str,
    strategy: &'static str,
    manager: &'static str,
    source: &'static str,
}

const DEPLOYMENT: Dialect = Dialect {
    resource: kind::DEPLOYMENTS,
    hash: "pod-template-hash",
    revision: "deployment.kubernetes.io/revision",
    strategy: "/spec/strategy/rollingUpdate",
    manager: "kube-controller-manager",
    source: "deployment-controller",
};

const ROLLOUT: Dialect = Dialect {
    resource: kind::ROLLOUTS,
    hash: "rollouts-pod-template-hash",
    revision: "rollout.argoproj.io/revision",
    strategy: "/spec/strategy/canary",
    manager: "rollouts-controller",
    source: "rollouts-controller",
};

impl Dialect {
    pub(super) fn of(owner: &Value) -> &'static Self {
        if object::text(owner, "/kind") == "Rollout" { &ROLLOUT } else { &DEPLOYMENT }
    }
}

/// The ReplicaSets of a Deployment: that of its template, and the others, oldest first.
#[derive(Debug, Default)]
pub(super) struct Sets {
    pub(super) new: Option<Arc<Value>>,
    pub(super) old: Vec<Arc<Value>>,
}

pub(super) fn reconcile(cluster: &mut Cluster, target: &Reference) -> Outcome {
    let Some(deployment) = cluster.store.get(target).cloned() else { return Outcome::Done };
    if object::deleting(&deployment) {
        return Outcome::Done;
    }
    let recreate = object::text(&deployment, "/spec/strategy/type") == "Recreate";
    let outcome = if object::flag(&deployment, "/spec/paused") {
        hold(cluster, &deployment);
        Ok(())
    } else if recreate {
        replace_at_once(cluster, &deployment)
    } else {
        roll(cluster, &deployment)
    };
    clean_up(cluster, &deployment);
    let next = progress::report(cluster, target);
    match (outcome, next) {
        (Err(_), _) => Outcome::Retry,
        (Ok(()), Some(delay)) => Outcome::After(delay.max(Duration::from_millis(500))),
        (Ok(()), None) => Outcome::Done,
    }
}

/// `spec.replicas`, also of a ReplicaSet.
pub(super) fn replicas(object: &Value) -> i64 {
    object::integer(object, "/spec/replicas").unwrap_or(1)
}

/// The pods that may be missing and those that may be too many during a rollout.
pub(super) fn slack(deployment: &Value) -> (i64, i64) {
    let wanted = replicas(deployment);
    if object::text(deployment, "/spec/strategy/type") == "Recreate" {
        return (wanted, 0);
    }
    let at = Dialect::of(deployment).strategy;
    let strategy = |field: &str| object::at(deployment, &format!("{at}/{field}"));
    let surge = object::share(strategy("maxSurge"), wanted, true).unwrap_or_default();
    let unavailable = object::share(strategy("maxUnavailable"), wanted, false).unwrap_or_default();
    if surge == 0 && unavailable == 0 { (1, 0) } else { (unavailable.min(wanted), surge) }
}

impl Sets {
    pub(super) fn of(cluster: &Cluster, deployment: &Value) -> Self {
        let mut all = cluster.store.controlled(kind::REPLICA_SETS, object::uid(deployment));
        // Uids are counted, so they sort by age where timestamps tie.
        all.sort_by(|one, other| object::uid(one).cmp(object::uid(other)));
        let mut wanted = object::at(deployment, "/spec/template").map(Cow::Borrowed);
        if let (kind::ROLLOUTS, Some(template)) = (Dialect::of(deployment).resource, &mut wanted) {
            defaults::fill_template(template.to_mut());
        }
        let hash = Dialect::of(deployment).hash;
        let position = all.iter().position(|set| template(set, hash).as_ref() == wanted.as_deref());
        let new = position.map(|index| all.remove(index));
        Self { new, old: all }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Value>> {
        self.old.iter().chain(&self.new)
    }
}

/// A ReplicaSet's template without what the Deployment added.
fn template(set: &Value, hash: &str) -> Option<Value> {
    let mut template = object::at(set, "/spec/template")?.clone();
    object::remove(&mut template, &format!("/metadata/labels/{hash}"));
    Some(template)
}

/// Paused: no new template is rolled out, but a changed size still is.
fn hold(cluster: &mut Cluster, deployment: &Value) {
    let sets = Sets::of(cluster, deployment);
    let mut active: Vec<_> = sets.all().filter(|set| replicas(set) > 0).collect();
    if active.is_empty() {
        active.extend(sets.all().last());
    }
    if let [only] = active.as_slice() {
        scale(cluster, deployment, only, replicas(deployment));
    }
}

fn replace_at_once(cluster: &mut Cluster, deployment: &Value) -> Result<(), Refusal> {
    let sets = Sets::of(cluster, deployment);
    let mut waits = false;
    for set in &sets.old {
        waits |= scale(cluster, deployment, set, 0);
        waits |= pods::of(cluster, set).iter().any(|pod| !pods::finished(pod));
    }
    if waits {
        return Ok(());
    }
    let wanted = replicas(deployment);
    let new = new_set(cluster, deployment, &sets, wanted)?;
    scale(cluster, deployment, &new, wanted);
    Ok(())
}

/// Rolls within the bounds of the strategy.
pub(super) fn roll(cluster: &mut Cluster, deployment: &Value) -> Result<(), Refusal> {
    let sets = Sets::of(cluster, deployment);
    let wanted = replicas(deployment);
    let (unavailable, surge) = slack(deployment);
    let total: i64 = sets.all().map(|set| replicas(set)).sum();
    let room = (wanted + surge - total).max(0);
    let new = new_set(cluster, deployment, &sets, wanted.min(room))?;
    let present = if sets.new.is_some() { replicas(&new) } else { wanted.min(room) };
    let goal = if present > wanted { wanted } else { present + room.min(wanted - present) };
    if sets.new.is_none() || scale(cluster, deployment, &new, goal) {
        return Ok(());
    }
    shrink_old(cluster, deployment, &sets, wanted - unavailable);
    Ok(())
}

/// Takes pods from old ReplicaSets, those that are not available first.
fn shrink_old(cluster: &mut Cluster, deployment: &Value, sets: &Sets, min_available: i64) {
    let available = |set: &Value| object::integer(set, "/status/availableReplicas").unwrap_or(0);
    let total: i64 = sets.all().map(|set| replicas(set)).sum();
    let starting = sets.new.as_ref().map_or(0, |new| replicas(new) - available(new));
    let mut allowed = total - min_available - starting;
    let mut sizes: Vec<_> = sets.old.iter().map(|set| replicas(set)).collect();
    for (set, size) in sets.old.iter().zip(&mut sizes) {
        let unhealthy = (*size - available(set)).clamp(0, allowed.max(0));
        *size -= unhealthy;
        allowed -= unhealthy;
    }
    let mut spare: i64 = sets.all().map(|set| available(set)).sum::<i64>() - min_available;
    if allowed > 0 {
        for size in &mut sizes {
            let less = (*size).min(spare.max(0));
            *size -= less;
            spare -= less;
        }
    }
    for (set, size) in sets.old.iter().zip(sizes) {
        scale(cluster, deployment, set, size);
    }
}

/// Sets a ReplicaSet's size; tells whether it changed.
fn scale(cluster: &mut Cluster, deployment: &Value, set: &Value, size: i64) -> bool {
    let before = replicas(set);
    if before == size {
        return false;
    }
    let reference = Reference::new(kind::REPLICA_SETS, object::namespace(set), object::name(set));
    let Dialect { manager, source, .. } = Dialect::of(deployment);
    cluster.update_main(&reference, manager, |set| object::set(set, "/spec/replicas", size));
    let direction = if size > before { "up" } else { "down" };
    let name = object::name(set);
    let message = format!("Scaled {direction} replica set {name} from {before} to {size}");
    cluster.event(deployment, "Normal", "ScalingReplicaSet", &message, source);
    true
}

/// The ReplicaSet of the template, created with `size` pods if there is none.
fn new_set(
    cluster: &mut Cluster,
    deployment: &Value,
    sets: &Sets,
    size: i64,
) -> Result<Arc<Value>, Refusal> {
    let dialect = Dialect::of(deployment);
    let number = |set: &Value| revision(set, dialect);
    let newest = sets.old.iter().map(|set| number(set)).max().unwrap_or_default();
    let target =
        Reference::new(dialect.resource, object::namespace(deployment), object::name(deployment));
    if let Some(new) = &sets.new {
        let mut number = number(new);
        let patience = pods::min_ready(deployment);
        if number <= newest || pods::min_ready(new) != patience {
            number = number.max(newest + 1);
            let reference =
                Reference::new(kind::REPLICA_SETS, object::namespace(new), object::name(new));
            // Old sets keep theirs.
            cluster.update_main(&reference, dialect.manager, |set| {
                object::set_annotation(set, dialect.revision, &number.to_string());
                object::set(set, "/spec/minReadySeconds", patience.as_secs());
            });
        }
        number_owner(cluster, &target, number, dialect);
        return Ok(new.clone());
    }
    let mut template = object::at(deployment, "/spec/template").cloned().unwrap_or_default();
    let hash = object::hash(&template);
    object::set_label(&mut template, dialect.hash, &hash);
    let mut selector = object::at(deployment, "/spec/selector").cloned().unwrap_or_default();
    object::set(&mut selector, &format!("/matchLabels/{}", dialect.hash), hash.as_str());
    let (_, surge) = slack(deployment);
    let name = format!("{}-{hash}", object::name(deployment));
    let set = json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": name,
            "namespace": object::namespace(deployment),
            "labels": object::at(&template, "/metadata/labels"),
            "annotations": {
                (dialect.revision): (newest + 1).to_string(),
                "deployment.kubernetes.io/desired-replicas": replicas(deployment).to_string(),
                "deployment.kubernetes.io/max-replicas":
                    (replicas(deployment) + surge).to_string(),
            },
            "ownerReferences": object::controlled_by(deployment),
        },
        "spec": {
            "replicas": size,
            "minReadySeconds": object::integer(deployment, "/spec/minReadySeconds").unwrap_or_default(),
            "selector": selector,
            "template": template,
        },
    });
    let kind = cluster
        .store
        .kind(kind::REPLICA_SETS)
        .ok_or_else(|| Refusal::internal("no replica sets"))?;
    let created =
        cluster.create(&kind, &target.namespace, set, Author::controller(dialect.manager))?;
    let message = format!("Scaled up replica set {name} from 0 to {size}");
    cluster.event(deployment, "Normal", "ScalingReplicaSet", &message, dialect.source);
    number_owner(cluster, &target, newest + 1, dialect);
    progress::note(
        cluster,
        &target,
        "NewReplicaSetCreated",
        &format!("Created new replica set \"{name}\""),
    );
    Ok(created)
}

fn revision(set: &Value, dialect: &Dialect) -> i64 {
    object::annotation(set, dialect.revision).and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn number_owner(cluster: &mut Cluster, target: &Reference, number: i64, dialect: &Dialect) {
    let number = number.to_string();
    let present = cluster.store.get(target);
    if present.and_then(|one| object::annotation(one, dialect.revision)) != Some(&number) {
        cluster.update_main(target, dialect.manager, |deployment| {
            object::set_annotation(deployment, dialect.revision, &number);
        });
    }
}

/// Forgets the oldest empty ReplicaSets beyond the history limit.
pub(super) fn clean_up(cluster: &mut Cluster, deployment: &Value) {
    let limit = object::integer(deployment, "/spec/revisionHistoryLimit").unwrap_or(10);
    let limit = usize::try_from(limit).unwrap_or_default();
    let mut old = Sets::of(cluster, deployment).old;
    old.retain(|set| {
        replicas(set) == 0
            && object::integer(set, "/status/replicas").unwrap_or_default() == 0
            && !object::deleting(set)
    });
    let dialect = Dialect::of(deployment);
    old.sort_by_key(|set| revision(set, dialect));
    let surplus = old.len().saturating_sub(limit);
    let Some(kind) = cluster.store.kind(kind::REPLICA_SETS) else { return };
    for set in &old[..surplus] {
        let reference =
            Reference::new(kind::REPLICA_SETS, object::namespace(set), object::name(set));
        // It can only be gone already.
        let _ = cluster.delete(
            &kind,
            &reference,
            &DeleteOptions::default(),
            Author::controller(dialect.manager),
        );
    }
}
