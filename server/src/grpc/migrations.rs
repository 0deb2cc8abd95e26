//! MigrationService: plans, creations, commands, lists and the watch.

use super::convert::{check, migration, plan, request};
use super::page::Page;
use super::status::status;
use super::watch::Watch;
use super::watch::cursor::Cursor;
use super::{Face, caller, need_crds};
use crate::failure::Failure;
use crate::published::{State, Stored};
use futures::stream::{self, BoxStream, StreamExt};
use revshift_core::command::{Command, half_moved};
use revshift_core::limiter::Slowed;
use revshift_core::migration::Migration;
use revshift_core::refusal::Refusal;
use revshift_proto::v1 as proto;
use revshift_proto::v1::migration_service_server::MigrationService;
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl MigrationService for Face {
    type PlanMigrationStream = BoxStream<'static, Result<proto::PlanMigrationResponse, Status>>;
    type CheckMigrationStream = BoxStream<'static, Result<proto::CheckMigrationResponse, Status>>;
    type WatchMigrationStream = BoxStream<'static, Result<proto::WatchMigrationResponse, Status>>;

    async fn plan_migration(
        &self,
        request: Request<proto::PlanMigrationRequest>,
    ) -> Answer<Self::PlanMigrationStream> {
        self.installed()?;
        let request = request::plan(request.into_inner().spec).map_err(refused)?;
        let planned = self.control.plan(&request).await.map_err(status)?;
        Ok(Response::new(stream::iter(plan::parts(planned).map(Ok)).boxed()))
    }

    async fn check_migration(
        &self,
        request: Request<proto::CheckMigrationRequest>,
    ) -> Answer<Self::CheckMigrationStream> {
        self.installed()?;
        let request = request::plan(request.into_inner().spec).map_err(refused)?;
        let checked = self.control.check(&request).await.map_err(status)?;
        Ok(Response::new(stream::iter(check::parts(checked).map(Ok)).boxed()))
    }

    async fn create_migration(
        &self,
        request: Request<proto::CreateMigrationRequest>,
    ) -> Answer<proto::CreateMigrationResponse> {
        self.installed()?;
        let request::Creation { request, ticket } =
            request::create(request.into_inner()).map_err(refused)?;
        let stored = self.control.create(&request, &ticket, &caller()).await.map_err(status)?;
        let migration = Some(migration::migration(&stored));
        Ok(Response::new(proto::CreateMigrationResponse { migration }))
    }

    async fn get_migration(
        &self,
        request: Request<proto::GetMigrationRequest>,
    ) -> Answer<proto::GetMigrationResponse> {
        self.installed()?;
        let id = request::id(&request.get_ref().id).map_err(refused)?;
        let stored = self.control.get(&id).await.map_err(status)?;
        let mut migration = migration::migration(&stored);
        migration.unplanned_namespaces = self.control.unplanned(&stored);
        Ok(Response::new(proto::GetMigrationResponse { migration: Some(migration) }))
    }

    async fn list_migrations(
        &self,
        request: Request<proto::ListMigrationsRequest>,
    ) -> Answer<proto::ListMigrationsResponse> {
        self.read(|state| list(state, request.get_ref()))
    }

    async fn list_moves(
        &self,
        request: Request<proto::ListMovesRequest>,
    ) -> Answer<proto::ListMovesResponse> {
        self.installed()?;
        let proto::ListMovesRequest { migration_id, page_size, page_token } = request.get_ref();
        let mut fields = request::Fields::default();
        let id = fields.id("migration_id", migration_id);
        let page = Page::parse("ListMoves", migration_id, *page_size, page_token, fields)
            .map_err(refused)?;
        let stored = self.control.get(&id).await.map_err(status)?;
        let rows = stored.migration.moves.iter().enumerate();
        let rows = rows.map(|(index, m)| (format!("{index:08}"), (index, m)));
        let (moves, next_page_token) =
            page.fill(rows, |(index, m)| Some(migration::movement(index, m)));
        Ok(Response::new(proto::ListMovesResponse { moves, next_page_token }))
    }

    async fn watch_migration(
        &self,
        request: Request<proto::WatchMigrationRequest>,
    ) -> Answer<Self::WatchMigrationStream> {
        self.installed()?;
        let request = request.into_inner();
        let id = request::id(&request.id).map_err(refused)?;
        let cursor = Cursor::resume(&request.resume_token).map_err(refused)?;
        self.control.get(&id).await.map_err(status)?;
        let changes = self.control.published().subscribe();
        let watch = Watch { face: self.clone(), id, cursor, changes, seen: None, behind: None };
        Ok(Response::new(watch.stream().boxed()))
    }

    async fn pause_migration(
        &self,
        request: Request<proto::PauseMigrationRequest>,
    ) -> Answer<proto::PauseMigrationResponse> {
        let stored = self.command(&request.get_ref().id, &Command::Pause).await?;
        Ok(Response::new(proto::PauseMigrationResponse {
            migration: Some(migration::migration(&stored)),
            half_moved: half_moved(&stored.migration),
        }))
    }

    async fn resume_migration(
        &self,
        request: Request<proto::ResumeMigrationRequest>,
    ) -> Answer<proto::ResumeMigrationResponse> {
        self.installed()?;
        let approval = self.control.approval(&caller());
        let (id, command) = request::resume(request.get_ref(), approval).map_err(refused)?;
        let stored = self.control.command(&id, &command, &caller()).await.map_err(status)?;
        let migration = Some(migration::migration(&stored));
        Ok(Response::new(proto::ResumeMigrationResponse { migration }))
    }

    async fn cancel_migration(
        &self,
        request: Request<proto::CancelMigrationRequest>,
    ) -> Answer<proto::CancelMigrationResponse> {
        let stored = self.command(&request.get_ref().id, &Command::Cancel).await?;
        Ok(Response::new(proto::CancelMigrationResponse {
            migration: Some(migration::migration(&stored)),
            finishing: finishing(&stored.migration),
        }))
    }

    async fn retry_moves(
        &self,
        request: Request<proto::RetryMovesRequest>,
    ) -> Answer<proto::RetryMovesResponse> {
        self.installed()?;
        let (id, command) = request::retry(request.into_inner()).map_err(refused)?;
        let stored = self.control.command(&id, &command, &caller()).await.map_err(status)?;
        let migration = Some(migration::migration(&stored));
        Ok(Response::new(proto::RetryMovesResponse { migration }))
    }

    async fn approve_migration(
        &self,
        request: Request<proto::ApproveMigrationRequest>,
    ) -> Answer<proto::ApproveMigrationResponse> {
        self.installed()?;
        let approval = self.control.approval(&caller());
        let (id, command) = request::approve(request.get_ref(), approval).map_err(refused)?;
        let stored = self.control.command(&id, &command, &caller()).await.map_err(status)?;
        let migration = Some(migration::migration(&stored));
        Ok(Response::new(proto::ApproveMigrationResponse { migration }))
    }

    async fn skip_moves(
        &self,
        request: Request<proto::SkipMovesRequest>,
    ) -> Answer<proto::SkipMovesResponse> {
        self.installed()?;
        let (id, command) = request::skip(request.into_inner()).map_err(refused)?;
        let stored = self.control.command(&id, &command, &caller()).await.map_err(status)?;
        let migration = Some(migration::migration(&stored));
        Ok(Response::new(proto::SkipMovesResponse { migration }))
    }

    async fn extend_migration(
        &self,
        request: Request<proto::ExtendMigrationRequest>,
    ) -> Answer<proto::ExtendMigrationResponse> {
        self.installed()?;
        let request::Extension { id, request, ticket } =
            request::extend(request.into_inner()).map_err(refused)?;
        let Some(ticket) = ticket else {
            let planned = self.control.plan_extension(&id, &request).await.map_err(status)?;
            return Ok(Response::new(plan::extension(planned)));
        };
        let stored = self.control.extend(&id, &request, &ticket, &caller()).await;
        let migration = Some(migration::migration(&stored.map_err(status)?));
        Ok(Response::new(proto::ExtendMigrationResponse { migration, ..<_>::default() }))
    }

    async fn rollback_migration(
        &self,
        request: Request<proto::RollbackMigrationRequest>,
    ) -> Answer<proto::RollbackMigrationResponse> {
        self.installed()?;
        let rollback = request::rollback(request.into_inner()).map_err(refused)?;
        self.roll_back(rollback).await.map(Response::new).map_err(status)
    }
}

