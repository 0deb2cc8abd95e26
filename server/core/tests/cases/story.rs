//! One move on its way: the cluster that it is in, and what a leader remembers of it.

use super::world::{NEW, World, at, deployed, labels, migration, rev};
use revshift_core::budget::Room;
use revshift_core::cluster::{Kind, Lock};
use revshift_core::diagnosis::{InspectedPod, Inspection, Trouble};
use revshift_core::migration::{Migration, Move, MoveState, restart_id};
use revshift_core::pod::{Injected, Pod};
use revshift_core::problem::Code;
use revshift_core::step::{Call, Facts, Next, Order, Scratch, step};
use revshift_core::tag::Drift;
use std::collections::BTreeSet;
use std::time::Duration;

/// One move of migration `m` in `shop`, and what a leader remembers of it.
#[derive(Clone)]
pub(crate) struct Story {
    pub(crate) world: World,
    pub(crate) migration: Migration,
    pub(crate) scratch: Scratch,
    pub(crate) elapsed: Duration,
    pub(crate) unfinished: BTreeSet<String>,
    /// What of the plan's labels leads elsewhere.
    pub(crate) drift: Option<Drift>,
    /// So many more namespaces may be under way.
    pub(crate) places: u32,
}

impl Story {
    pub(crate) fn new(state: MoveState) -> Self {
        let mut world = World::calisti();
        world.application("shop");
        let mut migration = migration("m", &["shop"]);
        migration.moves.edit(0, |m| {
            m.state = state;
            m.attempt = 1;
        });
        Self {
            world,
            migration,
            scratch: Scratch::default(),
            elapsed: Duration::ZERO,
            unfinished: BTreeSet::from(["m".to_owned()]),
            drift: None,
            places: 1,
        }
    }

    /// The namespace as the move has relabelled it.
    pub(crate) fn relabelled(state: MoveState) -> Self {
        let mut story = Self::new(state);
        story.relabel();
        story
    }

    pub(crate) fn relabel(&mut self) {
        self.world.edit_namespace("shop", |meta| {
            meta.labels = labels(&[("istio.io/rev", NEW)]);
            meta.lock = Some(Lock { migration: "m".to_owned(), attempt: 1 });
        });
    }

    pub(crate) fn m(&self) -> &Move {
        &self.migration.moves[0]
    }

    pub(crate) fn edit(&mut self, change: impl FnOnce(&mut Move)) {
        self.migration.moves.edit(0, change);
    }

    /// The next step; that the namespace is read before is left out.
    pub(crate) fn next(&mut self) -> Next {
        match self.step() {
            Next::Calls(calls) if matches!(calls.as_slice(), [Call::Read { .. }]) => {
                self.read();
                self.step()
            }
            next => next,
        }
    }

    /// The API server says of the namespace what the view shows.
    pub(crate) fn read(&mut self) {
        let known = self.world.cluster.namespace("shop");
        self.scratch.read = Some(known.map(|(meta, _)| meta.resource_version.clone()));
    }

    pub(crate) fn step(&mut self) -> Next {
        let facts = Facts {
            cluster: &self.world.cluster,
            unfinished: &self.unfinished,
            elapsed: self.elapsed,
            wall: at(0),
        };
        let order = Order {
            migration: "m",
            spec: &self.migration.spec,
            paused: self.migration.control.paused,
            cancelled: self.migration.control.cancelled,
            drift: self.drift.as_ref(),
            places: self.places,
            force: self.migration.forces(&self.migration.moves[0]),
            room: Room::ALL,
        };
        step(order, &self.migration.moves[0], &mut self.scratch, facts)
    }

    pub(crate) fn after(&mut self, time: Duration) -> Next {
        self.elapsed += time;
        self.next()
    }

    #[track_caller]
    pub(crate) fn commits(&mut self) -> MoveState {
        match self.next() {
            Next::Commit(m) => {
                self.migration.moves.set(0, *m);
                self.migration.moves[0].state.clone()
            }
            other => panic!("not committed: {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn code(&mut self) -> (Code, String) {
        match self.commits() {
            MoveState::Failed(problem) | MoveState::Blocked(problem) => {
                (problem.code, problem.object)
            }
            other => panic!("no problem: {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn calls(&mut self) -> Vec<Call> {
        match self.next() {
            Next::Calls(calls) => calls,
            other => panic!("no calls: {other:?}"),
        }
    }

    /// The controller has replaced the pods of `web` by the restart of this attempt.
    pub(crate) fn roll(&mut self, injected: &Injected) {
        let restart = restart_id("m", self.migration.moves[0].attempt);
        self.world.edit_workload("shop", "web", |w| w.restart = Some(restart.clone()));
        for index in 0..2 {
            self.world.gone(Kind::Pod, "shop", &format!("web-aaa-{index}"));
            let mut pod = deployed("web", "bbb", &index.to_string(), injected.clone());
            pod.make_mut().restart = Some(restart.clone());
            self.world.pod("shop", pod);
        }
    }

    pub(crate) fn look(&mut self, ready: bool) {
        self.look_at(|_| ready);
    }

    /// A list of the namespace's pods, of which those are ready.
    pub(crate) fn look_at(&mut self, ready: impl Fn(&Pod) -> bool) {
        self.look_with(ready, |_| None);
    }

    /// The same, with the revisions of the templates that they were made of.
    pub(crate) fn look_with(
        &mut self,
        ready: impl Fn(&Pod) -> bool,
        revision: impl Fn(&Pod) -> Option<String>,
    ) {
        let (_, content) = self.world.cluster.namespace("shop").unwrap();
        let pods = content.pods.values().map(|pod| InspectedPod {
            pod: pod.clone(),
            ready: ready(pod),
            trouble: (!ready(pod))
                .then(|| (Trouble::ImagePull, "Back-off pulling image".to_owned())),
            revision: revision(pod),
            restarted: None,
        });
        self.scratch.inspection =
            Some(Inspection { at: self.elapsed, pods: pods.collect(), warnings: Vec::new() });
    }
}

pub(crate) fn new() -> Injected {
    Injected::By(rev(NEW))
}
