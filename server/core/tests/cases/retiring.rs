//! How a retirement goes on, whoever leads and whatever fails.

use super::census::{NEW, OLD, hook, injector, namespace, now, subject, terms, unused};
use super::world::key;
use jiff::Timestamp;
use revshift_core::cluster::{Change, Kind};
use revshift_core::label::{Operator, Requirement};
use revshift_core::migration::Approval;
use revshift_core::plane::Source;
use revshift_core::problem::Code;
use revshift_core::retirement::census::{Census, Cordon};
use revshift_core::retirement::{
    Call, DeleteRefusal, Look, Memory, Present, Record, Resume, Retirement, RetirementSpec,
    RetirementState, Sight, Step, Subject, Target, step,
};
use std::time::Duration;

pub(crate) fn retirement() -> Retirement {
    Retirement {
        id: "r-0123456789".to_owned(),
        spec: RetirementSpec {
            plane: subject(),
            terms: terms(),
            requester: "ann".to_owned(),
            created: now(),
        },
        cancelled: None,
        record: Record { epoch: 1, ..Record::new(now()) },
    }
}

/// A cluster that a retirement is carried out on, with a leader that may be replaced at any time.
struct World {
    retirement: Retirement,
    memory: Memory,
    epoch: u32,
    elapsed: Duration,
    census: Census,
    /// Whether the plane is there, and since when it is being deleted.
    #[allow(clippy::option_option, reason = "there or not, and on its way out or not")]
    plane: Option<Option<Timestamp>>,
    /// How long its operator takes.
    takes: Duration,
    refuses: bool,
    /// Webhooks of the plane that are there.
    webhooks: Vec<String>,
    /// Node agents of the CNI that are not ready.
    unready: Vec<String>,
    /// What somebody has made anew.
    anew: Vec<String>,
    /// When each deletion was asked for.
    deletions: Vec<Duration>,
    censuses: usize,
}

impl World {
    fn new() -> Self {
        Self {
            retirement: retirement(),
            memory: Memory::default(),
            epoch: 1,
            elapsed: Duration::from_secs(100),
            census: unused(),
            plane: Some(None),
            takes: Duration::from_secs(30),
            refuses: false,
            webhooks: Vec::new(),
            unready: Vec::new(),
            anew: Vec::new(),
            deletions: Vec::new(),
            censuses: 0,
        }
    }

    fn wall(&self) -> Timestamp {
        now() + self.elapsed
    }

    fn state(&self) -> RetirementState {
        self.retirement.record.state
    }

    /// Another leader, who remembers nothing.
    fn fail_over(&mut self) {
        self.epoch += 1;
        self.memory = Memory { since: self.elapsed, ..Memory::default() };
    }

    /// One step; false where nothing follows before time has passed.
    fn turn(&mut self) -> bool {
        if let Some(Some(since)) = self.plane
            && self.wall() >= since + self.takes
        {
            self.plane = None;
            self.census.plane = None;
            self.census.targets.clear();
        }
        let wall = self.wall();
        match step(&self.retirement, &self.memory, self.epoch, self.elapsed, wall) {
            Step::Commit(record) => self.store(*record, None),
            Step::Proved(record) => self.store(*record, Some(self.elapsed)),
            Step::Call(Call::Census) => {
                self.censuses += 1;
                let (begun, ended) = (self.elapsed, self.elapsed + Duration::from_secs(1));
                self.elapsed = ended;
                let sight = Sight::of(&self.census, &self.retirement, begun, ended, now() + ended);
                self.memory.sights.push(sight);
            }
            Step::Call(Call::Cordon) => {
                let cordon = self.census.cordon.clone().unwrap();
                self.memory.cordon = Some((self.elapsed, cordon));
            }
            Step::Call(Call::Look) => {
                let present = self.plane.map(|deleting| Present {
                    resource_version: "7".to_owned(),
                    deleting,
                    finalizers: vec!["operator".to_owned()],
                });
                let present = self.retirement.record.targets.iter().map(|_| present.clone());
                let look = Look {
                    at: self.elapsed,
                    present: present.collect(),
                    webhooks: self.webhooks.clone(),
                    unready: self.unready.clone(),
                    anew: self.anew.clone(),
                    ..Look::default()
                };
                self.memory.look = Some(look);
            }
            Step::Call(Call::Delete(target, version)) => {
                assert_eq!((target.uid.as_str(), version.as_str()), ("u-plane", "7"));
                self.deletions.push(self.elapsed);
                if self.refuses {
                    let (object, message) = (target.object(), "no".to_owned());
                    self.memory.refused = Some(DeleteRefusal { object, message });
                } else {
                    self.plane = Some(Some(self.wall()));
                    self.memory.look = None;
                }
            }
            Step::Wait(due) => {
                self.elapsed = due.map_or(self.elapsed + Duration::from_secs(30), |due| {
                    assert!(due > self.elapsed, "it waits for what has been");
                    due
                });
                return false;
            }
        }
        true
    }

