//! Checks of the server's configuration on a running server, in virtual time.

use crate::operator::{applications, migrate, refused, run, serving, states, stored};
use crate::simulated::{self, SimulatedBed};
use bytes::Bytes;
use futures::FutureExt as _;
use http::StatusCode;
use jiff::Timestamp;
use revshift_server::config::Config;
use revshift_server::web::{Answer, Web};
use serde_json::json;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::sleep;

/// Somebody who answers HTTP requests on the simulated network.
#[derive(Clone, Default)]
struct Answering {
    /// With this status; 0: not at all.
    status: Arc<AtomicU16>,
    body: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
}

impl Answering {
    fn say(&self, status: u16, body: &str) {
        self.status.store(status, Ordering::Relaxed);
        body.clone_into(&mut self.body.lock().unwrap());
    }

    fn number(&self, number: &str) {
        let data =
            json!({"resultType": "vector", "result": [{"metric": {}, "value": [1, number]}]});
        self.say(200, &json!({"status": "success", "data": data}).to_string());
    }

    fn web(&self) -> Web {
        let answering = self.clone();
        Web::new(move |request: http::Request<String>| {
            // Nothing but the checks is asked here.
            if ["/inject", "/validate"].contains(&request.uri().path()) {
                return futures::future::ready(Err("connection refused".to_owned())).left_future();
            }
            answering.asked.fetch_add(1, Ordering::Relaxed);
            let status = StatusCode::from_u16(answering.status.load(Ordering::Relaxed));
            let body = Bytes::from(answering.body.lock().unwrap().clone());
            let answer = status.map(|status| Answer { status, body });
            futures::future::ready(answer.map_err(|_| "connection refused".to_owned()))
                .right_future()
        })
    }
}

fn bed(answering: &Answering, config: &str) -> SimulatedBed {
    let mut bed = SimulatedBed::new();
    bed.web = answering.web();
    bed.config.send_replace(Config::parse(config).unwrap());
    bed
}

const SMOKE: &str =
    "checks:\n- name: smoke\n  http: {url: 'http://shop/healthz', retries: 1, interval: 10s}\n";

#[test]
fn an_endpoint_decides_whether_the_next_wave_begins() {
    simulated::in_virtual_time(async {
        let answering = Answering::default();
        answering.say(503, "");
        let bed = bed(&answering, SMOKE);
        applications(&bed, &["a", "b"]).await;
        let server = serving(&bed).await;
        let version = run(&bed, &server, &["version"]).await.stdout;
        assert!(version.contains("checks: smoke\n"), "{version}");

        let id = migrate(&bed, &server, &["a", "b"], &["--check", "smoke"]).await;
        let watched = refused(&bed, &server, &["watch", &id], 1).await.stderr;
        for word in [
            "PAUSED (GATE)",
            "the check `smoke` has failed after wave 0: http://shop/healthz answers 503",
        ] {
            assert!(watched.contains(word), "no {word:?} in {watched}");
        }
        assert_eq!(
            (states(&bed, &id), answering.asked.load(Ordering::Relaxed)),
            (vec!["MOVED".to_owned(), "PENDING".to_owned()], 2)
        );
        // Nobody answers: that is no failure, and stops it as well.
        answering.say(0, "");
        run(&bed, &server, &["resume", &id]).await;
        sleep(Duration::from_mins(1)).await;
        let shown = run(&bed, &server, &["status", &id]).await.stdout;
        for word in ["INCONCLUSIVE", "http://shop/healthz: connection refused", "resume wave 0: "] {
            assert!(shown.contains(word), "no {word:?} in {shown}");
        }
        answering.say(200, "");
        run(&bed, &server, &["resume", &id]).await;
        run(&bed, &server, &["watch", &id]).await;
        assert_eq!(states(&bed, &id), ["MOVED", "MOVED"]);
    });
}

#[test]
fn a_check_that_is_not_configured_is_refused_and_one_that_goes_tells_nothing() {
    simulated::in_virtual_time(async {
        let bed = bed(&Answering::default(), SMOKE);
        applications(&bed, &["a", "b"]).await;
        let server = serving(&bed).await;
        let unknown = ["migrate", "--from", "cp-v113x", "--to", "cp-v115x", "-n", "a", "--yes"];
        let unknown = [&unknown[..], &["--check", "smok"]].concat();
        let said = refused(&bed, &server, &unknown, 1).await.stderr;
        let why = "spec.gates[0].checks[0]: `smok` is no check of the server's configuration; it has smoke";
        assert!(said.contains(why), "{said}");

        let id = migrate(&bed, &server, &["a", "b"], &["--check", "smoke"]).await;
        bed.config.send_replace(Config::default());
        sleep(Duration::from_mins(5)).await;
        let verdict = stored(&bed, &id)["status"]["verdicts"][0].clone();
        assert_eq!(
            (&verdict["outcome"], &verdict["message"]),
            (
                &json!("INCONCLUSIVE"),
                &json!("the server's configuration has no such check any more")
            )
        );
    });
}

