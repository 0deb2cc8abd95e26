//! DaemonSets: one pod on every node that fits, replaced node by node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::progress::set_count;
use super::{Outcome, pods, revisions, scheduler};
use crate::cluster::Cluster;
use crate::object;
use crate::refusal::Refusal;
use crate::store::Reference;

const SOURCE: &str = "daemonset-controller";

/// What a set has on a node.
#[derive(Debug, Default)]
struct Place {
    /// Whether the node is one that the set wants.
    wanted: bool,
    /// Terminating ones too.
    pods: Vec<Arc<Value>>,
}

/// One look at a set.
struct View {
    set: Arc<Value>,
    hash: String,
    min_ready: Duration,
    places: BTreeMap<String, Place>,
}

pub(super) fn reconcile(cluster: &mut Cluster, target: &Reference) -> Outcome {
    let Some(set) = cluster.store.get(target).cloned() else { return Outcome::Done };
    if object::deleting(&set) {
        return Outcome::Done;
    }
    let Ok(revision) = revisions::current(cluster, &set) else { return Outcome::Retry };
    let hash = revisions::hash(&revision).to_owned();
    let managed = manage(cluster, &View::of(cluster, &set, &hash));
    let updated = if object::text(&set, "/spec/updateStrategy/type") == "OnDelete" {
        Ok(())
    } else {
        update(cluster, &View::of(cluster, &set, &hash))
    };
    let slow = report(cluster, target, &View::of(cluster, &set, &hash));
    match managed.and(updated) {
        Err(_) => Outcome::Retry,
        Ok(()) if slow => Outcome::After(Duration::from_secs(1)),
        Ok(()) => Outcome::Done,
    }
}

impl View {
    fn of(cluster: &Cluster, set: &Arc<Value>, hash: &str) -> Self {
        let mut places: BTreeMap<String, Place> = BTreeMap::new();
        for (name, node) in scheduler::nodes(cluster) {
            let selector = object::at(set, "/spec/template/spec/nodeSelector");
            let wanted = scheduler::selects(selector, node.as_deref());
            places.insert(name, Place { wanted, pods: Vec::new() });
        }
        for pod in pods::of(cluster, set) {
            let node = object::text(&pod, "/spec/nodeName").to_owned();
            places.entry(node).or_default().pods.push(pod);
        }
        let min_ready = pods::min_ready(set);
        Self { set: set.clone(), hash: hash.to_owned(), min_ready, places }
    }

    fn updated(&self, pod: &Value) -> bool {
        object::label(pod, revisions::HASH) == Some(&self.hash)
    }

    fn available(&self, cluster: &Cluster, pod: &Value) -> bool {
        pods::available(cluster, pod, self.min_ready)
    }

    /// The new and the old pod of a place; None if there are too many of either.
    #[allow(clippy::type_complexity, reason = "two pods, if each is alone")]
    fn pair<'a>(
        &self,
        place: &'a Place,
    ) -> Option<(Option<&'a Arc<Value>>, Option<&'a Arc<Value>>)> {
        let live = || place.pods.iter().filter(|pod| !object::deleting(pod));
        let mut new = live().filter(|pod| self.updated(pod));
        let mut old = live().filter(|pod| !self.updated(pod));
        let pair = (new.next(), old.next());
        (new.next().is_none() && old.next().is_none()).then_some(pair)
    }

    fn desired(&self) -> i64 {
        let wanted = self.places.values().filter(|place| place.wanted).count();
        i64::try_from(wanted).unwrap_or(i64::MAX)
    }

    /// How many may be unavailable, and how many too many.
    fn slack(&self) -> (i64, i64) {
        let share = |field: &str| {
            let at = format!("/spec/updateStrategy/rollingUpdate/{field}");
            object::share(object::at(&self.set, &at), self.desired(), true).unwrap_or_default()
        };
        let (unavailable, surge) = (share("maxUnavailable"), share("maxSurge"));
        if unavailable == 0 && surge == 0 { (1, 0) } else { (unavailable, surge) }
    }
}

/// A wanted node gets a pod once the one before is gone; another loses what it has.
fn manage(cluster: &mut Cluster, view: &View) -> Result<(), Refusal> {
    let (_, surge) = view.slack();
    for (node, place) in &view.places {
        if !place.wanted {
            for pod in place.pods.iter().filter(|pod| !object::deleting(pod)) {
                pods::delete(cluster, &view.set, pod, SOURCE);
            }
            continue;
        }
        if place.pods.is_empty() {
            create(cluster, view, node)?;
            continue;
        }
        let mut running = Vec::new();
        for pod in place.pods.iter().filter(|pod| !object::deleting(pod)) {
            if pods::finished(pod) {
                pods::delete(cluster, &view.set, pod, SOURCE);
            } else {
                running.push(pod);
            }
        }
        if surge == 0 {
            // Uids are counted, so they sort by age.
            running.sort_by(|one, other| object::uid(one).cmp(object::uid(other)));
            for pod in running.iter().skip(1) {
                pods::delete(cluster, &view.set, pod, SOURCE);
            }
        }
    }
    Ok(())
}