    fn store(&mut self, record: Record, proved: Option<Duration>) {
        assert_ne!(record, self.retirement.record, "nothing new is stored");
        self.retirement.record = record;
        self.memory = Memory { since: self.elapsed, proved, ..Memory::default() };
    }

    fn run_until(&mut self, done: impl Fn(&Self) -> bool) {
        for _ in 0..10_000 {
            if done(self) {
                return;
            }
            self.turn();
        }
        panic!("it hangs: {:?}", self.retirement.record);
    }
}

#[test]
fn an_unused_plane_is_deleted_after_two_proofs_a_minute_apart() {
    let mut world = World::new();
    world.run_until(|it| it.state().is_final());
    assert_eq!(world.state(), RetirementState::Retired);
    let [first, second] = world.retirement.record.proofs[..] else { panic!("two proofs") };
    assert!(second.duration_since(first).as_secs() >= 60);
    assert_eq!(world.deletions.len(), 1);
    assert!(!world.retirement.record.cordoned, "others may use its name again");
}

#[test]
fn whatever_leader_dies_wherever_the_end_is_the_same() {
    let mut world = World::new();
    world.run_until(|it| it.state().is_final());
    assert_eq!(world.censuses, 3, "one look and two proofs");
    for crash in 0..40 {
        let mut world = World::new();
        let mut turns = 0;
        while !world.state().is_final() && turns < 10_000 {
            if turns == crash {
                world.fail_over();
            }
            world.turn();
            turns += 1;
        }
        assert_eq!(world.state(), RetirementState::Retired, "crash at {crash}");
        assert_eq!(world.deletions.len(), 1, "crash at {crash}");
        // Whoever deleted has proved it himself, twice.
        assert_eq!(world.retirement.record.proofs.len(), 2, "crash at {crash}");
    }
}

#[test]
fn a_user_that_comes_between_the_proofs_blocks_and_goes_on_when_gone() {
    let mut world = World::new();
    world.run_until(|it| it.state() == RetirementState::Proving && it.memory.sights.len() == 1);
    namespace(&mut world.census.cluster, "late", &[("istio.io/rev", OLD)]);
    world.run_until(|it| it.state() == RetirementState::Blocked(Resume::Checking));
    assert_eq!(world.retirement.record.findings[0].object, "Namespace/late");
    assert!(world.deletions.is_empty() && !world.retirement.record.cordoned);
    let late = key("", "late");
    world.census.cluster.apply(Change::Gone(Kind::Namespace, late));
    world.run_until(|it| it.state().is_final());
    assert_eq!(world.state(), RetirementState::Retired);
}

#[test]
fn a_proof_that_has_grown_old_deletes_nothing() {
    let mut world = World::new();
    world.run_until(|it| it.state() == RetirementState::Deleting);
    world.elapsed += Duration::from_mins(2);
    world.run_until(|it| it.state() != RetirementState::Deleting);
    assert_eq!(world.state(), RetirementState::Checking);
    assert!(world.deletions.is_empty());
}

#[test]
fn a_finalizer_that_hangs_is_reported_and_awaited() {
    let mut world = World::new();
    world.takes = Duration::from_mins(20);
    world.run_until(|it| it.state() == RetirementState::Blocked(Resume::Deleting));
    let finding = &world.retirement.record.findings[0];
    assert_eq!(finding.code, Code::DeletionStuck);
    assert!(finding.message.contains("the finalizer operator"), "{}", finding.message);
    assert!(world.retirement.record.cordoned);
    world.run_until(|it| it.state().is_final());
    assert_eq!((world.state(), world.deletions.len()), (RetirementState::Retired, 1));
}

