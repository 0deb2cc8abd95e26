//! The oracles themselves: each is given a run in which its invariant is broken, and has to say so.

use super::client::{Client, Stream, records};
use super::oracle;
use super::schedule::Schedule;
use super::world::{self, BYSTANDER, Evidence};
use crate::simulated;
use revshift_proto::v1 as proto;
use revshift_sandbox::{Change, ChangeKind, fixtures};
use revshift_tests::OLD;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::LocalSet;
use tokio::time::sleep;

/// How a run is tampered with, and what an oracle has to say then.
type Tampering = (fn(&mut Evidence), &'static str);

const TAMPERINGS: &[Tampering] = &[
    (|run| repeat(run, "Pod", |pod| pod.change = ChangeKind::Deleted), "I2: a pod of"),
    (|run| repeat(run, "Deployment", |web| set(web, RESTART, json!("m-another.1"))), "I2: {"),
    (|run| repeat(run, "Namespace", |_| {}), "I4: namespaces were written"),
    (
        |run| repeat(run, "Namespace", |one| BYSTANDER.clone_into(&mut one.reference.name)),
        "I4: Ref",
    ),
    (
        |run| repeat(run, "Deployment", |web| "d".clone_into(&mut web.reference.namespace)),
        "I4: Ref",
    ),
    (|run| run.world.bed.sandbox.remove(&migration(run)), "I6: the migration is not stored"),
    (paused, "I7: {"),
    (|run| apply(run, fixtures::namespace("a", &[("istio.io/rev", OLD)])), "I7: a is labelled"),
    (pod_of_another_plane, "I7: a pod of b was injected"),
    (|run| _ = run.stream.held.remove("a"), "I8: no record of a"),
    (|run| held(run).sequence += 1, "I8: b: "),
    (|run| repeat(run, "Lease", |lease| set(lease, HOLDER, json!("another"))), "I10: replica-0"),
    (|run| foreign(run, "Namespace"), "I10: another wrote"),
    (|run| foreign(run, "Deployment"), "I10: another wrote"),
    (|run| foreign(run, "MigrationShard"), "I10: another wrote"),
    (|run| repeat(run, "MigrationShard", |shard| set(shard, EPOCH, json!(0))), "I10: a commit of"),
    (|run| set(last(run, "Namespace"), LOCK, Value::Null), "I10: relabelled without a lock"),
    (|run| too_early(run, "Namespace", "RELABELING"), "I10: c was relabelled while"),
    (|run| too_early(run, "Deployment", "RESTARTING"), "I10: restart m-"),
];

const RESTART: &str = "/spec/template/metadata/annotations/revshift.dev~1restart";
const LOCK: &str = "/metadata/annotations/revshift.dev~1migration";
const HOLDER: &str = "/spec/holderIdentity";
const EPOCH: &str = "/status/epoch";

#[test]
fn every_oracle_sees_what_breaks_its_invariant() {
    for (index, (tamper, told)) in TAMPERINGS.iter().enumerate() {
        witnessed(async |mut run, schedule| {
            run.judge(&schedule).expect("nothing is wrong with it yet");
            tamper(&mut run);
            let said = run.judge(&schedule).map(|_| ()).map_err(|error| format!("{error:#}"));
            let said = said.expect_err(&format!("number {index} is passed over, not {told}"));
            assert!(said.starts_with(told), "number {index}: {said}, not {told}");
        });
    }
}

/// An end that differs from that of the undisturbed run.
#[test]
fn an_end_that_differs_is_seen() {
    witnessed(async |run, schedule| {
        let calm = run.judge(&schedule).unwrap();
        assert_eq!(oracle::differs(&calm, &calm), None);
        for what in ["labels of a", "workload of b", "pods of c", "pods of bystander", "move of a"]
        {
            let mut end = calm.clone();
            assert!(end.insert(what.to_owned(), "otherwise".to_owned()).is_some(), "{what}");
            let said = oracle::differs(&calm, &end).unwrap_or_default();
            assert!(said.starts_with(&format!("I7: {what}: otherwise")), "{said}");
        }
    });
}

/// A stream that goes back, begins anew, or says that it is whole while it is not.
#[test]
fn a_stream_with_a_gap_is_seen() {
    witnessed(async |run, _| {
        let world = &run.world;
        let told = |messages: Vec<proto::WatchMigrationResponse>| {
            let mut stream = Stream::of(run.stream.id.clone());
            let mut results = messages.into_iter().map(|one| stream.apply(one, world));
            results.find_map(Result::err).map(|error| error.to_string()).unwrap_or_default()
        };
        let message = |moves: &[proto::Move], synced: bool| proto::WatchMigrationResponse {
            moves: moves.to_vec(),
            synced,
            ..<_>::default()
        };
        let mut moves: Vec<proto::Move> = run.stream.held.values().cloned().collect();
        moves.sort_by_key(|m| m.sequence);
        assert_eq!(told(vec![message(&moves, true)]), "");
        let anew = proto::WatchMigrationResponse { resync: true, ..<_>::default() };
        assert!(told(vec![anew]).starts_with("I8: the stream of one migration began anew"));
        let again = told(vec![message(&moves, false), message(&moves[1..], false)]);
        assert!(again.starts_with("I8: record "), "{again}");
        let gap = told(vec![message(&moves[1..], true)]);
        assert!(gap.contains("is held at None and stored at"), "{gap}");
    });
}

/// A migration that was accepted, and is no more.
#[test]
fn a_migration_that_is_lost_is_seen() {
    witnessed(async |run, _| {
        run.world.bed.sandbox.remove(&migration(&run));
        sleep(Duration::from_secs(5)).await;
        let client = Client::new(&run.world);
        let lost = client.follow(&mut Stream::of(run.stream.id.clone())).await;
        let said = lost.expect_err("it is followed to its end").to_string();
        assert!(said.starts_with("I6"), "{said}");
    });
}

/// Shows what is left of an undisturbed run of its own.
fn witnessed(look: impl AsyncFnOnce(Evidence, Schedule)) {
    simulated::in_virtual_time(LocalSet::new().run_until(async {
        let schedule = Schedule::calm(1);
        let run = world::witness(&schedule).await.expect("undisturbed, the migration succeeds");
        look(run, schedule).await;
    }));
}

fn migration(run: &Evidence) -> String {
    format!("/apis/revshift.dev/v1alpha1/migrations/{}", run.stream.id)
}

fn apply(run: &Evidence, object: Value) {
    run.world.bed.sandbox.apply(object);
}

/// Whether a change is one of revshift's own to something of that kind.
fn own(change: &Change, kind: &str) -> bool {
    let ours = change.manager == "revshift" || ["Lease", "Pod"].contains(&kind);
    // What the records call for, and pods of a restart.
    let told = change.object.pointer("/metadata/annotations/revshift.dev~1restart").is_some();
    let stays = change.change != ChangeKind::Deleted;
    change.kind == kind
        && ours
        && stays
        && (kind != "Pod" || told)
        && change.reference.name != "revshift-system"
}

/// The last change of revshift to something of that kind.
fn last<'a>(run: &'a mut Evidence, kind: &str) -> &'a mut Change {
    run.changes.iter_mut().rfind(|change| own(change, kind)).expect("it was written")
}

