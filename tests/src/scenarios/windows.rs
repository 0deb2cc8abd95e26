//! Maintenance windows: one that is open lets a migration through, one that is closed holds it.

use crate::bed::Bed;
use crate::cluster::{NEW, OLD, application, expect_injected, expect_label};
use crate::session::{Session, until};
use anyhow::{Context, Result, ensure};
use revshift_proto::v1 as proto;

/// Windows are of the cluster's own time, which beds do not share.
pub(crate) async fn a_window_lets_through_or_holds(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    for name in ["windowed-a", "windowed-b"] {
        application(bed, name).await?;
    }
    let session = Session::start(bed).await?;
    let bad = ["--window", "Mon-Fri 22:00-04:00"];
    let migrate = ["migrate", "--from", OLD, "--to", NEW, "-n", "windowed-b"];
    let words = ["spec.windows[0]", "such as `Mon-Fri 22:00-04:00 Europe/Berlin`"];
    session.refused(&[&migrate[..], &bad, &["--yes"]].concat(), 1, &words).await?;

    let open = ["--window", "mon-sun 12:00-24:00 utc", "--window", "daily 00:00-12:00 UTC"];
    let id = session.detach(&["windowed-a"], &open).await?;
    let shown = session.until_state(&id, "SUCCEEDED").await?;
    expect_injected(&client, "windowed-a", &[(NEW, 2)]).await?;
    let windows = "daily 12:00-24:00 UTC; daily 00:00-12:00 UTC";
    ensure!(shown.contains(windows), "{shown}");

    let now = session.migration(&id).await?.create_time.context("it was made at no time")?;
    let (day, closed) = in_three_days(now.seconds);
    let closed = ["--window", &closed];
    let plan = session.done(&[&migrate[..], &closed, &["--dry-run"]].concat()).await?;
    let opens = format!("its window, opens {day} ");
    for word in [closed[1], &format!("would wait for {opens}")] {
        ensure!(plan.contains(word), "no {word:?} in {plan}");
    }
    let id = session.detach(&["windowed-b"], &closed).await?;
    let held = until(bed, "the closed window holds it", async || {
        let held = session.migration(&id).await?;
        ensure!(held.hold.is_some(), "{held:?}");
        Ok(held)
    })
    .await?;
    ensure!(held.state() == proto::migration::State::Running, "{held:?}");
    ensure!(held.waiting_for == ["WINDOW"] && held.message.contains("window"), "{held:?}");
    let shown = session.done(&["status", &id]).await?;
    ensure!(shown.contains("Waits for:") && shown.contains(&opens), "{shown}");
    let counts = held.counts.unwrap_or_default();
    ensure!(counts.pending == 1 && counts.active == 0, "{held:?}");
    expect_label(&client, "windowed-b", OLD).await?;
    session.done(&["cancel", &id, "--yes"]).await?;
    session.until_state(&id, "CANCELLED").await?;
    let over = session.migration(&id).await?;
    ensure!(over.hold.is_none() && over.waiting_for.is_empty(), "{over:?}");
    session.end_with(&["windowed-a", "windowed-b"]).await
}

/// The day of the week in three days, and a window on it.
fn in_three_days(now: i64) -> (&'static str, String) {
    // The first day of 1970 was a Thursday.
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let day = usize::try_from(now / 86_400 + 3).map_or("Thu", |day| DAYS[day % DAYS.len()]);
    (day, format!("{day} 09:00-10:00 UTC"))
}