#[test]
fn a_refused_deletion_is_tried_again_after_new_proofs() {
    let mut world = World::new();
    world.refuses = true;
    world.run_until(|it| matches!(it.state(), RetirementState::Blocked(_)));
    assert_eq!(world.retirement.record.findings[0].code, Code::DeletionRefused);
    world.refuses = false;
    world.run_until(|it| it.state().is_final());
    assert_eq!((world.state(), world.deletions.len()), (RetirementState::Retired, 2));
    assert!(world.deletions[1] >= world.deletions[0] + Duration::from_mins(1));
}

#[test]
fn it_can_be_given_up_until_it_deletes() {
    for (state, until) in [
        (RetirementState::Checking, RetirementState::Cancelled),
        (RetirementState::Proving, RetirementState::Cancelled),
        (RetirementState::Deleting, RetirementState::Retired),
    ] {
        let mut world = World::new();
        world.run_until(|it| it.state() == state);
        world.retirement.cancelled = Some(Approval { by: "ann".to_owned(), at: now() });
        world.run_until(|it| it.state().is_final());
        assert_eq!(world.state(), until, "{state:?}");
        assert_eq!(world.plane.is_some(), until == RetirementState::Cancelled);
    }
}

#[test]
fn it_can_be_given_up_where_the_plane_comes_back() {
    let mut world = World::new();
    world.webhooks = vec!["MutatingWebhookConfiguration/old".to_owned()];
    world.run_until(|it| it.state() == RetirementState::Blocked(Resume::Verifying));
    assert!(world.retirement.record.cordoned);
    assert_eq!(world.retirement.record.findings[0].code, Code::PlaneRemains);
    world.retirement.cancelled = Some(Approval { by: "ann".to_owned(), at: now() });
    world.run_until(|it| it.state().is_final());
    assert_eq!(world.state(), RetirementState::Cancelled);
    assert!(!world.retirement.record.cordoned);
}

#[test]
fn it_has_not_ended_while_others_lack_the_cni() {
    let mut world = World::new();
    world.unready = vec!["istio-system/istio-cni-node".to_owned()];
    world.run_until(|it| it.state() == RetirementState::Blocked(Resume::Verifying));
    let finding = &world.retirement.record.findings[0];
    assert_eq!(finding.code, Code::CniNotReady);
    assert_eq!(finding.object, "DaemonSet/istio-system/istio-cni-node");
    world.unready.clear();
    world.run_until(|it| it.state().is_final());
    assert_eq!(world.state(), RetirementState::Retired);
}

#[test]
fn without_a_policy_it_waits_a_little_and_tells() {
    let mut world = World::new();
    world.census.cordon = Some(Cordon::Missing("let in".to_owned()));
    world.run_until(|it| it.state() == RetirementState::Deleting);
    let told = &world.retirement.record.findings;
    assert!(told.iter().any(|it| it.code == Code::CordonMissing), "{told:?}");
}

#[test]
fn a_plane_that_was_made_anew_is_left_alone() {
    let mut world = World::new();
    world.census.plane = Some(Subject { uid: "u-other".to_owned(), ..subject() });
    world.run_until(|it| matches!(it.state(), RetirementState::Blocked(_)));
    assert_eq!(world.retirement.record.findings[0].code, Code::PlaneReplaced);
    assert!(world.deletions.is_empty());
}

#[test]
fn one_that_is_made_anew_after_its_deletion_is_told_at_once() {
    let mut world = World::new();
    world.run_until(|it| it.state() == RetirementState::Verifying);
    world.anew = vec!["IstioControlPlane/istio-system/cp-v113x".to_owned()];
    let since = world.elapsed;
    world.run_until(|it| it.state() == RetirementState::Blocked(Resume::Verifying));
    assert!(world.elapsed < since + Duration::from_mins(1), "it waits for what does not go away");
    assert_eq!(world.retirement.record.findings[0].code, Code::PlaneReplaced);
}

