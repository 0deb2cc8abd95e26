//! Verification by live connections, and how what replicas say is joined.

use super::story::{Story, new};
use super::world::{NEW, rev};
use revshift_core::connection::{Connections, Heard, Proxy, Stand};
use revshift_core::migration::{MoveState, Verification};
use revshift_core::problem::Code;
use revshift_core::step::{ASK_AGAIN, Call, Next};
use std::time::Duration;

fn proxy(pod: &str, stand: Stand) -> Proxy {
    Proxy { namespace: "shop".to_owned(), pod: pod.to_owned(), stand }
}

fn told(proxies: &[(&str, Stand)]) -> Connections {
    Connections::join([proxies.iter().map(|(pod, stand)| proxy(pod, stand.clone())).collect()], [])
}

fn rejected(error: &str) -> Stand {
    Stand::Rejected("listeners".to_owned(), error.to_owned())
}

/// Rolled out and looked at; both pods are ready and on the target.
fn rolled_out() -> Story {
    let mut story = Story::relabelled(MoveState::Verifying);
    story.migration.spec.verification = Verification::Connected;
    story.roll(&new());
    story.look(true);
    story
}

/// The answer to a question that is asked now.
fn hear(story: &mut Story, target: Connections, source: Option<Connections>) {
    story.scratch.heard = Some(Heard { at: story.elapsed, target, source });
}

fn both() -> Connections {
    told(&[("web-bbb-0", Stand::Synced), ("web-bbb-1", Stand::Synced)])
}

/// Lets time pass with this answer until the move is over; its problem.
fn outcome(target: &Connections, source: &Connections) -> (MoveState, Code, String, String) {
    let mut story = rolled_out();
    for _ in 0..1000 {
        match story.next() {
            Next::Ask { source: asked, .. } => {
                hear(&mut story, target.clone(), asked.map(|_| source.clone()));
            }
            Next::Calls(calls) => {
                assert!(matches!(calls.as_slice(), [Call::Inspect { .. }]), "{calls:?}");
                story.look(true);
            }
            Next::Wait(until) => story.elapsed = until.unwrap(),
            Next::Commit(m) => {
                let problem = m.problem().unwrap().clone();
                assert_eq!(story.elapsed, Duration::from_mins(10));
                return (m.state, problem.code, problem.object, problem.message);
            }
        }
    }
    panic!("it never ends");
}

#[test]
fn nobody_is_asked_unless_connections_are_wanted() {
    let mut story = rolled_out();
    story.migration.spec.verification = Verification::Injected;
    assert_eq!(story.commits(), MoveState::Moved(Vec::new()));
}

#[test]
fn a_namespace_counts_as_moved_once_every_pod_is_connected() {
    let mut story = rolled_out();
    let ask = Next::Ask { target: rev(NEW), source: None };
    assert_eq!(story.next(), ask);
    hear(&mut story, told(&[("web-bbb-0", Stand::Synced)]), None);
    assert_eq!(story.next(), Next::Wait(Some(ASK_AGAIN)));
    // Both pods and connections are looked at anew.
    story.elapsed = ASK_AGAIN;
    assert_eq!(story.calls(), [Call::Inspect { namespace: "shop".to_owned() }]);
    story.look(true);
    assert_eq!(story.next(), ask, "what was heard before the look tells nothing of it");
    hear(&mut story, both(), None);
    assert_eq!(story.commits(), MoveState::Moved(Vec::new()));
}

#[test]
fn an_answer_from_before_the_look_does_not_count() {
    let mut story = rolled_out();
    hear(&mut story, both(), None);
    story.elapsed = Duration::from_secs(1);
    story.look(true);
    assert!(matches!(story.next(), Next::Ask { .. }));
}

#[test]
fn a_replica_that_cannot_be_asked_does_not_matter_where_all_are_found() {
    let mut story = rolled_out();
    let mut some = both();
    some.missing.push("http://b answers 500".to_owned());
    hear(&mut story, some, None);
    assert_eq!(story.commits(), MoveState::Moved(Vec::new()));
}

#[test]
fn what_has_no_sidecar_needs_no_connection() {
    let mut story = rolled_out();
    story.look(false);
    assert!(!matches!(story.next(), Next::Ask { .. }), "pods that are not ready are not asked for");
}

