//! Migrations as any client of the API makes and follows them.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use pbjson_types::Duration as ProtoDuration;
use rand::Rng as _;
use revshift_proto::v1::migration_service_client::MigrationServiceClient;
use revshift_proto::v1::r#move::State as MoveState;
use revshift_proto::v1::{self as proto, plan_migration_response::Part};
use tonic::transport::Channel;

use crate::simulation::{NEW, OLD};

/// The API with as large answers as it gives.
pub(crate) type Client = MigrationServiceClient<Channel>;

/// Moves `namespaces` in one wave, as far as budgets allow, without approvals.
pub(crate) fn in_one_wave(namespaces: Vec<String>) -> proto::MigrationSpec {
    proto::MigrationSpec {
        source: OLD.to_owned(),
        target: NEW.to_owned(),
        waves: vec![proto::Wave { namespaces, approval: false }],
        ..proto::MigrationSpec::default()
    }
}

/// Moves all that is on the old plane, in the waves that the server makes, without approvals.
pub(crate) fn in_automatic_waves() -> proto::MigrationSpec {
    proto::MigrationSpec {
        source: OLD.to_owned(),
        target: NEW.to_owned(),
        all: true,
        approve_all: true,
        ..proto::MigrationSpec::default()
    }
}

/// A patience of so many seconds.
pub(crate) fn seconds(seconds: u64) -> ProtoDuration {
    ProtoDuration { seconds: i64::try_from(seconds).unwrap_or(i64::MAX), nanos: 0 }
}

/// Plans and starts a migration; answers its id.
pub(crate) async fn start(client: &mut Client, spec: &proto::MigrationSpec) -> Result<String> {
    let request = proto::PlanMigrationRequest { spec: Some(spec.clone()) };
    let mut parts = client.plan_migration(request).await.context("no plan")?.into_inner();
    let mut header = None;
    while let Some(message) = parts.message().await? {
        if let Some(Part::Header(part)) = message.part {
            header = Some(part);
        }
    }
    let plan_hash = header.context("a plan without a header")?.plan_hash;
    let request = proto::CreateMigrationRequest {
        spec: Some(spec.clone()),
        plan_hash,
        request_id: request_id(),
    };
    let created = client.create_migration(request).await.context("it was not accepted")?;
    Ok(created.into_inner().migration.context("no migration was answered")?.id)
}

fn request_id() -> String {
    let hex = format!("{:032x}", rand::rng().random::<u128>());
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// How a migration ended.
#[derive(Debug, Default)]
pub(crate) struct End {
    /// The migration, as last told.
    pub(crate) migration: proto::Migration,
    /// The state of each move, as last told.
    pub(crate) moves: BTreeMap<String, MoveState>,
}

impl End {
    /// How many moves are in `state`.
    pub(crate) fn count(&self, state: MoveState) -> usize {
        self.moves.values().filter(|found| **found == state).count()
    }
}

/// Follows a migration until `over` or the end of its stream.
pub(crate) async fn follow(
    client: &mut Client,
    id: &str,
    over: impl Fn(&End) -> bool,
) -> Result<End> {
    let request = proto::WatchMigrationRequest { id: id.to_owned(), ..<_>::default() };
    let mut stream = client.watch_migration(request).await?.into_inner();
    let mut end = End::default();
    while let Some(message) = stream.message().await? {
        ensure!(!message.resync, "the migration became another one");
        for m in message.moves {
            let state = m.state();
            end.moves.insert(m.namespace, state);
        }
        end.migration = message.migration.unwrap_or(end.migration);
        if message.synced && over(&end) {
            break;
        }
    }
    Ok(end)
}