#[test]
fn a_value_is_compared_with_what_it_was_before_the_wave() {
    simulated::in_virtual_time(async {
        let answering = Answering::default();
        answering.number("0.02");
        let config = "checks:\n- name: errors\n  prometheus:\n    url: http://prometheus\n    query: x\n    \
                      atMostAboveBaseline: 0.5\n    interval: 1s\n";
        let bed = bed(&answering, config);
        applications(&bed, &["a", "b", "c"]).await;
        let server = serving(&bed).await;
        let id =
            migrate(&bed, &server, &["a", "b", "c"], &["--check", "errors", "--soak", "2m"]).await;
        sleep(Duration::from_mins(1)).await;
        let status = stored(&bed, &id)["status"].clone();
        assert_eq!(states(&bed, &id), ["MOVED", "PENDING", "PENDING"]);
        assert_eq!(
            (&status["baselines"][0]["wave"], &status["baselines"][0]["value"]),
            (&json!(0), &json!("0.02"))
        );
        // A new leader compares with what the one before has measured.
        answering.number("0.025");
        drop(server);
        let server = serving(&bed).await;
        sleep(Duration::from_mins(3)).await;
        let status = stored(&bed, &id)["status"].clone();
        assert_eq!(status["verdicts"][1]["message"], "it is 0.025; it was 0.02 before the wave");
        assert_eq!(status["baselines"][1]["value"], "0.025");
        answering.number("0.05");
        let watched = refused(&bed, &server, &["watch", &id], 1).await.stderr;
        let why = "it is 0.05; it was 0.025 before the wave, and may be 0.0375";
        assert!(watched.contains(why), "{watched}");
        assert_eq!(states(&bed, &id), ["MOVED", "MOVED", "PENDING"]);
        // Where nothing can be measured before a wave, it begins all the same, and the check says so.
        answering.say(500, "");
        run(&bed, &server, &["resume", &id, "--accept-gates"]).await;
        let watched = refused(&bed, &server, &["watch", &id], 1).await.stderr;
        assert!(watched.contains("the check `errors` tells nothing after wave 2"), "{watched}");
        assert_eq!(states(&bed, &id), ["MOVED", "MOVED", "MOVED"]);
        let baseline = stored(&bed, &id)["status"]["baselines"][2].clone();
        assert!(baseline["message"].as_str().unwrap().contains("500"), "{baseline}");
        answering.number("0.05");
        run(&bed, &server, &["resume", &id]).await;
        let watched = refused(&bed, &server, &["watch", &id], 1).await.stderr;
        assert!(watched.contains("before the wave nothing was measured"), "{watched}");
        run(&bed, &server, &["resume", &id, "--accept-gates"]).await;
        run(&bed, &server, &["watch", &id]).await;
    });
}

#[test]
fn a_baseline_is_measured_when_the_wave_may_begin() {
    simulated::in_virtual_time(async {
        let answering = Answering::default();
        answering.number("0.02");
        let config = "checks:\n- name: errors\n  prometheus: {url: 'http://p', query: x, \
                      atMostAboveBaseline: 0}\n";
        let bed = bed(&answering, config);
        applications(&bed, &["a"]).await;
        let server = serving(&bed).await;
        let opening = bed.sandbox.now() + Duration::from_hours(3);
        let closing = opening + Duration::from_hours(1);
        let time = |at: Timestamp| at.strftime("%H:%M").to_string();
        let window = format!("daily {}-{} UTC", time(opening), time(closing));
        let extra = ["--check", "errors", "--window", &window];
        let id = migrate(&bed, &server, &["a"], &extra).await;
        sleep(Duration::from_hours(2)).await;
        assert_eq!(answering.asked.load(Ordering::Relaxed), 0);
        answering.number("0.05");
        run(&bed, &server, &["watch", &id]).await;
        assert_eq!(stored(&bed, &id)["status"]["baselines"][0]["value"], "0.05");
    });
}

#[test]
fn a_leader_that_dies_leaves_its_job_to_the_next_one() {
    simulated::in_virtual_time(async {
        let config = "checks:\n- name: suite\n  job:\n    spec:\n      template:\n        spec:\n          \
                      restartPolicy: Never\n          containers: [{name: suite, image: example/suite}]\n";
        let bed = bed(&Answering::default(), config);
        applications(&bed, &["a", "b"]).await;
        let server = serving(&bed).await;
        let id = migrate(&bed, &server, &["a", "b"], &["--check", "suite"]).await;
        let jobs = "/apis/batch/v1/namespaces/revshift-system/jobs";
        while bed.sandbox.objects(jobs).is_empty() {
            sleep(Duration::from_millis(100)).await;
        }
        drop(server);
        let server = serving(&bed).await;
        run(&bed, &server, &["watch", &id]).await;
        let made = bed.sandbox.objects(jobs);
        let names: Vec<_> =
            made.iter().map(|job| job["metadata"]["name"].as_str().unwrap()).collect();
        assert_eq!(names.len(), 2, "one a wave: {names:?}");
        let environment = made[0]["spec"]["template"]["spec"]["containers"][0]["env"].clone();
        let told = environment.as_array().unwrap();
        assert!(
            told.contains(&json!({"name": "REVSHIFT_NAMESPACES", "value": "a"})),
            "{environment}"
        );
    });
}
