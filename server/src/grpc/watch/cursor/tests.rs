use super::*;
use crate::grpc::sample;
use revshift_core::migration::{MigrationState, MoveState};
use std::collections::BTreeSet;

const UID: &str = "7d444840-9dc0-11d1-b245-5ffdce74fad2";

fn stored(uid: &str, numbers: &[u64]) -> Stored {
    let moves = numbers.iter().enumerate().map(|(index, number)| {
        sample::movement(&format!("ns-{index}"), *number, MoveState::Restarting)
    });
    let migration = sample::migration("m-0123456789", moves.collect());
    Stored { uid: uid.to_owned(), migration, waiting_for: BTreeSet::new(), slowed: None }
}

fn sight(stored: &Stored) -> Sight {
    Sight::new(stored.clone(), BTreeMap::new())
}

fn message(step: Step) -> proto::WatchMigrationResponse {
    match step {
        Step::Send(message) => *message,
        other => panic!("{other:?}"),
    }
}

/// Everything that a cursor sends of what is held now.
fn drain(cursor: &mut Cursor, sight: &Sight) -> Vec<proto::WatchMigrationResponse> {
    let mut messages = Vec::new();
    while let Step::Send(message) = cursor.step(sight) {
        messages.push(*message);
    }
    messages
}

/// What a client holds that applies messages in order.
#[derive(Clone, Debug, Default, PartialEq)]
struct Client {
    moves: BTreeMap<String, proto::Move>,
    last: u64,
    token: String,
    synced: bool,
}

impl Client {
    fn apply(&mut self, message: proto::WatchMigrationResponse) {
        if message.resync {
            *self = Self::default();
        }
        assert!(message.moves.len() <= MOST_RECORDS);
        for m in message.moves {
            assert!(m.sequence > self.last, "not ascending");
            self.last = m.sequence;
            self.moves.insert(m.namespace.clone(), m);
        }
        self.token = message.resume_token;
        self.synced = message.synced;
    }

    fn holds(&self, stored: &Stored) -> bool {
        let moves = stored.migration.moves.iter().enumerate();
        let all: BTreeMap<_, _> =
            moves.map(|(index, m)| (m.namespace.clone(), movement(index, m))).collect();
        all == self.moves
    }
}

#[test]
fn the_first_message_has_everything() {
    let stored = stored(UID, &[3, 1, 2]);
    let mut cursor = Cursor::resume("").unwrap();
    let first = message(cursor.step(&sight(&stored)));
    let numbers: Vec<u64> = first.moves.iter().map(|m| m.sequence).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(first.moves.iter().map(|m| m.index).collect::<Vec<_>>(), [1, 2, 0]);
    assert!(first.synced && !first.resync && first.migration.is_some());
    assert!(matches!(cursor.step(&sight(&stored)), Step::Idle));
}

#[test]
fn only_what_changed_is_sent() {
    let mut stored = stored(UID, &[1, 2, 3]);
    let mut cursor = Cursor::default();
    drain(&mut cursor, &sight(&stored));
    stored.migration.moves.edit(1, |m| m.sequence = 1 << 32);
    let next = message(cursor.step(&sight(&stored)));
    assert_eq!(next.moves.iter().map(|m| m.sequence).collect::<Vec<_>>(), [1 << 32]);
    assert!(next.migration.is_none() && next.synced);
    stored.migration.control.paused = true;
    let next = message(cursor.step(&sight(&stored)));
    assert!(next.moves.is_empty() && next.migration.is_some() && next.synced);
}

#[test]
fn large_migrations_come_in_batches() {
    let numbers: Vec<u64> = (1..=1_200).rev().collect();
    let stored = stored(UID, &numbers);
    let messages = drain(&mut Cursor::default(), &sight(&stored));
    let sizes: Vec<usize> = messages.iter().map(|message| message.moves.len()).collect();
    assert_eq!(sizes, [500, 500, 200]);
    let synced: Vec<bool> = messages.iter().map(|message| message.synced).collect();
    assert_eq!(synced, [false, false, true]);
    let summaries = messages.iter().filter(|message| message.migration.is_some()).count();
    assert_eq!(summaries, 1);
}

#[test]
fn a_client_that_resumes_after_any_prefix_holds_what_is_stored() {
    let small = stored(UID, &(1..=1_100).collect::<Vec<_>>());
    let whole = drain(&mut Cursor::default(), &sight(&small)).len();
    for prefix in 0..=whole {
        let mut client = Client::default();
        for message in drain(&mut Cursor::default(), &sight(&small)).into_iter().take(prefix) {
            client.apply(message);
        }
        // Records change while the client is away.
        let mut changed = small.clone();
        for (number, index) in [0, 499, 500, 1_099].into_iter().enumerate() {
            let number = u64::try_from(number).unwrap();
            changed.migration.moves.edit(index, |m| {
                m.sequence = (1 << 32) + number;
                m.state = MoveState::Verifying;
            });
        }
        let mut cursor = Cursor::resume(&client.token).unwrap();
        for message in drain(&mut cursor, &sight(&changed)) {
            assert!(!message.resync);
            client.apply(message);
        }
        assert!(client.synced && client.holds(&changed), "after {prefix} messages");
    }
}

