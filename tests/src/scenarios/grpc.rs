//! The API without revshift's own client: what any gRPC tool relies on.

use crate::api::{self, Follower, MigrationState, request_id, spec};
use crate::bed::Bed;
use crate::cluster::{NEW, OLD, application, expect_injected, expect_label, namespace, set_label};
use crate::session::{Session, until};
use anyhow::{Context, Result, ensure};
use revshift_proto::v1 as proto;
use revshift_proto::v1::control_plane_service_client::ControlPlaneServiceClient;
use revshift_proto::v1::namespace_service_client::NamespaceServiceClient;
use revshift_proto::v1::server_service_client::ServerServiceClient;
use std::collections::BTreeSet;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1 as reflection;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;

/// Plan, create, watch, read: a whole migration; asked for twice, it is made once.
pub(crate) async fn a_migration_is_made_once_for_its_request_id(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    application(bed, "grpc-once").await?;
    namespace(&client, "grpc-other", &[("istio.io/rev", OLD)]).await?;
    let session = Session::start(bed).await?;
    let mut grpc = session.migrations().await?;
    let plan = until(bed, "both namespaces can be planned", async || {
        api::plan(&mut grpc, spec(&["grpc-other"])).await?;
        Ok(api::plan(&mut grpc, spec(&["grpc-once"])).await?)
    })
    .await?;
    ensure!((&*plan.header.source, &*plan.header.target) == (OLD, NEW), "{:?}", plan.header);
    ensure!(plan.header.entries == 1 && plan.entries.len() == 1);
    let before = session.count_migrations().await?;

    let id = request_id();
    let request = proto::CreateMigrationRequest {
        spec: Some(spec(&["grpc-once"])),
        plan_hash: plan.header.plan_hash.clone(),
        request_id: id.clone(),
    };
    let made = async |request: &proto::CreateMigrationRequest| {
        let mut grpc = session.migrations().await?;
        let answer = grpc.create_migration(request.clone()).await?.into_inner();
        answer.migration.context("no migration was answered")
    };
    let (one, two) = futures::join!(made(&request), made(&request));
    let (first, second) = (one?, two?);
    ensure!(first.id == second.id && first.plan_hash == plan.header.plan_hash, "{first:?}");
    let mut follower = Follower::start(bed, &*session.replica, &first.id).await?;
    follower.read_out().await?;
    ensure!(follower.migration.state() == MigrationState::Succeeded, "{:?}", follower.migration);
    // Even when it has ended, and its plan could not be made any more.
    let third = made(&request).await?;
    ensure!(third.id == first.id && third.state() == MigrationState::Succeeded, "{third:?}");
    let upper = proto::CreateMigrationRequest { request_id: id.to_uppercase(), ..request.clone() };
    ensure!(made(&upper).await?.id == first.id, "the case of a UUID matters");
    ensure!(session.count_migrations().await? == before + 1);

    let other = api::plan(&mut grpc, spec(&["grpc-other"])).await?.header.plan_hash;
    let other = proto::CreateMigrationRequest {
        spec: Some(spec(&["grpc-other"])),
        plan_hash: other,
        request_id: id,
    };
    let answer = grpc.create_migration(other).await;
    let details = api::refused(answer, Code::AlreadyExists, "REQUEST_ID_REUSED")?;
    let info = details.error_info().context("no ErrorInfo")?;
    ensure!(info.metadata.get("migration") == Some(&first.id), "{info:?}");
    expect_label(&client, "grpc-other", OLD).await?;
    expect_injected(&client, "grpc-once", &[(NEW, 2)]).await?;
    session.end_with(&["grpc-once", "grpc-other"]).await
}

/// What was agreed to is executed, or nothing.
pub(crate) async fn a_plan_that_changed_is_not_executed(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    application(bed, "grpc-plan").await?;
    let session = Session::start(bed).await?;
    let mut grpc = session.migrations().await?;
    let hash = api::plan(&mut grpc, spec(&["grpc-plan"])).await?.header.plan_hash;
    let before = session.count_migrations().await?;
    // Restarts are not part of the plan, labels are.
    set_label(&client, "grpc-plan", "istio.io/rev", Some(NEW)).await?;
    until(bed, "the server sees the new label", async || {
        let now = api::plan(&mut grpc, spec(&["grpc-plan"])).await?.header.plan_hash;
        ensure!(now != hash, "the hash is the same");
        Ok(())
    })
    .await?;
    let create = |plan_hash: &str| proto::CreateMigrationRequest {
        spec: Some(spec(&["grpc-plan"])),
        plan_hash: plan_hash.to_owned(),
        request_id: request_id(),
    };
    let answer = grpc.create_migration(create(&hash)).await;
    let details = api::refused(answer, Code::Aborted, "PLAN_CHANGED")?;
    let info = details.error_info().context("no ErrorInfo")?;
    ensure!(info.metadata.get("sent") == Some(&hash), "{info:?}");
    ensure!(session.count_migrations().await? == before);
    // Back again, the old plan holds again.
    set_label(&client, "grpc-plan", "istio.io/rev", Some(OLD)).await?;
    let made = until(bed, "the plan holds again", async || {
        let answer = grpc.create_migration(create(&hash)).await?.into_inner();
        answer.migration.context("no migration was answered")
    })
    .await?;
    session.until_state(&made.id, "SUCCEEDED").await?;
    session.end_with(&["grpc-plan"]).await
}

