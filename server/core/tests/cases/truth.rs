//! The cluster as it is, for random schedules: controllers, an injector, evictions.

use super::world::{OLD, deployment, labels, workload};
use revshift_core::cluster::NamespaceMeta;
use revshift_core::plane::Revision;
use revshift_core::pod::{Injected, InjectionWish, Make, Owner, Pod, TemplateHash};
use revshift_core::step::Call;
use revshift_core::workload::{Obstacle, Workload, WorkloadKind};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How a controller replaces its pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A Deployment, which rolls.
    Rolls,
    /// A StatefulSet, only when they are deleted.
    OnDelete,
    /// A ReplicaSet of nobody, which is not watched.
    Bare,
    /// An Argo Rollout, whose controller evicts pods that are older than its restart.
    InPlace,
}

/// The cluster; the engine sees it only through its view.
pub(crate) struct Truth {
    pub(crate) meta: NamespaceMeta,
    pub(crate) workloads: BTreeMap<String, Real>,
    pub(crate) pods: BTreeMap<String, RealPod>,
    /// Whether budgets forbid every eviction.
    pub(crate) forbidden: bool,
    /// Whether the next pod is injected by the old plane. It happens once.
    pub(crate) hiccup: Option<bool>,
    /// What must never happen.
    pub(crate) wrongs: Vec<String>,
    version: u64,
    created: u32,
    straggler: Option<String>,
}

/// A controller with the number of its present template.
pub(crate) struct Real {
    pub(crate) shape: Shape,
    pub(crate) workload: Workload,
    pub(crate) changes: u32,
    generation: u32,
}

/// A pod, whose it is, and how it stands.
pub(crate) struct RealPod {
    pub(crate) pod: Pod,
    pub(crate) ready: bool,
    owner: String,
    generation: u32,
}

impl Truth {
    pub(crate) fn new(workloads: &[(&str, Shape, u32)]) -> Self {
        let meta = NamespaceMeta {
            uid: "uid-shop".to_owned(),
            resource_version: "1".to_owned(),
            labels: labels(&[("istio.io/rev", OLD)]),
            lock: None,
            terminating: false,
            order: 0,
            skip: false,
            label_manager: None,
            label_owner: None,
        };
        let mut truth = Self {
            meta,
            workloads: BTreeMap::new(),
            pods: BTreeMap::new(),
            forbidden: false,
            hiccup: None,
            wrongs: Vec::new(),
            version: 1,
            created: 0,
            straggler: None,
        };
        for (name, shape, replicas) in workloads {
            let mut made = match shape {
                Shape::OnDelete => workload(WorkloadKind::StatefulSet, name, *replicas),
                Shape::InPlace => workload(WorkloadKind::Rollout, name, *replicas),
                Shape::Rolls | Shape::Bare => deployment(name, *replicas),
            };
            made.obstacle = (*shape == Shape::OnDelete).then_some(Obstacle::OnDelete);
            made.resource_version = truth.tick();
            let real = Real { shape: *shape, workload: made, generation: 0, changes: 0 };
            truth.workloads.insert((*name).to_owned(), real);
            for _ in 0..*replicas {
                truth.create(name);
            }
        }
        for pod in truth.pods.values_mut() {
            pod.ready = true;
        }
        truth
    }

    fn tick(&mut self) -> String {
        self.version += 1;
        self.version.to_string()
    }

    fn create(&mut self, name: &str) {
        self.created += 1;
        let real = &self.workloads[name];
        let hash = format!("g{}", real.generation);
        let own = |kind: &str, name: String, template_hash| Owner {
            group: "apps".to_owned(),
            kind: kind.to_owned(),
            name,
            template_hash,
        };
        let ordinal = (0..100).find(|n| !self.pods.contains_key(&format!("{name}-{n}"))).unwrap();
        let (pod, owner) = match real.shape {
            Shape::Rolls => {
                let pod = format!("{name}-{hash}-{}", self.created);
                let set = format!("{name}-{hash}");
                (pod, own("ReplicaSet", set, Some(TemplateHash::Deployment(hash))))
            }
            Shape::InPlace => {
                let pod = format!("{name}-r-{}", self.created);
                let hash = TemplateHash::Rollout("r".to_owned());
                (pod, own("ReplicaSet", format!("{name}-r"), Some(hash)))
            }
            Shape::OnDelete => {
                (format!("{name}-{ordinal}"), own("StatefulSet", name.to_owned(), None))
            }
            Shape::Bare => {
                (format!("{name}-x{}", self.created), own("ReplicaSet", name.to_owned(), None))
            }
        };
        let uid = format!("uid-{}", self.created);
        let mut revision = self.meta.labels["istio.io/rev"].clone();
        if revision != OLD && self.hiccup == Some(true) {
            self.hiccup = Some(false);
            self.straggler = Some(uid.clone());
            OLD.clone_into(&mut revision);
        }
        let pod = Pod {
            name: pod,
            uid,
            make: Arc::new(Make {
                owner: Some(owner),
                injected: Injected::By(Revision(revision)),
                wish: InjectionWish::default(),
                restart: real.workload.restart.clone().filter(|_| real.shape != Shape::InPlace),
            }),
            terminating: false,
        };
        let (owner, generation) = (name.to_owned(), real.generation);
        self.pods.insert(pod.name.clone(), RealPod { pod, ready: false, owner, generation });
    }

