//! Health of the server and of each service, as `grpc.health.v1` shows it.

use crate::published::Published;
use revshift_proto::v1::{
    control_plane_service_server, migration_service_server, namespace_service_server,
    server_service_server,
};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// What is reported: the whole server, and its services.
const SERVICES: [&str; 5] = [
    "",
    control_plane_service_server::SERVICE_NAME,
    migration_service_server::SERVICE_NAME,
    namespace_service_server::SERVICE_NAME,
    server_service_server::SERVICE_NAME,
];
/// How long a server that shuts down still says so before it ends those who watch its health.
const FAREWELL: Duration = Duration::from_secs(1);

/// Reports SERVING while this replica has read the whole cluster and does not shut down. Never
/// ends.
pub(crate) async fn report(
    mut reporter: HealthReporter,
    published: &Published,
    shutdown: &CancellationToken,
) {
    let mut changes = published.subscribe();
    let mut said = None;
    while !shutdown.is_cancelled() {
        changes.mark_unchanged();
        let ready = published.read().ready;
        if said != Some(ready) {
            said = Some(ready);
            let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
            say(&reporter, status).await;
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            Ok(()) = changes.changed() => {}
        }
    }
    say(&reporter, ServingStatus::NotServing).await;
    tokio::time::sleep(FAREWELL).await;
    for service in SERVICES {
        reporter.clear_service_status(service).await;
    }
    std::future::pending::<()>().await;
}

async fn say(reporter: &HealthReporter, status: ServingStatus) {
    for service in SERVICES {
        reporter.set_service_status(service, status).await;
    }
}
