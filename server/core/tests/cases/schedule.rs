//! Random schedules of one move: observations late, merged and dropped, replies lost, leaders
//! changed, rollouts slow, budgets in the way, a pod injected wrongly. Whatever happens, the move
//! ends where it ends without any of it, no workload is restarted twice, pods are evicted one at a
//! time, and no pod that it created is replaced, but for the one that was injected wrongly.

use super::truth::{Shape, Truth};
use super::world::{NEW, World, key, migration, rev};
use jiff::Timestamp;
use proptest::prelude::*;
use revshift_core::budget::Room;
use revshift_core::cluster::{Change, Kind, Lock, Object};
use revshift_core::connection::{Connections, Heard, Proxy, Stand};
use revshift_core::diagnosis::{InspectedPod, Inspection};
use revshift_core::migration::{Migration, MoveState, Verification};
use revshift_core::step::{Call, Facts, Next, Order, Scratch, WITHHELD, Withheld, step};
use std::collections::BTreeSet;
use std::time::Duration;

const NAMESPACE: &str = "shop";

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
        let real = &truth.workloads[name];
        if real.shape == Shape::Bare {
            return;
        }
        let workload = real.workload.clone();
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
            .map(|real| (key(NAMESPACE, &real.pod.name), Object::Pod(Box::new(real.pod.clone()))));
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
            drift: None,
            places: 1,
            force: false,
            room: Room::ALL,
        };
        step(order, &self.migration.moves[0], &mut self.scratch, facts)
    }

    /// One step; `fate` decides what becomes of a commit or of each call.
    fn act(&mut self, truth: &mut Truth, fate: u8) {
        match self.step() {
            // A commit may be lost with its leader.
            Next::Commit(m) if fate % 4 != 3 => self.migration.moves.set(0, *m),
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
                            let done = truth.carry_out(call);
                            self.reply(truth, call, done);
                        }
                    }
                }
            }
            // Istiods may be out of reach, all or some.
            Next::Ask { .. } => {
                let proxies = truth.pods.values().filter(|real| real.ready).map(|real| Proxy {
                    namespace: NAMESPACE.to_owned(),
                    pod: real.pod.name.clone(),
                    stand: Stand::Synced,
                });
                let told = if fate.is_multiple_of(4) { Vec::new() } else { proxies.collect() };
                let missing = told.is_empty().then(|| "no answer".to_owned());
                let target = Connections::join([told], missing);
                self.scratch.heard = Some(Heard { at: self.elapsed, target, source: None });
            }
            Next::Wait(Some(until)) => {
                self.elapsed = self.elapsed.max(until.min(self.elapsed + Duration::from_secs(3)));
            }
            Next::Wait(None) => {}
        }
    }

    fn reply(&mut self, truth: &Truth, call: &Call, done: bool) {
        match call {
            Call::Relabel { .. } => self.see_namespace(truth),
            Call::Restart { workload, .. } => self.see_workload(truth, &workload.name),
            Call::Evict { pod, uid, .. } if done => {
                self.world.cluster.evicted(NAMESPACE, pod, uid);
            }
            Call::Evict { controller, pod, .. } | Call::Delete { controller, pod, .. } => {
                let (pod, message) = (pod.clone(), "a budget".to_owned());
                let until = self.elapsed + WITHHELD;
                let withheld = Withheld { pod, message, until };
                self.scratch.withheld.insert(controller.clone(), withheld);
            }
            Call::Read { .. } => {
                self.see_namespace(truth);
                let known = self.world.cluster.namespace(NAMESPACE);
                self.scratch.read = Some(known.map(|(meta, _)| meta.resource_version.clone()));
            }
            Call::Inspect { .. } => {
                let pods = truth.pods.values().map(|real| InspectedPod {
                    pod: real.pod.clone(),
                    ready: real.ready,
                    trouble: None,
                    revision: None,
                    restarted: None,
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

fn run(schedule: &[u8], workloads: &[(&str, Shape, u32)]) -> Result<(), TestCaseError> {
    let names: Vec<&str> = workloads.iter().map(|(name, ..)| *name).collect();
    let mut truth = Truth::new(workloads);
    let mut migration = migration("m", &[NAMESPACE]);
    migration.moves.edit(0, |m| {
        m.state = MoveState::Checking;
        m.attempt = 1;
    });
    // Half of the schedules want connections, too.
    if schedule.len().is_multiple_of(2) {
        migration.spec.verification = Verification::Connected;
    }
    migration.spec.allow_downtime = workloads.iter().any(|(.., replicas)| *replicas == 1);
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
            4 if detail % 4 == 1 => truth.forbidden = !truth.forbidden,
            4 if detail % 4 == 2 => truth.hiccup = truth.hiccup.or(Some(true)),
            4 => engine.elapsed += Duration::from_secs(1),
            _ => engine.act(&mut truth, detail),
        }
    }
    // The faults stop: everything is seen in time, and the rest is done without a loss.
    truth.forbidden = false;
    for _ in 0..600 {
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
    for real in truth.pods.values() {
        prop_assert_eq!(real.pod.make.injected.revision(), Some(&rev(NEW)));
    }
    for (name, real) in &truth.workloads {
        prop_assert!(real.changes <= 1, "{} was restarted {} times", name, real.changes);
    }
    prop_assert!(truth.wrongs.is_empty(), "{:?}", truth.wrongs);
    Ok(())
}

fn schedules() -> u32 {
    let asked = std::env::var("REVSHIFT_SCHEDULES").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(10_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: schedules(), ..ProptestConfig::default() })]

    #[test]
    fn every_schedule_ends_as_the_one_without_faults(
        schedule in prop::collection::vec(any::<u8>(), 0..120)
    ) {
        let rolls = Shape::Rolls;
        run(&schedule, &[("web", rolls, 2), ("db", rolls, 3), ("ord", Shape::OnDelete, 2)])?;
        run(&schedule, &[("ro", Shape::InPlace, 3), ("db", rolls, 2)])?;
        run(&schedule, &[("one", rolls, 1), ("set", Shape::Bare, 3), ("ord", Shape::OnDelete, 3)])?;
    }
}