/// Lets the last change of a kind happen once more, not quite the same.
fn repeat(run: &mut Evidence, kind: &str, alter: fn(&mut Change)) {
    let mut change = last(run, kind).clone();
    change.previous = Some(Arc::clone(&change.object));
    alter(&mut change);
    run.changes.push(change);
}

fn set(change: &mut Change, pointer: &str, value: Value) {
    let object = Arc::make_mut(&mut change.object);
    *object.pointer_mut(pointer).expect("it is there") = value;
}

/// Somebody else made the last write to something of that kind.
fn foreign(run: &mut Evidence, kind: &str) {
    let version = last(run, kind).version;
    for write in run.writes.iter_mut().filter(|write| write.after + 1 == version) {
        "another".clone_into(&mut write.by);
    }
}

/// The last write to something of that kind came before the records called for it.
fn too_early(run: &mut Evidence, kind: &str, state: &str) {
    let of = run.changes.iter().rposition(|change| own(change, kind)).expect("it was written");
    let about = &run.changes[of].reference;
    let namespace = if kind == "Namespace" { &about.name } else { &about.namespace };
    let calls = |change: &Change| {
        own(change, "MigrationShard")
            && records(&change.object)
                .iter()
                .any(|(name, record)| name == namespace && record["state"] == state)
    };
    let record = run.changes[..of].iter().position(calls).expect("a record called for it");
    let change = run.changes.remove(of);
    run.changes.insert(record, change);
}

fn paused(run: &mut Evidence) {
    let mut stored = run.world.bed.sandbox.object(&migration(run)).expect("it is stored");
    stored["status"]["state"] = json!("PAUSED");
    apply(run, stored);
}

fn pod_of_another_plane(run: &mut Evidence) {
    let mut pods = run.world.bed.sandbox.objects("/api/v1/namespaces/b/pods");
    let mut pod = pods.pop().expect("b has pods");
    let record = json!({ "revision": OLD }).to_string();
    pod["metadata"]["annotations"]["sidecar.istio.io/status"] = json!(record);
    apply(run, pod);
}

fn held(run: &mut Evidence) -> &mut proto::Move {
    run.stream.held.get_mut("b").expect("its record was sent")
}