impl Face {
    async fn command(&self, id: &str, command: &Command) -> Result<Stored, Status> {
        self.installed()?;
        let id = request::id(id).map_err(refused)?;
        self.control.command(&id, command, &caller()).await.map_err(status)
    }

    /// Makes a rollback, or only plans it when it has no ticket. A repeated request finds what the
    /// first one made, when its plan could not be made again.
    async fn roll_back(
        &self,
        rollback: request::Rollback,
    ) -> Result<proto::RollbackMigrationResponse, Failure> {
        let request::Rollback { id, request, ticket } = rollback;
        let Some(ticket) = ticket else {
            let planned = self.control.plan_rollback(&id, &request).await?;
            return Ok(plan::rollback(planned));
        };
        let control = &self.control;
        let stored = control.rollback(&id, &request, &ticket, &caller()).await?;
        Ok(plan::stored_rollback(&stored))
    }
}

fn list(
    state: &State,
    request: &proto::ListMigrationsRequest,
) -> Result<proto::ListMigrationsResponse, Failure> {
    need_crds(state)?;
    let proto::ListMigrationsRequest { page_size, page_token } = request;
    let fields = request::Fields::default();
    let page = Page::parse("ListMigrations", "", *page_size, page_token, fields)?;
    let mut found: Vec<(String, &Migration)> =
        state.migrations.values().map(|migration| (newest_first(migration), migration)).collect();
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    let (migrations, next_page_token) = page.fill(found, |found| {
        let stored = Stored {
            uid: String::new(),
            migration: found.clone(),
            waiting_for: state.waits.of(&found.id),
            slowed: state.slowed.as_ref().map(Slowed::why),
        };
        Some(migration::migration(&stored))
    });
    Ok(proto::ListMigrationsResponse { migrations, next_page_token })
}