#[test]
fn what_is_not_connected_in_time_is_named_with_the_reason() {
    let one = ("web-bbb-0", Stand::Synced);
    let incomplete = |mut told: Connections| {
        told.missing.push("http://b answers 503".to_owned());
        told
    };
    let pod = "Pod/shop/web-bbb-1";
    let nobody = Connections::default;
    for (target, source, code, object, message) in [
        (
            told(std::slice::from_ref(&one)),
            nobody(),
            Code::ProxyNotConnected,
            pod,
            "1 of 2 pods (web-bbb-1) are not connected to `cp-v115x.istio-system`",
        ),
        (
            nobody(),
            incomplete(nobody()),
            Code::ProxyNotConnected,
            "Pod/shop/web-bbb-0",
            "2 of 2 pods (web-bbb-0, web-bbb-1) are not connected to `cp-v115x.istio-system`; \
             `cp-v113x.istio-system` cannot be asked: http://b answers 503",
        ),
        (
            told(std::slice::from_ref(&one)),
            told(&[("web-bbb-1", Stand::Synced)]),
            Code::ProxyOnSource,
            pod,
            "1 of 2 pods (web-bbb-1) are connected to `cp-v113x.istio-system` still",
        ),
        (
            told(&[one.clone(), ("web-bbb-1", rejected("unknown filter"))]),
            nobody(),
            Code::ConfigurationRejected,
            pod,
            "1 of 2 pods (web-bbb-1) reject what `cp-v115x.istio-system` has for them: listeners: \
             unknown filter",
        ),
        (
            told(&[("web-bbb-1", rejected(""))]),
            nobody(),
            Code::ConfigurationRejected,
            pod,
            "1 of 2 pods (web-bbb-1) reject what `cp-v115x.istio-system` has for them: listeners; its \
             istiod does not tell why",
        ),
        (
            told(&[one.clone(), ("web-bbb-1", Stand::Stale(vec!["routes".to_owned()]))]),
            nobody(),
            Code::ConfigurationPending,
            pod,
            "1 of 2 pods (web-bbb-1) have not acknowledged what `cp-v115x.istio-system` has for them: \
             routes",
        ),
        (
            told(&[one.clone(), ("web-bbb-1", Stand::NotSent)]),
            nobody(),
            Code::ConfigurationPending,
            pod,
            "1 of 2 pods (web-bbb-1) have not acknowledged what `cp-v115x.istio-system` has for them; \
             nothing was sent yet",
        ),
    ] {
        let (state, found, where_, said) = outcome(&target, &source);
        assert!(matches!(state, MoveState::Failed(_)), "{state:?}");
        assert_eq!((found, where_.as_str(), said.as_str()), (code, object, message));
    }
    // Nothing is concluded of what an istiod that was not asked may know.
    let (state, code, object, message) = outcome(&incomplete(told(&[one])), &nobody());
    assert!(matches!(state, MoveState::Blocked(_)), "{state:?}");
    assert_eq!(
        (code, object.as_str()),
        (Code::IstiodUnreachable, "ControlPlane/cp-v115x.istio-system")
    );
    let expected = "whether 1 of 2 pods (web-bbb-1) are connected to `cp-v115x.istio-system` cannot be \
                    told: http://b answers 503";
    assert_eq!(message, expected);
}

#[test]
fn a_proxy_that_changes_its_replica_counts_once_by_its_new_connection() {
    let old =
        vec![proxy("a", Stand::Stale(vec!["clusters".to_owned()])), proxy("b", rejected("x"))];
    let new = vec![proxy("a", Stand::Synced), proxy("c", Stand::NotSent)];
    let joined = Connections::join([old.clone(), new.clone()], []);
    assert_eq!(joined, Connections::join([new, old], []));
    let stands: Vec<_> = joined.proxies.iter().map(|it| (it.pod.as_str(), &it.stand)).collect();
    assert_eq!(stands, [("a", &Stand::Synced), ("b", &rejected("x")), ("c", &Stand::NotSent)]);
    assert_eq!(joined.incomplete(), None);
    assert_eq!(joined.proxy("shop", "b"), Some(&joined.proxies[1]));
    assert_eq!(joined.proxy("shop", "d"), None);
    assert_eq!(joined.proxy("store", "a"), None);
}

#[test]
fn of_one_namespace_only_its_pods_are_told_and_all_that_is_missing() {
    let elsewhere = Proxy { namespace: "store".to_owned(), ..proxy("a", Stand::Synced) };
    let missing = ["http://b: no answer".to_owned(), "http://c: no answer".to_owned()];
    let joined = Connections::join([vec![elsewhere, proxy("a", Stand::NotSent)]], missing);
    let within = joined.within("shop");
    assert_eq!(within.proxies, [proxy("a", Stand::NotSent)]);
    assert_eq!(within.incomplete().unwrap(), "http://b: no answer; http://c: no answer");
}