#[test]
fn records_that_change_between_two_batches_are_not_lost() {
    let mut stored = stored(UID, &(1..=1_100).collect::<Vec<_>>());
    let (mut cursor, mut client) = (Cursor::default(), Client::default());
    let mut epoch = 1 << 32;
    for round in 0..6 {
        client.apply(message(cursor.step(&sight(&stored))));
        for index in [round, 600 + round, 1_000 + round] {
            epoch += 1;
            stored.migration.moves.edit(index, |m| m.sequence = epoch);
        }
    }
    for message in drain(&mut cursor, &sight(&stored)) {
        client.apply(message);
    }
    assert!(client.synced && client.holds(&stored));
}

#[test]
fn a_replica_that_holds_less_than_another_did_sends_nothing() {
    let ahead = stored(UID, &[1, 2, 7]);
    let token = message(Cursor::default().step(&sight(&ahead))).resume_token;
    let mut cursor = Cursor::resume(&token).unwrap();
    assert!(matches!(cursor.step(&sight(&stored(UID, &[1, 2, 6]))), Step::Behind));
    let caught_up = message(cursor.step(&sight(&stored(UID, &[1, 8, 7]))));
    assert_eq!(caught_up.moves.iter().map(|m| m.sequence).collect::<Vec<_>>(), [8]);
}

#[test]
fn what_another_replica_held_counts_though_it_was_not_sent_yet() {
    let ahead = stored(UID, &(1..=600).collect::<Vec<_>>());
    let first = message(Cursor::default().step(&sight(&ahead)));
    assert!(!first.synced);
    let mut cursor = Cursor::resume(&first.resume_token).unwrap();
    let behind = stored(UID, &(1..=599).chain([0]).collect::<Vec<_>>());
    assert!(matches!(cursor.step(&sight(&behind)), Step::Behind));
}

#[test]
fn another_migration_of_that_id_starts_anew() {
    let token = message(Cursor::default().step(&sight(&stored(UID, &[9])))).resume_token;
    let other = stored("another-uid", &[1, 2]);
    let mut cursor = Cursor::resume(&token).unwrap();
    let first = message(cursor.step(&sight(&other)));
    assert!(first.resync && first.synced && first.migration.is_some());
    assert_eq!(first.moves.len(), 2);
    // In the middle of a stream too.
    let third = message(cursor.step(&sight(&stored(UID, &[9]))));
    assert!(third.resync && third.moves.len() == 1);
    assert!(matches!(cursor.step(&sight(&stored(UID, &[9]))), Step::Idle));
}

#[test]
fn the_stream_ends_when_everything_up_to_the_final_number_was_sent() {
    let mut stored = stored(UID, &[1, 2]);
    let mut cursor = Cursor::default();
    drain(&mut cursor, &sight(&stored));
    stored.migration.ended = Some(sample::ended(MigrationState::Succeeded, 5));
    // The end is here before the last record.
    let last = message(cursor.step(&sight(&stored)));
    assert_eq!(last.migration.unwrap().final_sequence, 5);
    assert!(matches!(cursor.step(&sight(&stored)), Step::Idle));
    stored.migration.moves.edit(0, |m| m.sequence = 5);
    let last = message(cursor.step(&sight(&stored)));
    assert_eq!(last.moves.len(), 1);
    assert!(matches!(cursor.step(&sight(&stored)), Step::End));
    // Whoever comes later gets everything, then the end.
    let mut late = Cursor::resume(&last.resume_token).unwrap();
    assert!(message(late.step(&sight(&stored))).migration.is_some());
    assert!(matches!(late.step(&sight(&stored)), Step::End));
}

#[test]
fn live_counts_are_sent_when_they_change_and_once_the_records_are_there() {
    let stored = stored(UID, &(1..=501).collect::<Vec<_>>());
    let counts = |pods_total| LiveProgress { pods_total, ..LiveProgress::default() };
    let live = |pods: &[(&str, u32)]| {
        let live = pods.iter().map(|(name, pods)| ((*name).to_owned(), counts(*pods)));
        Sight::new(stored.clone(), live.collect())
    };
    let mut cursor = Cursor::default();
    let both = live(&[("ns-0", 1), ("ns-1", 1)]);
    let sizes: Vec<usize> =
        drain(&mut cursor, &both).iter().map(|message| message.progress.len()).collect();
    assert_eq!(sizes, [0, 2]);
    let next = message(cursor.step(&live(&[("ns-0", 1), ("ns-1", 2)])));
    assert_eq!((next.progress[0].namespace.as_str(), next.progress.len()), ("ns-1", 1));
    assert!(next.migration.is_none() && next.moves.is_empty() && next.synced);
    // A move that has ended is not counted any more; when it runs again it is.
    assert!(matches!(cursor.step(&live(&[("ns-0", 1)])), Step::Idle));
    assert_eq!(message(cursor.step(&live(&[("ns-0", 1), ("ns-1", 2)]))).progress.len(), 1);
}

#[test]
fn tokens_of_something_else_are_refused() {
    let sealed = [
        token::seal("ListMoves", "1-2/uid"),
        token::seal(PURPOSE, "2-1/uid"),
        token::seal(PURPOSE, "1/uid"),
        token::seal(PURPOSE, "-1-2/uid"),
        token::seal(PURPOSE, "1-2"),
        "x".to_owned(),
    ];
    for wrong in sealed {
        assert_eq!(Cursor::resume(&wrong).map(|_| ()), Err(Refusal::ResumeToken), "{wrong}");
    }
    let cursor = Cursor::resume(&token::seal(PURPOSE, "1-2/uid")).unwrap();
    assert_eq!((cursor.sent, cursor.held, cursor.uid.as_deref()), (1, 2, Some("uid")));
}
