//! Random schedules of one move: observations late, merged and dropped, replies lost, leaders
//! changed, rollouts slow. Whatever happens, the move ends where it ends without any of it, no
//! workload is restarted twice, and no pod that it created is replaced.

use super::world::{NEW, OLD, World, deployment, key, labels, migration, rev};
use jiff::Timestamp;
use proptest::prelude::*;
use revshift_core::budget::Room;
use revshift_core::cluster::{Change, Kind, Lock, NamespaceMeta, Object};
use revshift_core::diagnosis::{InspectedPod, Inspection};
use revshift_core::migration::{Migration, MoveState};
use revshift_core::plane::Revision;
use revshift_core::pod::{Injected, Owner, Pod, TemplateHash};
use revshift_core::step::{Call, Facts, Next, Order, Scratch, step};
use revshift_core::workload::Workload;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const NAMESPACE: &str = "shop";

/// The cluster as it is; the engine sees it only through its view.
struct Truth {
    meta: NamespaceMeta,
    workloads: BTreeMap<String, Real>,
    pods: BTreeMap<String, (Pod, String)>,
    version: u64,
    created: u32,
    /// Pods of a restart of this migration that were removed.
    replaced: Vec<String>,
}

/// A Deployment with the hash of its present template.
struct Real {
    workload: Workload,
    generation: u32,
    changes: u32,
}

impl Truth {
    fn new(workloads: &[(&str, u32)]) -> Self {
        let meta = NamespaceMeta {
            uid: "uid-shop".to_owned(),
            resource_version: "1".to_owned(),
            labels: labels(&[("istio.io/rev", OLD)]),
            lock: None,
            terminating: false,
            order: 0,
            label_manager: None,
        };
        let mut truth = Self {
            meta,
            workloads: BTreeMap::new(),
            pods: BTreeMap::new(),
            version: 1,
            created: 0,
            replaced: Vec::new(),
        };
        for (name, replicas) in workloads {
            let mut workload = deployment(name, *replicas);
            workload.resource_version = truth.tick();
            let real = Real { workload, generation: 0, changes: 0 };
            truth.workloads.insert((*name).to_owned(), real);
            for _ in 0..*replicas {
                truth.create(name);
            }
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
        let revision = self.meta.labels["istio.io/rev"].clone();
        let pod = Pod {
            name: format!("{name}-{hash}-{}", self.created),
            uid: format!("uid-{}", self.created),
            owner: Some(Owner {
                group: "apps".to_owned(),
                kind: "ReplicaSet".to_owned(),
                name: format!("{name}-{hash}"),
                template_hash: Some(TemplateHash::Deployment(hash)),
            }),
            injected: Injected::By(Revision(revision)),
            wish: revshift_core::pod::InjectionWish::default(),
            restart: real.workload.restart.clone(),
            terminating: false,
        };
        self.pods.insert(pod.name.clone(), (pod, name.to_owned()));
    }

    /// One step of the Deployment controller for a workload.
    fn progress(&mut self, name: &str) {
        let real = &self.workloads[name];
        let hash = format!("{name}-g{}-", real.generation);
        let mine = |truth: &Self, current: bool| -> Vec<String> {
            let of = |(pod, owner): &&(Pod, String)| {
                owner == name && pod.name.starts_with(&hash) == current
            };
            truth.pods.values().filter(of).map(|(pod, _)| pod.name.clone()).collect()
        };
        let (old, new) = (mine(self, false), mine(self, true));
        let desired = real.workload.desired as usize;
        if new.len() < desired && old.len() + new.len() <= desired {
            self.create(name);
        } else if let Some(pod) = old.first() {
            let (pod, _) = self.pods.remove(pod).unwrap();
            self.replaced.extend(pod.restart);
        }
        let (old, new) = (mine(self, false).len(), mine(self, true).len());
        let version = self.tick();
        let workload = &mut self.workloads.get_mut(name).unwrap().workload;
        workload.observed = true;
        workload.updated = u32::try_from(new).unwrap();
        workload.total = u32::try_from(old + new).unwrap();
        workload.available = workload.total.min(workload.desired);
        workload.resource_version = version;
    }

    /// Carries a call out, if its guard holds.
    fn carry_out(&mut self, call: &Call) -> bool {
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
                real.workload.resource_version = version;
                real.generation += 1;
                real.changes += 1;
            }
            Call::Inspect { .. } => {}
        }
        true
    }
}

/// The engine's side: its view, its record, its memory.
struct Engine {
    world: World,
    migration: Migration,
    scratch: Scratch,
    elapsed: Duration,
}

impl Engine {
    fn see_namespace(&mut self, truth: &Truth) {
        self.world.set_namespace(NAMESPACE, truth.meta.clone());
    }

    fn see_workload(&mut self, truth: &Truth, name: &str) {
        let workload = truth.workloads[name].workload.clone();
        let change = Change::Set(
            Kind::Workload(workload.key.kind),
            key(NAMESPACE, name),
            Object::Workload(Box::new(workload), None),
        );
        self.world.cluster.apply(change);
    }

    fn see_pods(&mut self, truth: &Truth) {
        let pods = truth
            .pods
            .values()
            .map(|(pod, _)| (key(NAMESPACE, &pod.name), Object::Pod(Box::new(pod.clone()))));
        self.world.cluster.apply(Change::Listed(Kind::Pod, pods.collect()));
    }

