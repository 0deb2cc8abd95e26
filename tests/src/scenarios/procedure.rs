//! The procedure by which Calisti's users move their applications, step by step.

use crate::bed::Bed;
use crate::cluster::{NEW, OLD, expect_injected, label, mixed_application};
use crate::session::Session;
use anyhow::{Context, Result, ensure};

/// Lists the planes, moves a namespace of all three kinds of workload, checks it, rolls it back
/// deliberately, and moves it again.
pub(crate) async fn a_namespace_moves_is_rolled_back_and_moves_again(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    mixed_application(bed, "moves").await?;
    let session = Session::start(bed).await?;

    let planes = session.done(&["planes"]).await?;
    let mut lines = planes.lines();
    let header: Vec<&str> =
        lines.next().context("no header")?.split("   ").filter(|word| !word.is_empty()).collect();
    let header: Vec<&str> = header.iter().map(|word| word.trim()).collect();
    ensure!(
        header
            == [
                "NAME",
                "MODE",
                "NETWORK",
                "STATUS",
                "MESH EXPANSION",
                "EXPANSION GW IPS",
                "ERROR",
                "AGE",
                "REVISION",
                "VERSION",
                "NAMESPACES",
                "PODS",
                "CONNECTED",
                "TAGS",
                "DEFAULT"
            ],
        "{header:?}"
    );
    ensure!(planes.contains(OLD) && planes.contains(NEW), "{planes}");

    expect_injected(&client, "moves", &[(OLD, 5)]).await?;
    session.migrate(&["moves"]).await?;
    ensure!(label(&client, "moves", "istio.io/rev").await?.as_deref() == Some(NEW));
    expect_injected(&client, "moves", &[(NEW, 5)]).await?;
    let namespaces = session.done(&["namespaces", "--plane", NEW]).await?;
    ensure!(namespaces.contains("moves") && namespaces.contains("ATTACHED"), "{namespaces}");

    let first = session.done(&["migrations", "-o", "name"]).await?;
    let first = first.lines().next().context("no migration")?;
    let first = first.rsplit('/').next().unwrap_or(first);
    session.refused(&["rollback", first, "--reason", "", "--yes"], 1, &["reason"]).await?;
    session.done(&["rollback", first, "--reason", "errors in the log", "--yes"]).await?;
    ensure!(label(&client, "moves", "istio.io/rev").await?.as_deref() == Some(OLD));
    expect_injected(&client, "moves", &[(OLD, 5)]).await?;
    // What was rolled back is not rolled back again.
    session.refused(&["rollback", first, "--reason", "again", "--yes"], 1, &["RS1303"]).await?;

    session.migrate(&["moves"]).await?;
    expect_injected(&client, "moves", &[(NEW, 5)]).await?;
    session.end_with(&["moves"]).await
}
