//! Gates: what was moved soaks, and a Job decides, before anything else begins.

use crate::api::MoveState;
use crate::bed::{Bed, Power, require};
use crate::cluster::{NEW, OLD, application, expect_injected, expect_label};
use crate::session::{Session, until};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, ListParams};
use revshift_proto::v1 as proto;

/// One that completes, and one whose pod never gets its image.
const JOBS: &str = "
checks:
- name: suite
  job:
    spec:
      backoffLimit: 0
      template:
        metadata: {labels: {app: suite}}
        spec: &pod
          restartPolicy: Never
          containers: [{name: suite, image: registry.k8s.io/pause:3.10}]
- name: stuck
  job:
    spec:
      activeDeadlineSeconds: 4
      template:
        metadata: {labels: {bed.revshift.dev/fails: image-pull}}
        spec: *pod
";

/// Seconds between the end of one move and the beginning of another.
fn between(end: &proto::Move, begin: &proto::Move) -> Result<i64> {
    let end = end.state_time.context("it has no time")?;
    Ok(begin.start_time.context("it has not begun")?.seconds - end.seconds)
}

/// A soak lasts whoever leads, and it is told what is waited for.
pub(crate) async fn what_was_moved_soaks_before_anything_later_begins(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    for name in ["soaked-a", "soaked-b"] {
        application(bed, name).await?;
    }
    let mut session = Session::start(bed).await?;
    let plan = ["migrate", "--from", OLD, "--to", NEW, "-n", "soaked-a", "--soak", "20s"];
    let plan = session.done(&[&plan[..], &["--dry-run"]].concat()).await?;
    ensure!(plan.contains("after each wave: soak 20s"), "{plan}");
    let id = session.detach(&["soaked-a", "soaked-b"], &["--soak", "20s"]).await?;
    session.until_move(&id, "soaked-a", MoveState::Moved).await?;
    let soaking = until(bed, "it waits for the soak", async || {
        let it = session.migration(&id).await?;
        ensure!(it.waiting_for == ["GATE"], "{it:?}");
        Ok(it)
    })
    .await?;
    ensure!(
        soaking.gating_wave == Some(0) && soaking.message.contains("soaks until"),
        "{soaking:?}"
    );
    expect_label(&client, "soaked-b", OLD).await?;
    session.kill_and_restart().await?;
    session.until_state(&id, "SUCCEEDED").await?;
    let moves = session.moves(&id).await?;
    let soaked = between(&moves[0], &moves[1])?;
    ensure!(soaked >= 19, "soaked-b has begun {soaked} s after soaked-a was moved");
    let over = session.migration(&id).await?;
    let passed = over
        .gate_results
        .iter()
        .filter(|it| it.check.is_empty() && it.outcome() == proto::gate_result::Outcome::Pass);
    ensure!(passed.count() == 2 && over.gating_wave.is_none(), "{over:?}");
    expect_injected(&client, "soaked-b", &[(NEW, 2)]).await?;
    session.end_with(&["soaked-a", "soaked-b"]).await
}

/// A Job of the server's configuration runs after each wave, and says whether the next one begins.
pub(crate) async fn a_job_decides_whether_the_next_wave_begins(bed: &dyn Bed) -> Result<()> {
    require(bed, Power::FailingPods)?;
    let client = bed.client();
    for name in ["checked-a", "checked-b", "checked-c"] {
        application(bed, name).await?;
    }
    let session = Session::start_with(bed, JOBS).await?;
    let id = session.detach(&["checked-a", "checked-b"], &["--check", "suite"]).await?;
    session.until_state(&id, "SUCCEEDED").await?;
    let jobs = Api::<Job>::namespaced(client.clone(), "revshift-system");
    let mine = ListParams::default().labels(&format!("revshift.dev/migration={id}"));
    let mine = jobs.list(&mine).await?.items;
    ensure!(mine.len() == 2, "there are {} Jobs", mine.len());
    let told = serde_json::to_string(&mine[0].spec)?;
    for word in ["REVSHIFT_MIGRATION", &id, "REVSHIFT_NAMESPACES", "checked-a"] {
        ensure!(told.contains(word), "the Job is not told {word}: {told}");
    }

    let id = session.detach(&["checked-c"], &["--check", "suite", "--check", "stuck"]).await?;
    let words = ["PAUSED (GATE)", "the check `stuck` has failed after wave 0"];
    session.refused(&["watch", &id], 1, &words).await?;
    let shown = session.done(&["status", &id]).await?;
    for word in ["suite", "PASS", "stuck", "FAIL", "Job/revshift-system/revshift-"] {
        ensure!(shown.contains(word), "no {word:?} in {shown}");
    }
    expect_injected(&client, "checked-c", &[(NEW, 2)]).await?;
    session.done(&["resume", &id, "--accept-gates"]).await?;
    session.until_state(&id, "SUCCEEDED").await?;
    session.end_with(&["checked-a", "checked-b", "checked-c"]).await
}