fn create(cluster: &mut Cluster, view: &View, node: &str) -> Result<(), Refusal> {
    let set = &view.set;
    let template = object::at(set, "/spec/template").cloned().unwrap_or_default();
    let mut pod = pods::from_template(set, &template);
    object::set(&mut pod, "/spec/nodeName", node);
    object::set_label(&mut pod, revisions::HASH, &view.hash);
    let generation = object::integer(set, "/metadata/generation").unwrap_or_default();
    object::set_label(&mut pod, "pod-template-generation", &generation.to_string());
    pods::create(cluster, set, pod, SOURCE).map(drop)
}

fn update(cluster: &mut Cluster, view: &View) -> Result<(), Refusal> {
    let (unavailable, surge) = view.slack();
    if surge == 0 {
        replace(cluster, view, unavailable);
        Ok(())
    } else {
        surge_onto(cluster, view, surge)
    }
}

/// Deletes outdated pods as far as `maxUnavailable` allows; those that are down anyway first.
fn replace(cluster: &mut Cluster, view: &View, allowed: i64) {
    let mut unavailable = 0;
    let (mut down, mut candidates) = (Vec::new(), Vec::new());
    for place in view.places.values().filter(|place| place.wanted || !place.pods.is_empty()) {
        match view.pair(place) {
            Some((Some(new), None)) => unavailable += i64::from(!view.available(cluster, new)),
            Some((None, Some(old))) if view.available(cluster, old) => candidates.push(old),
            Some((None, Some(old))) => {
                unavailable += 1;
                down.push(old);
            }
            _ => unavailable += 1,
        }
    }
    let room = usize::try_from(allowed - unavailable).unwrap_or_default();
    for pod in down.into_iter().chain(candidates.into_iter().take(room)) {
        pods::delete(cluster, &view.set, pod, SOURCE);
    }
}

/// Creates new pods beside the old ones as far as `maxSurge` allows, and deletes an old one when
/// the new one of its node is available.
fn surge_onto(cluster: &mut Cluster, view: &View, allowed: i64) -> Result<(), Refusal> {
    let mut surging = 0;
    let (mut down, mut candidates) = (Vec::new(), Vec::new());
    for (node, place) in view.places.iter().filter(|(_, place)| place.wanted) {
        match view.pair(place) {
            None => surging += 1,
            Some((_, None)) => {}
            Some((None, Some(old))) if view.available(cluster, old) => candidates.push(node),
            Some((None, Some(_))) => down.push(node),
            Some((Some(new), Some(old))) => {
                if view.available(cluster, new) {
                    pods::delete(cluster, &view.set, old, SOURCE);
                } else {
                    surging += 1;
                }
            }
        }
    }
    let room = usize::try_from(allowed - surging).unwrap_or_default();
    for node in down.into_iter().chain(candidates.into_iter().take(room)) {
        create(cluster, view, node)?;
    }
    Ok(())
}

fn report(cluster: &mut Cluster, target: &Reference, view: &View) -> bool {
    let desired = view.desired();
    let (mut current, mut misplaced, mut ready, mut available, mut updated) = (0, 0, 0, 0, 0);
    for place in view.places.values() {
        let mut live: Vec<_> = place.pods.iter().filter(|pod| pods::active(pod)).collect();
        live.sort_by(|one, other| object::uid(one).cmp(object::uid(other)));
        if !place.wanted {
            misplaced += i64::from(!live.is_empty());
            continue;
        }
        // The oldest stands for its node.
        let Some(pod) = live.first() else { continue };
        current += 1;
        ready += i64::from(pods::ready(pod));
        available += i64::from(view.available(cluster, pod));
        updated += i64::from(live.iter().any(|pod| view.updated(pod)));
    }
    let generation = object::integer(&view.set, "/metadata/generation").unwrap_or_default();
    cluster.update_status(target, "kube-controller-manager", |set| {
        for (field, count) in [
            ("observedGeneration", generation),
            ("desiredNumberScheduled", desired),
            ("currentNumberScheduled", current),
            ("numberMisscheduled", misplaced),
            ("numberReady", ready),
        ] {
            object::set(set, &format!("/status/{field}"), count);
        }
        set_count(set, "updatedNumberScheduled", updated);
        set_count(set, "numberAvailable", available);
        set_count(set, "numberUnavailable", desired - available);
    });
    ready > available
}
