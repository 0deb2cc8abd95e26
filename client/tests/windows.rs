//! Windows and freezes: how they are asked for, and how waiting for them reads.

use revshift::ExitStatus::Done;
use revshift_proto::v1::{self as proto, hold::Cause, migration};

use crate::{
    fake::{Fake, Step},
    objects::{migration, plan, progress, succeeded},
    terminal::{ago, revshift},
};

const NIGHT: &str = "Mon-Fri 22:00-04:00 Europe/Berlin";

fn hold(cause: Cause, reason: &str) -> proto::Hold {
    proto::Hold {
        cause: cause.into(),
        reason: reason.into(),
        until: Some(ago(-3 * 3600)),
        local_time: "Wed 2023-03-01 22:00 Europe/Berlin".into(),
    }
}

fn held(hold: proto::Hold) -> proto::Migration {
    let waiting_for = vec![hold.cause().as_str_name().replace("CAUSE_", "")];
    let windows = vec![NIGHT.into()];
    let running = migration(migration::State::Running);
    proto::Migration { waiting_for, windows, hold: Some(hold), ..running }
}

/// A server with a plan that has this window and this hold.
fn planning(hold: Option<proto::Hold>) -> Fake {
    let mut parts = plan("h1", 2);
    if let Some(proto::plan_migration_response::Part::Header(header)) = &mut parts[0].part {
        header.windows = vec![NIGHT.into()];
        header.hold = hold;
    }
    Fake::default().stream(parts.into_iter().map(Step::Send).collect())
}

#[tokio::test(start_paused = true)]
async fn a_plan_shows_its_windows_and_when_the_first_opens() {
    let migrate = "migrate --from a --to b -n smm-demo --dry-run";
    let windows = ["--window", NIGHT, "--window", "daily 01:00-02:00 UTC"];
    let server = planning(Some(hold(Cause::Window, "")));
    let run = windows.iter().fold(revshift(migrate), |run, arg| run.arg(arg));
    let end = run.at(&server).run().await;
    let told = "window: Mon-Fri 22:00-04:00 Europe/Berlin\n\
                would wait for its window, opens Wed 2023-03-01 22:00 Europe/Berlin (in 3h)\n";
    assert!(end.is(Done).out.contains(told), "{}", end.out);
    let request = server.requests::<proto::PlanMigrationRequest>().remove(0);
    assert_eq!(request.spec.unwrap().windows, [NIGHT, "daily 01:00-02:00 UTC"]);

    let server = planning(None);
    let end = revshift(migrate).arg("--window").arg(NIGHT).at(&server).run().await;
    assert!(end.is(Done).out.contains("Berlin\na window is open now\n"), "{}", end.out);
}

#[tokio::test(start_paused = true)]
async fn whoever_follows_hears_once_what_is_waited_for() {
    let window = || held(hold(Cause::Window, ""));
    let steps = [window(), window(), held(hold(Cause::Freeze, "holidays")), succeeded()]
        .map(|migration| Step::Send(progress("1", Some(migration), vec![], vec![])));
    let server = Fake::default().stream(steps.into());
    let end = revshift("watch m-7").at(&server).run().await;
    end.is(Done).mentions(
        "migration m-7: RUNNING, waits for its window, opens Wed 2023-03-01 22:00 Europe/Berlin (in 3h)\n\
         migration m-7: RUNNING, waits for the end of a freeze, Wed 2023-03-01 22:00 Europe/Berlin (in 3h): \
         holidays\nmigration m-7: SUCCEEDED\n",
    );
}

#[tokio::test(start_paused = true)]
async fn status_tells_windows_and_what_is_waited_for() {
    let migration = Some(held(hold(Cause::Freeze, "holidays")));
    let server = Fake::default()
        .answer(proto::GetMigrationResponse { migration })
        .answer(proto::ListMovesResponse::default());
    let end = revshift("status m-7").at(&server).run().await;
    for line in [
        "Waits for:       the end of a freeze, Wed 2023-03-01 22:00 Europe/Berlin (in 3h): holidays\n",
        "Windows:         Mon-Fri 22:00-04:00 Europe/Berlin\n",
    ] {
        assert!(end.is(Done).out.contains(line), "{}", end.out);
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_tells_of_freezes() {
    let (from, to) = (Some(ago(60)), Some(ago(-60)));
    let freezes = vec![proto::Freeze { from, to, reason: "holidays".into() }];
    let answer = proto::GetServerResponse { freezes, ..<_>::default() };
    let end = revshift("version").at(&Fake::default().answer(answer)).run().await;
    let told = "\nfrozen from 2023-03-01T11:59:00Z to 2023-03-01T12:01:00Z: holidays\n";
    assert!(end.is(Done).out.ends_with(told), "{}", end.out);
}
