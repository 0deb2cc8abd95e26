//! Following: progress, pauses, broken streams, lost servers, interrupts, exit statuses.

use std::time::Duration;

use revshift::ExitStatus::{Done, Failed, Interrupted, Unreachable};
use revshift_proto::v1::{self as proto, migration, r#move};
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::{
    errors::refusal,
    fake::{Fake, Step},
    objects::{a_move, failed, job, live, migration, paused, progress, succeeded},
    terminal::revshift,
};

type Steps = Vec<Step<proto::WatchMigrationResponse>>;

fn running() -> proto::Migration {
    migration(migration::State::Running)
}

fn whole_run() -> Steps {
    let moving = |state| vec![a_move("smm-demo", 0, state)];
    let moved =
        proto::Move { leftovers: vec![job()], ..a_move("smm-demo", 0, r#move::State::Moved) };
    let waiting =
        proto::MoveProgress { waiting_for: "StatefulSet/db".into(), ..live("smm-demo", 4, 7) };
    let pending = proto::Move { attempt: 0, ..a_move("bookinfo", 1, r#move::State::Pending) };
    [
        progress("1", Some(running()), vec![pending], vec![]),
        progress("2", None, moving(r#move::State::Relabeling), vec![]),
        progress("3", None, moving(r#move::State::Restarting), vec![live("smm-demo", 2, 3)]),
        // Nothing that is shown changed.
        progress("3", Some(running()), vec![], vec![live("smm-demo", 2, 3)]),
        progress("3", None, vec![], vec![waiting]),
        progress("4", None, vec![moved], vec![]),
        progress(
            "5",
            Some(succeeded()),
            vec![a_move("bookinfo", 1, r#move::State::Skipped)],
            vec![],
        ),
    ]
    .map(Step::Send)
    .into()
}

#[tokio::test(start_paused = true)]
async fn off_a_terminal_each_change_is_one_line() {
    let server = Fake::default().stream(whole_run());
    let end = revshift("watch m-7").at(&server).run().await;
    end.is(Done).printed("").said(
        "
        migration m-7: RUNNING
        smm-demo: relabeling
        smm-demo: restarting (2/5 workloads, 3/8 pods on cp-v115x.istio-system)
        smm-demo: restarting (4/5 workloads, 7/8 pods on cp-v115x.istio-system), waiting for StatefulSet/db
        smm-demo: moved, but left Job/import (1 pod): runs to its end with the old sidecar
        migration m-7: SUCCEEDED
        bookinfo: skipped
        done: 2 of 2 moved to cp-v115x.istio-system
        next: look at them: revshift namespaces --plane cp-v115x.istio-system
        ",
    );
}

#[tokio::test(start_paused = true)]
async fn on_a_terminal_there_are_bars_and_what_ended_stays() {
    let server = Fake::default().stream(whole_run());
    let end = revshift("watch m-7").typing("").at(&server).run().await;
    end.is(Done).mentions("/8 pods, restarting").mentions("namespaces, RUNNING");
    end.mentions("smm-demo: moved, but left Job/import").mentions("2 of 2 moved");
}

#[tokio::test(start_paused = true)]
async fn a_dumb_terminal_gets_lines() {
    let server = Fake::default().stream(whole_run());
    let run = revshift("watch m-7").typing("").settings(|settings| settings.dumb = true);
    let end = run.at(&server).run().await;
    end.is(Done).mentions("smm-demo: relabeling\nsmm-demo: restarting (2/5");
    assert!(!end.err.contains('\x1b'));
}

#[tokio::test(start_paused = true)]
async fn json_has_one_message_a_line_and_nothing_else() {
    let server = Fake::default().stream(whole_run());
    let end = revshift("watch m-7 -o json").typing("").at(&server).run().await;
    let lines: Vec<serde_json::Value> =
        end.is(Done).out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 7);
    assert_eq!(lines[2]["progress"][0]["podsOnTarget"], 3);
    assert_eq!(lines[6]["resumeToken"], "5");
    assert!(!end.err.contains("relabeling"));
}

#[tokio::test(start_paused = true)]
async fn a_broken_stream_resumes_at_the_next_server_where_it_was() {
    let mut steps = whole_run();
    let rest = steps.split_off(3);
    steps.extend([Step::Wait(Duration::from_secs(1)), Step::Drop]);
    let first = Fake::default().stream(steps);
    let second = Fake::default().stream(rest);
    let run = revshift("watch m-7 --server a:1,b:2").with("a:1", &first).with("b:2", &second);
    let end = run.run().await;
    end.is(Done).mentions("lost a:1; migration m-7 goes on, looking for a server\n");
    assert_eq!(end.err.matches("restarting (2/5").count(), 1, "{}", end.err);
    assert_eq!(first.requests::<proto::WatchMigrationRequest>()[0].resume_token, "");
    let request = second.requests::<proto::WatchMigrationRequest>().remove(0);
    assert_eq!((request.id.as_str(), request.resume_token.as_str()), ("m-7", "3"));
}

#[tokio::test(start_paused = true)]
async fn a_draining_server_hands_over_and_a_refused_token_starts_anew() {
    let draining = refusal(Code::Unavailable, "DRAINING", "shutting down", &[]);
    let unknown = refusal(Code::InvalidArgument, "RESUME_TOKEN_INVALID", "what token", &[]);
    let server = Fake::default()
        .stream(vec![
            Step::Send(progress("1", Some(running()), vec![], vec![])),
            Step::Fail(draining),
        ])
        .refuse_stream::<proto::WatchMigrationResponse>(unknown)
        .stream(whole_run());
    revshift("watch m-7").at(&server).run().await.is(Done);
    let tokens: Vec<_> = server
        .requests::<proto::WatchMigrationRequest>()
        .into_iter()
        .map(|request| request.resume_token)
        .collect();
    assert_eq!(tokens, ["", "1", ""]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_before_the_migration_is_resumed() {
    let server = Fake::default()
        .stream(vec![Step::Send(progress("1", Some(running()), vec![], vec![]))])
        .stream(whole_run());
    revshift("watch m-7").at(&server).run().await.is(Done);
}

#[tokio::test(start_paused = true)]
async fn servers_are_looked_for_half_a_minute() {
    let server = Fake::default().stream(vec![
        Step::Send(progress("1", Some(running()), vec![], vec![])),
        Step::Wait(Duration::from_hours(1)),
        Step::Fail(Status::unavailable("gone")),
    ]);
    let other = server.clone();
    let started = Instant::now();
    let watching = tokio::spawn(revshift("watch m-7").at(&server).run());
    tokio::time::sleep(Duration::from_mins(10)).await;
    other.shut();
    let end = watching.await.unwrap();
    end.is(Unreachable).mentions("error: no server answered\n  127.0.0.1:7878: ");
    let seconds = started.elapsed().as_secs();
    assert!((630..640).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_never_there_is_not_waited_for() {
    let started = Instant::now();
    revshift("watch m-7").run().await.is(Unreachable).mentions("connection refused");
    assert_eq!(started.elapsed().as_secs(), 0);
}

#[tokio::test(start_paused = true)]
async fn off_a_terminal_a_pause_ends_following_with_the_next_command() {
    let moves = vec![a_move("smm-demo", 0, r#move::State::Moved), failed("bookinfo", 1)];
    let open = Step::Wait(Duration::from_hours(1));
    let steps = vec![Step::Send(progress("1", Some(paused()), moves, vec![])), open];
    let end = revshift("watch m-7").at(&Fake::default().stream(steps)).run().await;
    end.is(Failed).said(
        "
        migration m-7: PAUSED (FAILURE_BUDGET)
        smm-demo: moved
        bookinfo: failed: RS3003 Deployment/bookinfo/reviews: image [31mcannot be pulled
        error: migration m-7 is PAUSED (FAILURE_BUDGET): 1 of 2 moved, 1 failed to cp-v115x.istio-system
          bookinfo failed
        bookinfo FAILED
          code:     RS3003
          object:   Deployment/bookinfo/reviews
          message:  image [31mcannot be pulled
          remedy:   mend the image, then retry
        next: mend it and try again: revshift retry m-7 -n bookinfo
        next: leave it at that: revshift cancel m-7
        ",
    );
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_has_not_heard_of_a_resume_does_not_end_following() {
    let mut steps = vec![
        Step::Send(progress("1", Some(paused()), vec![], vec![])),
        Step::Wait(Duration::from_secs(1)),
        Step::Send(progress("1", Some(running()), vec![], vec![])),
        Step::Wait(Duration::from_hours(1)),
    ];
    steps.extend(whole_run());
    revshift("watch m-7").at(&Fake::default().stream(steps)).run().await.is(Done);
}

#[tokio::test(start_paused = true)]
async fn on_a_terminal_a_pause_is_waited_out() {
    let counts = proto::MoveCounts { pending: 1, failed: 1, ..Default::default() };
    let more = proto::Migration { counts: Some(counts), ..paused() };
    let steps = vec![
        Step::Send(progress("1", Some(more), vec![failed("bookinfo", 1)], vec![])),
        Step::Wait(Duration::from_hours(1)),
        Step::Send(progress("2", Some(succeeded()), vec![], vec![])),
    ];
    let end = revshift("watch m-7").typing("").at(&Fake::default().stream(steps)).run().await;
    end.is(Done).mentions("next: mend it and try again: revshift retry m-7 -n bookinfo");
    end.mentions("next: go on without: revshift resume m-7");
}

#[tokio::test(start_paused = true)]
async fn other_ends_are_failures() {
    for state in [migration::State::Cancelled, migration::State::CompletedWithExceptions] {
        let last = progress("1", Some(migration(state)), vec![], vec![]);
        let server = Fake::default().stream(vec![Step::Send(last)]);
        let end = revshift("watch m-7").at(&server).run().await;
        end.is(Failed).mentions(": revshift status m-7\n");
    }
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_detaches_and_says_how_to_return() {
    let steps = vec![
        Step::Send(progress("1", Some(running()), vec![], vec![])),
        Step::Wait(Duration::from_hours(1)),
    ];
    let run = revshift("watch m-7").at(&Fake::default().stream(steps));
    let end = run.interrupted_after(Duration::from_secs(5)).run().await;
    end.is(Interrupted).printed("").said(
        "
        migration m-7: RUNNING
        detached: migration m-7 goes on
        re-attach: revshift watch m-7
        ",
    );
}

#[tokio::test(start_paused = true)]
async fn another_migration_of_that_id_replaces_the_first() {
    let again = proto::WatchMigrationResponse {
        resync: true,
        ..progress("9", Some(succeeded()), vec![a_move("new", 0, r#move::State::Moved)], vec![])
    };
    let steps = vec![
        Step::Send(progress("1", Some(paused()), vec![failed("bookinfo", 1)], vec![])),
        Step::Send(again),
    ];
    let end = revshift("watch m-7").typing("").at(&Fake::default().stream(steps)).run().await;
    end.is(Done).mentions("new: moved");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_migration_is_refused() {
    let status = refusal(Code::NotFound, "MIGRATION_NOT_FOUND", "no migration `m-9`", &[]);
    let server = Fake::default().refuse_stream::<proto::WatchMigrationResponse>(status);
    let end = revshift("watch m-9").at(&server).run().await;
    end.is(Failed).mentions("error: no migration `m-9`\n");
}