#[test]
fn a_plane_that_somebody_else_has_deleted_is_not_retired_while_it_has_users() {
    for state in [RetirementState::Checking, RetirementState::Proving] {
        let mut world = World::new();
        world.run_until(|it| it.state() == state);
        world.census.plane = None;
        world.census.targets.clear();
        namespace(&mut world.census.cluster, "left", &[("istio.io/rev", OLD)]);
        world.run_until(|it| it.state() == RetirementState::Blocked(Resume::Checking));
        assert_eq!(world.retirement.record.findings[0].object, "Namespace/left");
        world.census.cluster.apply(Change::Gone(Kind::Namespace, key("", "left")));
        world.run_until(|it| it.state().is_final());
        assert_eq!((world.state(), world.deletions.len()), (RetirementState::Retired, 0));
    }
}

#[test]
fn of_a_plane_that_is_gone_nobody_is_asked() {
    let mut world = World::new();
    world.census.plane = None;
    world.census.targets.clear();
    world.census.operator.deployments.clear();
    world.census.connections.missing = vec!["no istiod".to_owned()];
    world.run_until(|it| it.state().is_final());
    assert_eq!((world.state(), world.deletions.len()), (RetirementState::Retired, 0));
}

#[test]
fn what_is_left_of_a_plane_goes_by_proofs_of_its_own() {
    let mut world = World::new();
    world.retirement.spec.plane.source = Source::Istio;
    world.census.plane = None;
    world.run_until(|it| it.state().is_final());
    assert_eq!((world.state(), world.deletions.len()), (RetirementState::Retired, 1));
    assert_eq!(world.retirement.record.proofs.len(), 2);
}

#[test]
fn what_is_gone_already_is_no_licence_to_delete_the_rest() {
    let gone_and_left = || {
        let mut world = World::new();
        world.run_until(|it| it.state() == RetirementState::Deleting);
        let first = world.retirement.record.targets[0].clone();
        let (kind, uid) = ("Service".to_owned(), "u-service".to_owned());
        world.retirement.record.targets.push(Target { kind, uid, ..first });
        let there =
            Present { resource_version: "7".to_owned(), deleting: None, finalizers: Vec::new() };
        let present = vec![None, Some(there)];
        world.memory.look = Some(Look { at: world.elapsed, present, ..Look::default() });
        world
    };
    let next = |world: &World| {
        step(&world.retirement, &world.memory, world.epoch, world.elapsed, world.wall())
    };
    let world = gone_and_left();
    assert!(
        matches!(next(&world), Step::Call(Call::Delete(target, _)) if target.kind == "Service")
    );
    // Whoever has not proved it himself proves it now.
    let mut world = gone_and_left();
    world.memory.proved = None;
    let Step::Commit(record) = next(&world) else { panic!("{:?}", next(&world)) };
    assert_eq!(record.state, RetirementState::Checking);
    // Somebody makes the plane anew while it is being deleted.
    let mut world = gone_and_left();
    let look = world.memory.look.as_mut().unwrap();
    look.anew.push("Deployment/istio-system/istiod".to_owned());
    let Step::Commit(record) = next(&world) else { panic!("{:?}", next(&world)) };
    assert_eq!(record.state, RetirementState::Checking);
}

#[test]
fn a_name_that_leads_elsewhere_is_not_kept_from_others() {
    let mut world = World::new();
    hook(&mut world.census.cluster, injector("tag", NEW, Some(OLD)));
    namespace(&mut world.census.cluster, "other", &[("istio.io/rev", OLD)]);
    world.census.operator.namespaces = Some(["other".to_owned()].into());
    world.census.cordon = Some(Cordon::Missing("let in".to_owned()));
    // Two webhooks would inject there.
    world.run_until(|it| matches!(it.state(), RetirementState::Blocked(_)));
    assert_eq!(world.retirement.record.findings[0].object, "Namespace/other");
    let mut deactivated = injector("old", OLD, None);
    let never = Requirement { key: "never".to_owned(), operator: Operator::Exists };
    deactivated.namespace_selector.requirements.push(never);
    hook(&mut world.census.cluster, deactivated);
    world.run_until(|it| {
        assert!(!it.retirement.record.cordoned, "{:?}", it.state());
        it.state().is_final()
    });
    assert_eq!(world.state(), RetirementState::Retired);
    assert!(world.retirement.record.findings.is_empty());
}
