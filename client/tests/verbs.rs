//! Commands that tell a migration something.

use revshift::ExitStatus::{Done, Failed};
use revshift_proto::v1::{self as proto, migration};

use crate::{
    fake::Fake,
    objects::{a_move, failed, migration, paused},
    terminal::revshift,
};

#[tokio::test(start_paused = true)]
async fn pause_names_what_is_half_moved() {
    let paused = proto::Migration {
        pause_reason: migration::PauseReason::User.into(),
        ..migration(migration::State::Paused)
    };
    let answer = proto::PauseMigrationResponse {
        migration: Some(paused),
        half_moved: vec!["smm-demo".into(), "bookinfo".into()],
    };
    let server = Fake::default().answer(answer.clone()).answer(answer);
    let end = revshift("pause m-7").at(&server).run().await;
    end.is(Done).printed("").said(
        "
        migration m-7 is PAUSED (USER): 0 of 2 moved
        relabelled, not wholly moved: smm-demo, bookinfo
        next: go on: revshift resume m-7
        ",
    );
    let end = revshift("pause m-7 -o json").at(&server).run().await;
    let value: serde_json::Value = serde_json::from_str(&end.is(Done).out).unwrap();
    assert_eq!(value["halfMoved"][1], "bookinfo");
    assert_eq!(value["migration"]["pauseReason"], "PAUSE_REASON_USER");
}

#[tokio::test(start_paused = true)]
async fn resume_suggests_to_follow_at_the_same_servers() {
    let running = Some(migration(migration::State::Running));
    let server = Fake::default().answer(proto::ResumeMigrationResponse { migration: running });
    let end = revshift("resume m-7 --server a:1").with("a:1", &server).run().await;
    end.is(Done).mentions("next: follow it: revshift watch m-7 --server a:1\n");
}

#[tokio::test(start_paused = true)]
async fn cancel_shows_what_it_would_do_and_asks() {
    let counts = proto::MoveCounts { pending: 1, active: 1, ..Default::default() };
    let running = proto::Migration { counts: Some(counts), ..migration(migration::State::Running) };
    let cancelling =
        proto::Migration { counts: Some(counts), ..migration(migration::State::Cancelling) };
    let server = Fake::default()
        .answer(proto::GetMigrationResponse { migration: Some(running.clone()) })
        .answer(proto::GetMigrationResponse { migration: Some(running) })
        .answer(proto::CancelMigrationResponse {
            migration: Some(cancelling),
            finishing: vec!["smm-demo".into()],
        });
    let end = revshift("cancel m-7").typing("no\n").at(&server).run().await;
    end.is(Failed).said(
        "
        migration m-7 is RUNNING: 0 of 2 moved, 1 running
        cancelling it leaves 1 namespace not started, and 1 running to the end
        Cancel migration m-7? [y/N] nothing was changed
        ",
    );
    let end = revshift("cancel m-7 --yes").at(&server).run().await;
    end.is(Done).mentions("running to their end: smm-demo\nnext: follow it: revshift watch m-7\n");
}

#[tokio::test(start_paused = true)]
async fn retry_shows_the_problems_of_the_namespaces_named() {
    let moves = vec![failed("bookinfo", 0), a_move("other", 1, proto::r#move::State::Moved)];
    let server = Fake::default()
        .answer(proto::ListMovesResponse { moves, next_page_token: String::new() })
        .answer(proto::RetryMovesResponse { migration: Some(paused()) });
    let end = revshift("retry m-7 -n bookinfo").typing("y\n").at(&server).run().await;
    end.is(Done).said(
        "
        trying again in migration m-7:
          bookinfo (FAILED, attempt 1)
        bookinfo FAILED
          code:     RS3003
          object:   Deployment/bookinfo/reviews
          message:  image [31mcannot be pulled
          remedy:   mend the image, then retry
        Try 1 namespace again? [y/N] migration m-7 is PAUSED (FAILURE_BUDGET): 1 of 2 moved, 1 failed
        next: follow it: revshift watch m-7
        ",
    );
    let request = server.requests::<proto::RetryMovesRequest>().remove(0);
    assert_eq!((request.migration_id, request.namespaces), ("m-7".into(), vec!["bookinfo".into()]));
}
