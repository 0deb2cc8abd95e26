//! What the listing commands print, in every format.

use revshift::ExitStatus::{Done, Usage};
use revshift_proto::v1::{self as proto, control_plane::Source, migration, r#move, namespace};

use crate::{
    fake::Fake,
    objects::{NEW, OLD, a_move, failed, job, migration, paused},
    terminal::{Run, ago, revshift},
};

fn plane(name: &str, version: &str, ips: [&str; 2], age: i64) -> proto::ControlPlane {
    proto::ControlPlane {
        revision: format!("{name}.istio-system"),
        source: Source::Calisti.into(),
        name: name.into(),
        namespace: "istio-system".into(),
        version: version.into(),
        mode: "ACTIVE".into(),
        network: "network1".into(),
        status: "Available".into(),
        available: true,
        mesh_expansion: Some(true),
        expansion_gateway_ips: ips.map(String::from).into(),
        create_time: Some(ago(age)),
        namespaces: 3,
        pods: 24,
        connected_proxies: Some(24),
        ..Default::default()
    }
}

/// Two pages.
fn planes() -> Fake {
    let old = plane("cp-v113x", "1.13.5", ["3.122.28.53", "3.122.43.249"], 87 * 60);
    let new = plane("cp-v115x", "1.15.3", ["3.122.31.252", "18.195.79.209"], 74 * 3600);
    let upstream = proto::ControlPlane {
        revision: "1-31".into(),
        source: Source::Istio.into(),
        name: "istiod-1-31".into(),
        namespace: "istio-system".into(),
        status: "Degraded".into(),
        error: "no replica\nis ready".into(),
        tags: vec!["prod".into(), "canary".into()],
        connected_unknown: "http://a:15014\nis silent".into(),
        default_by: proto::DefaultBy::Validator.into(),
        ..Default::default()
    };
    Fake::default()
        .answer(proto::ListControlPlanesResponse {
            control_planes: vec![old, new],
            next_page_token: "two".into(),
        })
        .answer(proto::ListControlPlanesResponse {
            control_planes: vec![upstream],
            next_page_token: String::new(),
        })
}

#[tokio::test(start_paused = true)]
async fn planes_are_printed_as_kubectl_prints_them_and_go_on_to_the_right() {
    let server = planes();
    let end = revshift("planes").at(&server).run().await;
    let unknown = "who is connected to 1-31 is unknown: http://a:15014 is silent\n";
    end.is(Done).said(unknown).printed(r#"
NAME          MODE     NETWORK    STATUS      MESH EXPANSION   EXPANSION GW IPS                   ERROR                 AGE         REVISION                VERSION   NAMESPACES   PODS   CONNECTED   TAGS          DEFAULT
cp-v113x      ACTIVE   network1   Available   true             ["3.122.28.53","3.122.43.249"]                           87m         cp-v113x.istio-system   1.13.5    3            24     24
cp-v115x      ACTIVE   network1   Available   true             ["3.122.31.252","18.195.79.209"]                         3d2h        cp-v115x.istio-system   1.15.3    3            24     24
istiod-1-31                       Degraded                                                        no replica is ready   <unknown>   1-31                              0            0      ?           prod,canary   VALIDATOR
"#);
    let tokens: Vec<_> = server
        .requests::<proto::ListControlPlanesRequest>()
        .into_iter()
        .map(|request| request.page_token)
        .collect();
    assert_eq!(tokens, ["", "two"]);
}

#[tokio::test(start_paused = true)]
async fn wide_planes_have_source_and_namespace() {
    let end = revshift("planes -o wide --no-headers").at(&planes()).run().await;
    let last = end.is(Done).out.lines().last().unwrap();
    assert_eq!(end.out.lines().count(), 3);
    assert!(last.ends_with("   prod,canary   VALIDATOR   ISTIO     istio-system"), "{last}");
}

#[tokio::test(start_paused = true)]
async fn names_are_what_other_commands_take() {
    let end = revshift("planes -o name").at(&planes()).run().await;
    end.is(Done).printed("cp-v113x.istio-system\ncp-v115x.istio-system\n1-31\n");
}

#[tokio::test(start_paused = true)]
async fn json_is_the_apis_own() {
    let end = revshift("planes -o json").at(&planes()).run().await;
    let text = &end.is(Done).out;
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(value["items"][0]["expansionGatewayIps"][1], "3.122.43.249");
    assert_eq!(value["items"][0]["source"], "SOURCE_CALISTI");
    assert_eq!(value["items"][0]["createTime"], "2023-03-01T10:33:00+00:00");
    assert_eq!(value["items"].as_array().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn states_are_coloured_only_where_that_was_asked_for() {
    let plain = revshift("planes").at(&planes()).run().await;
    assert!(!plain.out.contains('\x1b'));
    let forced = revshift("planes --color always").at(&planes()).run().await;
    assert!(forced.out.contains("\x1b[32mAvailable\x1b[0m   true"));
    let refused = |run: Run| async move { run.at(&planes()).typing("").run().await };
    let end = refused(revshift("planes").settings(|settings| settings.no_color = true)).await;
    assert!(!end.out.contains('\x1b'));
    let end = refused(revshift("planes")).await;
    assert!(end.out.contains('\x1b'));
}

#[tokio::test(start_paused = true)]
async fn namespaces_show_labels_and_pods_apart() {
    let namespace = |name: &str, pods: &[(&str, u32)], state: namespace::State| proto::Namespace {
        name: name.into(),
        label: format!("istio.io/rev={OLD}"),
        resolved_plane: OLD.into(),
        injected: pods
            .iter()
            .map(|(revision, pods)| proto::InjectedPods {
                revision: (*revision).into(),
                pods: *pods,
            })
            .collect(),
        state: state.into(),
        terminating: false,
        migration: String::new(),
        tag: String::new(),
    };
    let namespaces = vec![
        namespace("bookinfo", &[(OLD, 6), ("", 1)], namespace::State::Mixed),
        proto::Namespace {
            migration: "m-7".into(),
            label: "istio.io/rev=prod".into(),
            tag: "prod".into(),
            ..namespace("smm-demo", &[], namespace::State::Attached)
        },
    ];
    let page = proto::ListNamespacesResponse { namespaces, next_page_token: String::new() };
    let server = Fake::default().answer(page);
    let end = revshift("namespaces --plane cp-v113x").at(&server).run().await;
    end.is(Done).printed(
        "
        NAME       LABEL                                TAG    PLANE                   INJECTED                      STATE      MIGRATION
        bookinfo   istio.io/rev=cp-v113x.istio-system          cp-v113x.istio-system   cp-v113x.istio-system:6,-:1   MIXED
        smm-demo   istio.io/rev=prod                    prod   cp-v113x.istio-system                                 ATTACHED   m-7
        ",
    );
    assert_eq!(server.requests::<proto::ListNamespacesRequest>()[0].revision, "cp-v113x");
}

#[tokio::test(start_paused = true)]
async fn an_explanation_tells_reasons_and_what_would_happen() {
    let why = |reason: proto::explained::Reason, message: &str| proto::Explained {
        reason: reason.into(),
        message: message.into(),
        ..Default::default()
    };
    let webhook = |revision: &str, now: bool| proto::ExplainedWebhook {
        configuration: format!("istio-sidecar-injector-{revision}"),
        name: "rev.namespace".into(),
        revision: revision.into(),
        tag: String::new(),
        namespace_now: now,
        namespace_after: !now,
        object: true,
    };
    let workload = proto::ExplainedWorkload {
        kind: "Deployment".into(),
        name: "web".into(),
        wanted_plane: "1-30".into(),
        wanted: "injected by `1-30`".into(),
        injected: vec![proto::InjectedPods { revision: "1-29".into(), pods: 1 }],
        pods_astray: 1,
        why: Some(why(proto::explained::Reason::NotRestarted, "it was not restarted")),
        after: Some(proto::ExplainedAfter {
            wanted_plane: "1-31".into(),
            wanted: "injected by `1-31`".into(),
            action: proto::plan_workload::Action::Roll.into(),
            webhooks: vec![webhook("1-30", true), webhook("1-31", false)],
            ..Default::default()
        }),
    };
    let pod = proto::ExplainedPod {
        name: "web-1".into(),
        controller: "Deployment/web".into(),
        wanted_plane: "1-30".into(),
        injected_plane: "1-29".into(),
        connection_unknown: "nobody answers".into(),
        astray: true,
        why: Some(why(proto::explained::Reason::NotRestarted, "it was not restarted")),
        ..Default::default()
    };
    let silent = proto::ExplainedPod {
        name: "web-2".into(),
        connection_unknown: String::new(),
        ..pod.clone()
    };
    let answer = proto::ExplainNamespaceResponse {
        namespace: Some(proto::Namespace {
            name: "shop".into(),
            label: "istio.io/rev=prod".into(),
            tag: "prod".into(),
            resolved_plane: "1-30".into(),
            state: namespace::State::PendingRestart.into(),
            ..Default::default()
        }),
        workloads: vec![workload],
        workloads_total: 1,
        pods: vec![pod, silent],
        pods_total: 2,
        pods_astray: 2,
        target: Some(proto::ExplainTarget {
            revision: "1-31".into(),
            tag: String::new(),
            labels_after: [("istio.io/rev".to_owned(), "1-31".to_owned())].into(),
        }),
    };
    let server = Fake::default().answer(answer.clone()).answer(answer);
    let end = revshift("explain shop --to 1-31").at(&server).run().await;
    end.is(Done).said("").printed(
        "
        Namespace:       shop
        Label:           istio.io/rev=prod
        Plane:           1-30 (tag prod)
        State:           PENDING_RESTART
        Pods:            2, 2 not where they should be

        KIND         NAME   WANTED   INJECTED   ASTRAY   REASON          WHY
        Deployment   web    1-30     1-29:1     1        NOT_RESTARTED   it was not restarted

        POD     CONTROLLER       WANTED   INJECTED   CONNECTED   REASON          WHY
        web-1   Deployment/web   1-30     1-29       unknown     NOT_RESTARTED   it was not restarted
        web-2   Deployment/web   1-30     1-29       none        NOT_RESTARTED   it was not restarted
        who is connected is not known: nobody answers

        to 1-31: label istio.io/rev=prod becomes istio.io/rev=1-31

        KIND         NAME   NOW                  AFTER                ACTION   WHY
        Deployment   web    injected by `1-30`   injected by `1-31`   ROLL

        webhooks for pods of Deployment/web
        CONFIGURATION                 WEBHOOK         REVISION   TAG   NAMESPACE NOW   NAMESPACE AFTER   POD   CALLED NOW   CALLED AFTER
        istio-sidecar-injector-1-30   rev.namespace   1-30             yes             no                yes   yes          no
        istio-sidecar-injector-1-31   rev.namespace   1-31             no              yes               yes   no           yes
        ",
    );
    assert_eq!(server.requests::<proto::ExplainNamespaceRequest>()[0].target, "1-31");
    let end = revshift("explain shop -o name").at(&server).run().await;
    end.is(Done).printed("web-1\nweb-2\n");
}

#[tokio::test(start_paused = true)]
async fn an_empty_list_is_said_on_stderr_and_is_an_empty_object() {
    let empty = || Fake::default().answer(proto::ListMigrationsResponse::default());
    let end = revshift("migrations").at(&empty()).run().await;
    end.is(Done).printed("").said("no migrations found\n");
    let end = revshift("migrations -o json").at(&empty()).run().await;
    end.is(Done).printed("{\n  \"items\": []\n}\n").said("");
}

#[tokio::test(start_paused = true)]
async fn migrations_count_what_moved_and_what_did_not() {
    let rollback = proto::Migration {
        id: "m-8".into(),
        source: NEW.into(),
        target: OLD.into(),
        reason: "error rate rose".into(),
        create_time: Some(ago(20)),
        ..migration(migration::State::Running)
    };
    let migrations = vec![rollback, paused()];
    let page = proto::ListMigrationsResponse { migrations, next_page_token: String::new() };
    let end = revshift("migrations").at(&Fake::default().answer(page)).run().await;
    end.is(Done).printed(
        "
        ID    FROM                    TO                      STATE     MOVED   FAILED   TOTAL   AGE   REASON
        m-8   cp-v115x.istio-system   cp-v113x.istio-system   RUNNING   0       0        2       20s   error rate rose
        m-7   cp-v113x.istio-system   cp-v115x.istio-system   PAUSED    1       1        2       5m
        ",
    );
}

fn status() -> Fake {
    let moved =
        proto::Move { leftovers: vec![job()], ..a_move("smm-demo", 0, r#move::State::Moved) };
    Fake::default()
        .answer(proto::GetMigrationResponse { migration: Some(told()) })
        .answer(proto::ListMovesResponse { moves: vec![moved], next_page_token: "n".into() })
        .answer(proto::ListMovesResponse {
            moves: vec![failed("bookinfo", 1)],
            next_page_token: String::new(),
        })
}

fn told() -> proto::Migration {
    let approve = proto::Command {
        verb: proto::command::Verb::Approve.into(),
        requester: "alice".into(),
        time: Some(ago(200)),
        wave: Some(1),
        ..Default::default()
    };
    let retry = proto::Command {
        verb: proto::command::Verb::Retry.into(),
        requester: "bob".into(),
        time: Some(ago(100)),
        namespaces: vec!["bookinfo".into()],
        namespaces_total: 2,
        force: true,
        ..Default::default()
    };
    proto::Migration { commands: vec![approve, retry], ..paused() }
}

#[tokio::test(start_paused = true)]
async fn status_shows_problems_with_their_remedies_and_leftovers() {
    let end = revshift("status m-7").at(&status()).run().await;
    end.is(Done).printed(
        "
        ID:              m-7
        From:            cp-v113x.istio-system
        To:              cp-v115x.istio-system
        State:           PAUSED (FAILURE_BUDGET)
        Message:         bookinfo failed
        Namespaces:      1 of 2 moved, 1 failed
        Rollout timeout: 10m
        Requester:       alice
        Created:         2023-03-01T11:55:00Z (5m ago)

        NAMESPACE   WAVE   STATE    ATTEMPT   SINCE   PROBLEM
        smm-demo    0      MOVED    1         2m5s
        bookinfo    0      FAILED   1         2m5s    RS3003

        bookinfo FAILED
          code:     RS3003
          object:   Deployment/bookinfo/reviews
          message:  image [31mcannot be pulled
          remedy:   mend the image, then retry

        smm-demo Job/import (1 pod): runs to its end with the old sidecar

        commands
          approve wave 1: alice, 2023-03-01T11:56:40Z (3m20s ago)
          retry bookinfo and 1 more by force: bob, 2023-03-01T11:58:20Z (100s ago)
        ",
    );
    end.said(
        "
        next: mend it and try again: revshift retry m-7 -n bookinfo
        next: leave it at that: revshift cancel m-7
        ",
    );
}

#[tokio::test(start_paused = true)]
async fn a_report_accounts_for_namespaces_workloads_and_commands() {
    let labels = |revision: &str| [("istio.io/rev".to_owned(), revision.to_owned())].into();
    let moved = proto::Move {
        start_time: Some(ago(200)),
        labels_before: labels(OLD),
        labels_after: labels(NEW),
        restarts: vec![proto::Restart {
            kind: "Deployment".into(),
            name: "web".into(),
            attempt: 1,
            method: proto::restart::Method::Roll.into(),
        }],
        ..a_move("smm-demo", 0, r#move::State::Moved)
    };
    let waiting = proto::Move {
        start_time: Some(ago(90)),
        ..a_move("kept", 1, r#move::State::AwaitingLabel)
    };
    let rollback = proto::Migration { id: "m-8".into(), rollback_of: "m-7".into(), ..paused() };
    let page = |moves| proto::ListMovesResponse { moves, next_page_token: String::new() };
    let fake = Fake::default()
        .answer(proto::GetMigrationResponse { migration: Some(told()) })
        .answer(page(vec![moved, waiting]))
        .answer(proto::ListMigrationsResponse {
            migrations: vec![rollback, told()],
            next_page_token: String::new(),
        })
        .answer(page(vec![a_move("smm-demo", 0, r#move::State::Pending)]));
    let end = revshift("report m-7").at(&fake).run().await;
    let out = &end.is(Done).said("").out;
    let rows: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    let times = ["2023-03-01T11:56:40Z", "2023-03-01T11:57:55Z", "1m15s"];
    let row = [&["smm-demo", OLD, NEW, "MOVED", "1"][..], &times, &["m-8"]].concat();
    assert!(rows.contains(&row), "{out}");
    assert!(rows.contains(&vec!["Deployment/web", "1", "ROLL"]), "{out}");
    let open =
        vec!["kept", "(not", "set)", "(not", "set)", "AWAITING_LABEL", "1", "2023-03-01T11:58:30Z"];
    assert!(rows.contains(&open), "{out}");
    assert!(out.contains("commands\n  approve wave 1: alice, "), "{out}");
}

#[tokio::test(start_paused = true)]
async fn status_as_yaml_holds_migration_and_moves() {
    let end = revshift("status m-7 -o yaml").at(&status()).run().await;
    assert!(end.is(Done).said("").out.starts_with("migration:\n  id: m-7\n"), "{}", end.out);
    assert!(end.out.contains("moves:\n- namespace: smm-demo\n"), "{}", end.out);
}

#[tokio::test(start_paused = true)]
async fn versions_of_client_and_server() {
    let answer = proto::GetServerResponse {
        version: "0.1.0".into(),
        identity: "pod-a".into(),
        leader: "pod-b".into(),
        ready: true,
        budgets: None,
        slowed: String::new(),
        freezes: vec![],
        istiods: Vec::new(),
        checks: vec!["smoke".into(), "errors".into()],
    };
    let slowed = proto::GetServerResponse { slowed: "2.0 calls".into(), ..answer.clone() };
    let end = revshift("version").at(&Fake::default().answer(slowed)).run().await;
    let told = "client 0.1.0\nserver 0.1.0 (pod-a, ready, led by pod-b)\nslowed down to 2.0 calls\n\
         checks: smoke, errors\n";
    end.is(Done).printed(told);
    let end = revshift("version").at(&Fake::default().answer(answer)).run().await;
    let told = "client 0.1.0\nserver 0.1.0 (pod-a, ready, led by pod-b)\nchecks: smoke, errors\n";
    end.is(Done).printed(told);
}

#[tokio::test(start_paused = true)]
async fn help_version_and_completions_need_no_server() {
    let end = revshift("--help").run().await;
    assert!(end.is(Done).out.contains("Exit status:"));
    revshift("--version").run().await.is(Done).printed("revshift 0.1.0\n");
    let end = revshift("completions bash --server https://x").run().await;
    assert!(end.is(Done).out.contains("_revshift()"));
    revshift("migrate --from a").run().await.is(Usage).printed("").mentions("--to <REV>");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_has_seen_enough_is_no_failure() {
    revshift("planes").at(&planes()).closed().run().await.is(Done).said("");
    revshift("completions zsh").closed().run().await.is(Done).said("");
}