/// Every refusal carries its reason, and everything that was wrong.
pub(crate) async fn refusals_carry_their_reasons(bed: &dyn Bed) -> Result<()> {
    let session = Session::start(bed).await?;
    let mut grpc = session.migrations().await?;
    let spec = |source: &str, target: &str, namespaces: &[&str]| proto::MigrationSpec {
        source: source.to_owned(),
        target: target.to_owned(),
        ..spec(namespaces)
    };
    let answer = api::plan(&mut grpc, spec("", NEW, &[])).await;
    let details = api::refused(answer, Code::InvalidArgument, "INVALID_FIELD")?;
    let bad = details.bad_request().context("no BadRequest")?;
    let fields: BTreeSet<&str> = bad.field_violations.iter().map(|it| &*it.field).collect();
    ensure!(fields == BTreeSet::from(["spec.source", "spec.namespaces"]), "{fields:?}");

    let answer = api::plan(&mut grpc, spec(OLD, "nowhere", &["no-such-namespace"])).await;
    api::refused(answer, Code::NotFound, "PLANE_NOT_FOUND")?;
    let answer = api::plan(&mut grpc, spec(OLD, "cp-v113x", &["no-such-namespace"])).await;
    api::refused(answer, Code::InvalidArgument, "PLANES_IDENTICAL")?;
    let answer = api::plan(&mut grpc, spec(OLD, NEW, &["no-such-namespace"])).await;
    let details = api::refused(answer, Code::FailedPrecondition, "PLAN_REFUSED")?;
    let failed = details.precondition_failure().context("no PreconditionFailure")?;
    let violation = failed.violations.first().context("no violation")?;
    let told = (&*violation.r#type, &*violation.subject);
    ensure!(told == ("RS1001", "Namespace/no-such-namespace"), "{violation:?}");

    let id = "m-0123456789".to_owned();
    let answer = grpc.get_migration(proto::GetMigrationRequest { id: id.clone() }).await;
    api::refused(answer, Code::NotFound, "MIGRATION_NOT_FOUND")?;
    let answer = grpc.get_migration(proto::GetMigrationRequest { id: "m".to_owned() }).await;
    let details = api::refused(answer, Code::InvalidArgument, "INVALID_FIELD")?;
    ensure!(details.bad_request().is_some_and(|bad| bad.field_violations[0].field == "id"));
    let resume_token = "nonsense".to_owned();
    let request = proto::WatchMigrationRequest { id: id.clone(), resume_token };
    let answer = grpc.watch_migration(request).await;
    api::refused(answer, Code::InvalidArgument, "RESUME_TOKEN_INVALID")?;
    let request = proto::CreateMigrationRequest::default();
    let details =
        api::refused(grpc.create_migration(request).await, Code::InvalidArgument, "INVALID_FIELD")?;
    ensure!(details.bad_request().is_some_and(|bad| bad.field_violations.len() == 3));
    let request = proto::RollbackMigrationRequest { id, ..<_>::default() };
    let answer = grpc.rollback_migration(request).await;
    let details = api::refused(answer, Code::InvalidArgument, "INVALID_FIELD")?;
    let bad = details.bad_request().context("no BadRequest")?;
    ensure!(bad.field_violations.iter().any(|it| it.field == "reason"), "{bad:?}");
    session.end().await
}

/// Pages join to the whole list, in its order; tokens fit only where they come from.
pub(crate) async fn lists_come_in_pages(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    let names = ["page-a", "page-b", "page-c"];
    for name in names {
        namespace(&client, name, &[("istio.io/rev", OLD)]).await?;
    }
    let session = Session::start(bed).await?;
    let id = session.detach(&["page-c", "page-a", "page-b"], &[]).await?;
    session.until_state(&id, "SUCCEEDED").await?;
    for name in names {
        let again = session.detach(&[name], &[]).await?;
        session.until_state(&again, "SUCCEEDED").await?;
    }
    let mut grpc = session.migrations().await?;
    let mut namespaces = NamespaceServiceClient::new(session.replica.channel().await?);

    let whole = session.moves(&id).await?;
    let (mut paged, mut page_token) = (Vec::new(), String::new());
    for _ in 0..whole.len() {
        let request =
            proto::ListMovesRequest { migration_id: id.clone(), page_size: 1, page_token };
        let page = grpc.list_moves(request).await?.into_inner();
        ensure!(page.moves.len() == 1, "{page:?}");
        paged.extend(page.moves);
        page_token = page.next_page_token;
    }
    ensure!(page_token.is_empty() && paged == whole, "{paged:?}");
    ensure!(whole.iter().map(|m| &*m.namespace).eq(["page-c", "page-a", "page-b"]), "{whole:?}");
    ensure!(whole.iter().map(|m| m.index).eq(0..3), "{whole:?}");

    let whole = grpc.list_migrations(proto::ListMigrationsRequest::default()).await?.into_inner();
    let (mut paged, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = proto::ListMigrationsRequest { page_size: 2, page_token };
        let page = grpc.list_migrations(request).await?.into_inner();
        ensure!(page.migrations.len() <= 2, "{page:?}");
        paged.extend(page.migrations);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    ensure!(paged == whole.migrations, "{paged:?}");
    let times: Vec<_> =
        paged.iter().filter_map(|m| m.create_time.as_ref().map(|t| (t.seconds, t.nanos))).collect();
    ensure!(times.len() == paged.len() && times.is_sorted_by(|a, b| a >= b), "{times:?}");

    let revision = NEW.to_owned();
    let request = proto::ListNamespacesRequest { page_size: 1, revision, ..<_>::default() };
    let first = namespaces.list_namespaces(request.clone()).await?.into_inner();
    ensure!(first.namespaces.len() == 1 && !first.next_page_token.is_empty(), "{first:?}");
    let page_token = first.next_page_token;
    let second = proto::ListNamespacesRequest { page_token: page_token.clone(), ..request.clone() };
    let second = namespaces.list_namespaces(second).await?.into_inner();
    ensure!(first.namespaces[0].name < second.namespaces[0].name, "{second:?}");
    // Of another filter, of another method, of nobody.
    let other = proto::ListNamespacesRequest {
        revision: OLD.to_owned(),
        page_token: page_token.clone(),
        ..request.clone()
    };
    let answer = namespaces.list_namespaces(other).await;
    api::refused(answer, Code::InvalidArgument, "PAGE_TOKEN_INVALID")?;
    let other = proto::ListMigrationsRequest { page_token, ..<_>::default() };
    let answer = grpc.list_migrations(other).await;
    api::refused(answer, Code::InvalidArgument, "PAGE_TOKEN_INVALID")?;
    let other = proto::ListNamespacesRequest { page_token: "x".to_owned(), ..request.clone() };
    let answer = namespaces.list_namespaces(other).await;
    api::refused(answer, Code::InvalidArgument, "PAGE_TOKEN_INVALID")?;
    let negative = proto::ListNamespacesRequest { page_size: -1, ..request };
    let answer = namespaces.list_namespaces(negative).await;
    api::refused(answer, Code::InvalidArgument, "INVALID_FIELD")?;
    session.end_with(&names).await
}

/// Health, reflection, and who leads.
pub(crate) async fn a_server_tells_of_itself(bed: &dyn Bed) -> Result<()> {
    let session = Session::start(bed).await?;
    let channel = session.replica.channel().await?;
    let mut health = HealthClient::new(channel.clone());
    for service in ["", "revshift.v1.MigrationService", "revshift.v1.NamespaceService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = health.check(request).await?.into_inner();
        ensure!(answer.status() == ServingStatus::Serving, "{service}: {answer:?}");
    }
    let unknown = HealthCheckRequest { service: "nobody".to_owned() };
    ensure!(health.check(unknown).await.is_err_and(|status| status.code() == Code::NotFound));

    let mut server = ServerServiceClient::new(channel.clone());
    until(bed, "the only replica leads", async || {
        let told = server.get_server(proto::GetServerRequest {}).await?.into_inner();
        ensure!(told.ready && !told.version.is_empty() && told.leader == told.identity, "{told:?}");
        Ok(())
    })
    .await?;
    let version = session.done(&["version"]).await?;
    ensure!(version.contains("client") && version.contains("leads"), "{version}");

    let mut planes = ControlPlaneServiceClient::new(channel.clone());
    for name in ["cp-v113x", OLD] {
        let request = proto::GetControlPlaneRequest { revision: name.to_owned() };
        let plane = planes.get_control_plane(request).await?.into_inner().control_plane;
        ensure!(plane.is_some_and(|plane| plane.revision == OLD), "{name} is another plane");
    }
    let request = proto::GetControlPlaneRequest { revision: "nowhere".to_owned() };
    let answer = planes.get_control_plane(request).await;
    api::refused(answer, Code::NotFound, "PLANE_NOT_FOUND")?;

    let services = services(channel).await?;
    for service in [
        "grpc.health.v1.Health",
        "revshift.v1.ControlPlaneService",
        "revshift.v1.MigrationService",
        "revshift.v1.NamespaceService",
        "revshift.v1.ServerService",
    ] {
        ensure!(services.contains(service), "no {service} among {services:?}");
    }
    session.end().await
}

/// The services that reflection lists.
async fn services(channel: tonic::transport::Channel) -> Result<BTreeSet<String>> {
    use reflection::server_reflection_request::MessageRequest;
    use reflection::server_reflection_response::MessageResponse;
    let request = reflection::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let requests = futures::stream::iter([request]);
    let mut answers =
        ServerReflectionClient::new(channel).server_reflection_info(requests).await?.into_inner();
    let answer = answers.message().await?.and_then(|answer| answer.message_response);
    let Some(MessageResponse::ListServicesResponse(list)) = answer else {
        anyhow::bail!("no list of services: {answer:?}");
    };
    Ok(list.service.into_iter().map(|service| service.name).collect())
}