    fn step(&mut self) -> Next {
        let unfinished = BTreeSet::from([self.migration.id.clone()]);
        let facts = Facts {
            cluster: &self.world.cluster,
            unfinished: &unfinished,
            elapsed: self.elapsed,
            wall: Timestamp::UNIX_EPOCH,
        };
        let order = Order {
            migration: &self.migration.id,
            spec: &self.migration.spec,
            paused: false,
            cancelled: false,
            room: Room::ALL,
        };
        step(order, &self.migration.moves[0], &mut self.scratch, facts)
    }

    /// One step; `fate` decides what becomes of a commit or of each call.
    fn act(&mut self, truth: &mut Truth, fate: u8) {
        match self.step() {
            // A commit may be lost with its leader.
            Next::Commit(m) if fate % 4 != 3 => self.migration.moves[0] = *m,
            Next::Commit(_) => self.scratch = Scratch::default(),
            Next::Calls(calls) => {
                for (index, call) in calls.iter().enumerate() {
                    match (usize::from(fate) + index) % 4 {
                        // Lost on the way.
                        0 => {}
                        // Carried out, and the reply lost.
                        1 => {
                            truth.carry_out(call);
                        }
                        // Carried out, and the reply seen.
                        _ => {
                            truth.carry_out(call);
                            self.reply(truth, call);
                        }
                    }
                }
            }
            Next::Wait(Some(until)) => {
                self.elapsed = self.elapsed.max(until.min(self.elapsed + Duration::from_secs(3)));
            }
            Next::Wait(None) => {}
        }
    }

    fn reply(&mut self, truth: &Truth, call: &Call) {
        match call {
            Call::Relabel { .. } => self.see_namespace(truth),
            Call::Restart { workload, .. } => self.see_workload(truth, &workload.name),
            Call::Inspect { .. } => {
                let pods = truth.pods.values().map(|(pod, _)| InspectedPod {
                    pod: pod.clone(),
                    ready: true,
                    trouble: None,
                });
                self.scratch.inspection = Some(Inspection {
                    at: self.elapsed,
                    pods: pods.collect(),
                    warnings: Vec::new(),
                });
            }
        }
    }
}

fn run(schedule: &[u8], workloads: &[(&str, u32)]) -> Result<(), TestCaseError> {
    let names: Vec<&str> = workloads.iter().map(|(name, _)| *name).collect();
    let mut truth = Truth::new(workloads);
    let mut migration = migration("m", &[NAMESPACE]);
    migration.moves[0].state = MoveState::Checking;
    migration.moves[0].attempt = 1;
    let mut engine = Engine {
        world: World::calisti(),
        migration,
        scratch: Scratch::default(),
        elapsed: Duration::ZERO,
    };
    engine.see_namespace(&truth);
    for name in &names {
        engine.see_workload(&truth, name);
    }
    engine.see_pods(&truth);
    for &byte in schedule {
        let (action, detail) = (byte % 8, byte / 8);
        let name = names[usize::from(detail) % names.len()];
        match action {
            0 => engine.see_namespace(&truth),
            1 => engine.see_workload(&truth, name),
            2 => engine.see_pods(&truth),
            3 => truth.progress(name),
            // A new leader: nothing is remembered, everything is listed.
            4 if detail % 4 == 0 => {
                engine.scratch = Scratch::default();
                engine.see_namespace(&truth);
                for name in &names {
                    engine.see_workload(&truth, name);
                }
                engine.see_pods(&truth);
            }
            4 => engine.elapsed += Duration::from_secs(1),
            _ => engine.act(&mut truth, detail),
        }
    }
    // The faults stop: everything is seen in time, and the rest is done without a loss.
    for _ in 0..400 {
        for name in &names {
            truth.progress(name);
        }
        engine.see_namespace(&truth);
        for name in &names {
            engine.see_workload(&truth, name);
        }
        engine.see_pods(&truth);
        engine.act(&mut truth, 2);
        if !engine.migration.moves[0].state.is_active() {
            break;
        }
    }
    prop_assert_eq!(&engine.migration.moves[0].state, &MoveState::Moved(Vec::new()));
    prop_assert_eq!(truth.meta.labels["istio.io/rev"].as_str(), NEW);
    let lock = Lock { migration: "m".to_owned(), attempt: 1 };
    prop_assert_eq!(truth.meta.lock.as_ref(), Some(&lock));
    for (pod, _) in truth.pods.values() {
        prop_assert_eq!(pod.injected.revision(), Some(&rev(NEW)));
    }
    for (name, real) in &truth.workloads {
        prop_assert!(real.changes <= 1, "{} was restarted {} times", name, real.changes);
    }
    prop_assert!(truth.replaced.is_empty(), "replaced: {:?}", truth.replaced);
    Ok(())
}

fn schedules() -> u32 {
    let asked = std::env::var("REVSHIFT_SCHEDULES").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(20_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: schedules(), ..ProptestConfig::default() })]

    #[test]
    fn every_schedule_ends_as_the_one_without_faults(
        schedule in prop::collection::vec(any::<u8>(), 0..120)
    ) {
        run(&schedule, &[("web", 2), ("db", 3), ("one", 1)])?;
    }
}