/// A key that sorts younger migrations first.
fn newest_first(migration: &Migration) -> String {
    let age = i64::MAX.abs_diff(migration.spec.created.as_microsecond());
    format!("{age:020}/{}", migration.id)
}

/// Namespaces that are relabelled, and moved to their end although nothing new starts.
fn finishing(migration: &Migration) -> Vec<String> {
    let runs = |name: &String| migration.find(name).is_some_and(|m| m.state.is_active());
    half_moved(migration).into_iter().filter(runs).collect()
}

fn refused(refusal: Refusal) -> Status {
    status(refusal.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definitions::Definitions;
    use crate::grpc::sample;
    use revshift_core::migration::{Move, MoveState};
    use std::time::Duration;

    fn state() -> State {
        let mut state = State { definitions: Definitions::Current, ..State::default() };
        for (index, id) in ["m-c", "m-a", "m-b"].into_iter().enumerate() {
            let m = sample::movement("shop", 1, MoveState::Pending);
            let mut migration = sample::migration(id, vec![m]);
            let age = Duration::from_secs(u64::try_from(index).unwrap());
            migration.spec.created = sample::TIME + age;
            state.migrations.insert(id.to_owned(), migration);
        }
        state.settle();
        state
    }

    fn page(state: &State, page_token: &str) -> proto::ListMigrationsResponse {
        let page_token = page_token.to_owned();
        list(state, &proto::ListMigrationsRequest { page_size: 2, page_token }).unwrap()
    }

    #[test]
    fn migrations_are_listed_newest_first_though_new_ones_come() {
        let mut state = state();
        let first = page(&state, "");
        let ids = |page: &proto::ListMigrationsResponse| {
            page.migrations.iter().map(|migration| migration.id.clone()).collect::<Vec<_>>()
        };
        assert_eq!(ids(&first), ["m-b", "m-a"]);
        assert_eq!(first.migrations[0].state(), proto::migration::State::Pending);
        assert_eq!(first.migrations[0].waiting_for, ["m-a", "m-c"]);
        let mut newest = sample::migration("m-z", Vec::new());
        newest.spec.created = sample::TIME + Duration::from_mins(1);
        state.migrations.insert("m-z".to_owned(), newest);
        let second = page(&state, &first.next_page_token);
        assert_eq!((ids(&second), second.next_page_token.as_str()), (vec!["m-c".to_owned()], ""));
    }

    #[test]
    fn a_cancelled_migration_finishes_what_is_relabelled_and_runs() {
        let failed = MoveState::Failed(sample::problem());
        let moves = [
            ("a", MoveState::Restarting),
            ("b", failed),
            ("c", MoveState::Checking),
            ("d", MoveState::Verifying),
            ("e", MoveState::Pending),
        ];
        let moves = moves.map(|(name, state)| Move {
            relabelled: state != MoveState::Pending,
            ..sample::movement(name, 1, state)
        });
        let migration = sample::migration("m-a", moves.into());
        assert_eq!(half_moved(&migration), ["a", "b", "c", "d"]);
        assert_eq!(finishing(&migration), ["a", "c", "d"]);
    }
}
