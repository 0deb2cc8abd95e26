//! Times that no client can read.

use crate::bed::Bed;
use crate::cluster::{NEW, application, deployment, until_injected};
use crate::session::Session;
use anyhow::{Context, Result};
use http::Request;
use serde_json::json;

/// Whoever may write an object can put a time beyond the year 9999 into it, which the API server keeps: a server
/// that starts then still reads the whole cluster, and moves that namespace like any other.
pub(crate) async fn a_time_that_cannot_be_read_blinds_nobody(bed: &dyn Bed) -> Result<()> {
    application(bed, "aeon").await?;
    let mut late = deployment("aeon", "late", 0);
    // It is told in UTC, a day later.
    late["spec"]["template"]["metadata"]["creationTimestamp"] = json!("9999-12-31T23:59:59-14:00");
    let request = Request::post("/apis/apps/v1/namespaces/aeon/deployments")
        .header("Content-Type", "application/json")
        .body(serde_json::to_vec(&late)?)?;
    bed.client().request_text(request).await.context("cannot create it")?;
    let session = Session::start(bed).await?;
    session.migrate(&["aeon"]).await?;
    until_injected(bed, "aeon", NEW, 2).await?;
    session.done(&["explain", "aeon"]).await?;
    session.done(&["check", "--from", NEW, "--to", "cp-v113x", "-n", "aeon"]).await?;
    session.end_with(&["aeon"]).await
}
