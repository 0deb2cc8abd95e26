//! Runs in which people intervene. Whatever they did, once they have done and everything is mended,
//! moving what is left brings the cluster to where an undisturbed migration brings it.

use super::client::{Client, REQUEST, Stream};
use super::oracle;
use super::schedule::{Event, Schedule};
use super::world::NAMESPACES;
use anyhow::{Context, Result};
use revshift_proto::v1 as proto;
use revshift_proto::v1::migration::State;
use revshift_proto::v1::r#move::State as MoveState;
use revshift_tests::NEW;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tonic::Code;

/// A rollout that makes no progress fails after so many seconds.
const ROLLOUT: i64 = 5;

/// A command that is refused has its effect, or cannot have it any more.
const REFUSED: [Code; 4] =
    [Code::FailedPrecondition, Code::InvalidArgument, Code::NotFound, Code::AlreadyExists];

/// Moves the namespaces while things happen, then sets everything right.
pub(crate) async fn tell(
    client: &Client<'_>,
    schedule: &Schedule,
    mut orders: mpsc::UnboundedReceiver<Event>,
) -> Result<Stream> {
    let id = client.create(REQUEST, &NAMESPACES, Some(ROLLOUT)).await?;
    let mut rollbacks = Vec::new();
    for _ in &schedule.events {
        let event = orders.recv().await.context("nobody tells what happens")?;
        match event {
            Event::Rollback => {
                let request = request(rollbacks.len() + 1);
                rollbacks.extend(rollback(client, &id, &request).await?);
            }
            event => command(client, &id, event).await?,
        }
    }
    client.world.bed.sandbox.set_injector_down(NEW, false);
    for id in rollbacks.iter().chain([&id]) {
        settle(client, id).await?;
    }
    // A rollout that failed goes on by itself once its reason is gone, but not at once.
    let moved = |namespace: &str| {
        let sandbox = &client.world.bed.sandbox;
        let object = sandbox.object(&format!("/api/v1/namespaces/{namespace}"));
        let label = object.map(|object| object["metadata"]["labels"]["istio.io/rev"].clone());
        let pods = sandbox.objects(&format!("/api/v1/namespaces/{namespace}/pods"));
        label == Some(NEW.into()) && pods.iter().all(|pod| oracle::injected_by(pod) == NEW)
    };
    let left: Vec<&str> = NAMESPACES.into_iter().filter(|name| !moved(name)).collect();
    if !left.is_empty() {
        let last = client.create(&request(0), &left, Some(ROLLOUT)).await?;
        settle(client, &last).await?;
    }
    let mut stream = Stream::of(id);
    client.follow(&mut stream).await?;
    Ok(stream)
}

fn request(number: usize) -> String {
    format!("7d3c0a52-6a53-4b35-9d0c-{number:012x}")
}

async fn command(client: &Client<'_>, id: &str, event: Event) -> Result<()> {
    let id = || id.to_owned();
    let done = client.insist(&REFUSED, async |mut server| {
        match event {
            Event::Pause => {
                server.pause_migration(proto::PauseMigrationRequest { id: id() }).await?;
            }
            Event::Resume => {
                server
                    .resume_migration(proto::ResumeMigrationRequest {
                        id: id(),
                        accept_gates_of_wave: None,
                    })
                    .await?;
            }
            Event::Cancel => {
                server.cancel_migration(proto::CancelMigrationRequest { id: id() }).await?;
            }
            Event::Retry => {
                let request = proto::ListMovesRequest { migration_id: id(), ..<_>::default() };
                let moves = server.list_moves(request).await?.into_inner().moves;
                let failed =
                    |m: &&proto::Move| matches!(m.state(), MoveState::Failed | MoveState::Blocked);
                let failed = moves.iter().filter(failed).map(|m| m.namespace.clone());
                let namespaces: Vec<String> = failed.collect();
                if !namespaces.is_empty() {
                    let request =
                        proto::RetryMovesRequest { migration_id: id(), namespaces, force: false };
                    server.retry_moves(request).await?;
                }
            }
            _ => {}
        }
        Ok(())
    });
    tolerate(done.await).map(|_| ())
}

/// Rolls back whatever the migration has moved; none where nothing was.
async fn rollback(client: &Client<'_>, id: &str, request: &str) -> Result<Option<String>> {
    let made = client.insist(&REFUSED, async |mut server| {
        let mut wanted = proto::RollbackMigrationRequest {
            id: id.to_owned(),
            reason: "a test".to_owned(),
            request_id: request.to_owned(),
            validate_only: true,
            ..<_>::default()
        };
        let planned = server.rollback_migration(wanted.clone()).await?.into_inner();
        wanted.plan_hash = planned.plan.context("no plan")?.plan_hash;
        wanted.validate_only = false;
        let made = server.rollback_migration(wanted).await?.into_inner();
        Ok(made.migration.context("no migration")?.id)
    });
    tolerate(made.await)
}

/// Resumes and retries until a migration has ended.
async fn settle(client: &Client<'_>, id: &str) -> Result<()> {
    loop {
        let state = client.insist(&[Code::NotFound], async |mut server| {
            let request = proto::GetMigrationRequest { id: id.to_owned() };
            let migration = server.get_migration(request).await?.into_inner().migration;
            Ok(migration.context("no migration")?.state())
        });
        match state.await? {
            State::Succeeded | State::CompletedWithExceptions | State::Cancelled => return Ok(()),
            State::Paused => {
                command(client, id, Event::Retry).await?;
                command(client, id, Event::Resume).await?;
            }
            _ => {}
        }
        sleep(Duration::from_secs(1)).await;
    }
}

fn tolerate<T>(done: Result<T>) -> Result<Option<T>> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.downcast_ref::<tonic::Status>().is_some() => Ok(None),
        Err(error) => Err(error),
    }
}