    /// One step of a controller, or of the kubelet of its pods.
    pub(crate) fn progress(&mut self, name: &str) {
        let real = &self.workloads[name];
        let (shape, generation) = (real.shape, real.generation);
        let desired = real.workload.desired as usize;
        let of = |truth: &Self, current: bool| -> Vec<String> {
            let mine = truth.pods.values().filter(|pod| pod.owner == name);
            mine.filter(|pod| (pod.generation == generation) == current)
                .map(|pod| pod.pod.name.clone())
                .collect()
        };
        let (old, new) = (of(self, false), of(self, true));
        let there = old.len() + new.len();
        let lacks = if shape == Shape::InPlace {
            there < desired
        } else {
            new.len() < desired && there <= desired
        };
        let waking = self.pods.values_mut().find(|pod| pod.owner == name && !pod.ready);
        if let Some(pod) = waking {
            pod.ready = true;
        } else if lacks {
            self.create(name);
        } else if let Some(pod) =
            old.first().filter(|_| shape != Shape::OnDelete && shape != Shape::Bare)
        {
            let pod = self.pods.remove(pod).unwrap().pod;
            self.gone(&pod);
        }
        let (old, new) = (of(self, false).len(), of(self, true).len());
        let ready = self.pods.values().filter(|pod| pod.owner == name && pod.ready).count();
        let version = self.tick();
        let workload = &mut self.workloads.get_mut(name).unwrap().workload;
        workload.observed = true;
        let updated = if shape == Shape::InPlace { old + new } else { new };
        workload.updated = u32::try_from(updated).unwrap();
        if let Some(restart) = &mut workload.in_place {
            restart.done = old == 0;
        }
        workload.total = u32::try_from(old + new).unwrap();
        workload.available = u32::try_from(ready).unwrap();
        workload.resource_version = version;
    }

    /// No pod of this migration's own making may go, but for the one that was injected wrongly.
    fn gone(&mut self, pod: &Pod) {
        let made = pod.make.restart.is_some()
            || pod.make.injected != Injected::By(Revision(OLD.to_owned()));
        if made && self.straggler.as_ref() != Some(&pod.uid) {
            self.wrongs.push(format!("{} was replaced", pod.name));
        }
    }

    /// Carries a call out, if its guard holds; false when it is refused.
    pub(crate) fn carry_out(&mut self, call: &Call) -> bool {
        match call {
            Call::Relabel { resource_version, labels: wanted, lock, .. } => {
                if *resource_version != self.meta.resource_version {
                    return false;
                }
                self.meta.labels = wanted.entries();
                self.meta.lock = Some(lock.clone());
                self.meta.resource_version = self.tick();
            }
            Call::Restart { workload, resource_version, restart, .. } => {
                let version = self.tick();
                let real = self.workloads.get_mut(&workload.name).unwrap();
                if *resource_version != real.workload.resource_version {
                    return false;
                }
                real.workload.restart = Some(restart.clone());
                real.workload.observed = false;
                if let Some(restart) = &mut real.workload.in_place {
                    restart.done = false;
                }
                real.workload.resource_version = version;
                real.generation += 1;
                real.changes += 1;
            }
            Call::Evict { pod, uid, .. } | Call::Delete { pod, uid, .. } => {
                return self.evict(pod, uid);
            }
            Call::Read { .. } | Call::Inspect { .. } => {}
        }
        true
    }

    fn evict(&mut self, name: &str, uid: &str) -> bool {
        if self.forbidden {
            return false;
        }
        let Some(found) = self.pods.get(name).filter(|found| found.pod.uid == uid) else {
            return true;
        };
        let owner = found.owner.clone();
        let mine = self.pods.values().filter(|pod| pod.owner == owner);
        let others: BTreeSet<bool> =
            mine.clone().filter(|pod| pod.pod.uid != uid).map(|pod| pod.ready).collect();
        let full = mine.count() >= self.workloads[&owner].workload.desired as usize;
        // While a Deployment rolls its pods come and go by themselves.
        let rolls = self.workloads[&owner].shape == Shape::Rolls;
        if !rolls && (!full || others.contains(&false)) {
            self.wrongs.push(format!("{name} was evicted too early"));
        }
        let pod = self.pods.remove(name).unwrap().pod;
        self.gone(&pod);
        true
    }
}
