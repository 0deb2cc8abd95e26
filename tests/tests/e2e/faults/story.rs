//! A migration of two namespaces beside a third, and what must hold whatever goes wrong.

use crate::simulated::{self, SimulatedBed};
use revshift_sandbox::{ChangeKind, Fault, Faults, Options, Sandbox, fixtures};
use revshift_tests::{Bed, NEW, OLD, Output, Replica};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The namespaces that move.
pub(super) const NAMESPACES: [&str; 2] = ["a", "b"];
/// The one that nobody may touch.
const BYSTANDER: &str = "other";
const PATIENCE: Duration = Duration::from_hours(1);

/// When faults are armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// Before the server starts.
    Start,
    /// Before the migration is asked for.
    Create,
    /// As soon as it is accepted.
    Run,
}

/// A cluster, a server, and a migration that was accepted.
pub(super) struct Story {
    pub(super) bed: SimulatedBed,
    pub(super) replica: Box<dyn Replica>,
    pub(super) id: String,
    pub(super) faults: Faults,
    beginning: u64,
}

/// Tells a story in virtual time.
pub(super) fn tell<T>(story: impl AsyncFnOnce() -> T) -> T {
    simulated::in_virtual_time(async {
        let local = tokio::task::LocalSet::new();
        local.run_until(story()).await
    })
}

/// Requires that a migration comes to its end as if nothing had happened, although these faults
/// have struck.
pub(super) fn absorbed(when: When, faults: &[&str]) {
    tell(async || {
        let story = Story::begin(when, faults).await;
        story.until_state("SUCCEEDED").await;
        story.faults_have_struck();
        story.moved_once();
    });
}

impl Story {
    pub(super) async fn begin(when: When, faults: &[&str]) -> Self {
        let bed = SimulatedBed::with(Options::default());
        populate(&bed.sandbox).await;
        let beginning = bed.sandbox.version();
        let armed = faults.iter().map(|text| text.parse::<Fault>().unwrap());
        let armed = Faults::new(7, armed);
        let arm = |now| {
            if when == now {
                bed.sandbox.inject(&armed);
            }
        };
        arm(When::Start);
        let replica = bed.start().await.unwrap();
        arm(When::Create);
        let mut args = vec!["migrate", "--from", OLD, "--to", NEW, "--yes", "--detach"];
        args.extend(NAMESPACES.iter().flat_map(|namespace| ["-n", namespace]));
        let mut story = Self { bed, replica, id: String::new(), faults: armed, beginning };
        let accepted = story.run(&args).await;
        assert_eq!(accepted.status, 0, "{faults:?}: {}", accepted.stderr);
        accepted.stdout.trim().clone_into(&mut story.id);
        if when == When::Run {
            story.bed.sandbox.inject(&story.faults);
        }
        story
    }

    /// Runs the CLI.
    pub(super) async fn run(&self, args: &[&str]) -> Output {
        let server = ["--server".to_owned(), self.replica.address()];
        let args = args.iter().map(|arg| (*arg).to_owned());
        self.bed.revshift(server.into_iter().chain(args).collect()).await.unwrap()
    }

    /// What `revshift status` says.
    pub(super) async fn status(&self) -> String {
        let output = self.run(&["status", &self.id]).await;
        assert_eq!(output.status, 0, "{}", output.stderr);
        output.stdout
    }

    /// Waits until the migration is in a state; answers what `revshift status` says then.
    pub(super) async fn until_state(&self, state: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = self.status().await;
            let is = |line: &str| line.split_whitespace().take(2).eq(["State:", state]);
            if said.lines().any(is) {
                return said;
            }
            let struck = self.faults.struck();
            assert!(Instant::now() < deadline, "it is not {state}: {said}\n{struck:?}");
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// Arms other faults from now on.
    pub(super) fn arm(&self, faults: &[&str]) -> Faults {
        let armed = faults.iter().map(|text| text.parse::<Fault>().unwrap());
        let armed = Faults::new(7, armed);
        self.bed.sandbox.inject(&armed);
        armed
    }

    /// Nothing goes wrong any more.
    pub(super) fn heal(&self) {
        self.bed.sandbox.inject(&Faults::default());
    }

    pub(super) fn faults_have_struck(&self) {
        for (fault, times) in self.faults.struck() {
            assert!(times > 0, "{fault} has not struck");
        }
    }

    pub(super) fn label(&self, namespace: &str) -> Option<String> {
        let found = self.bed.sandbox.object(&format!("/api/v1/namespaces/{namespace}"))?;
        Some(found["metadata"]["labels"]["istio.io/rev"].as_str()?.to_owned())
    }

    /// Labels and pods are as after a migration without faults.
    pub(super) fn is_moved(&self) {
        let sandbox = &self.bed.sandbox;
        for namespace in NAMESPACES {
            assert_eq!(self.label(namespace).as_deref(), Some(NEW), "I7: {namespace}");
        }
        assert_eq!(self.label(BYSTANDER).as_deref(), Some(OLD), "I4");
        for pod in sandbox.objects("/api/v1/pods") {
            let metadata = &pod["metadata"];
            let namespace = metadata["namespace"].as_str().unwrap_or_default();
            let wanted = match namespace {
                BYSTANDER => OLD,
                _ if NAMESPACES.contains(&namespace) => NEW,
                _ => continue,
            };
            let going = metadata["deletionTimestamp"].is_string();
            assert!(going || injected_by(&pod) == wanted, "I7: {namespace}: {metadata}");
        }
    }

    /// It is moved, and in no more writes and restarts than without faults.
    pub(super) fn moved_once(&self) {
        self.is_moved();
        let mut relabelled: BTreeMap<String, u32> = BTreeMap::new();
        let mut restarts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for change in self.bed.sandbox.changes_after(self.beginning) {
            let about = &change.reference;
            let own = change.manager == "revshift";
            let restart = "revshift.dev/restart";
            match change.kind.as_str() {
                "Namespace" if own && about.name != "revshift-system" => {
                    *relabelled.entry(about.name.clone()).or_default() += 1;
                }
                "Deployment" if own => {
                    let template = &change.object["spec"]["template"]["metadata"]["annotations"];
                    let restart = template[restart].as_str().unwrap_or_default().to_owned();
                    restarts.entry(about.namespace.clone()).or_default().insert(restart);
                }
                "Pod" if change.change == ChangeKind::Deleted => {
                    let restart = &change.object["metadata"]["annotations"][restart];
                    assert!(restart.is_null(), "I2: a pod of {restart} was replaced");
                }
                _ => {}
            }
        }
        let once = NAMESPACES.map(|namespace| (namespace.to_owned(), 1));
        assert_eq!(relabelled, once.clone().into(), "I4: namespaces were written so often");
        let counts: BTreeMap<_, _> = restarts
            .iter()
            .map(|(at, all)| (at.clone(), u32::try_from(all.len()).unwrap()))
            .collect();
        assert_eq!(counts, once.into(), "I2: {restarts:?}");
    }
}

async fn populate(sandbox: &Sandbox) {
    for namespace in NAMESPACES.iter().chain([&BYSTANDER]) {
        sandbox.apply(fixtures::namespace(namespace, &[("istio.io/rev", OLD)]));
    }
    // Admission sees new namespaces late.
    sleep(Duration::from_secs(1)).await;
    for namespace in NAMESPACES.iter().chain([&BYSTANDER]) {
        let web = fixtures::deployment(namespace, "web", 2);
        sandbox.apply(fixtures::with_pod_label(web, "bed.revshift.dev/ready-after", "2"));
    }
    let count = || sandbox.objects("/api/v1/pods").iter().filter(|pod| is_ready(pod)).count();
    // One of each plane's istiod, too.
    while count() < 8 {
        sleep(Duration::from_millis(100)).await;
    }
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

fn injected_by(pod: &Value) -> String {
    let record = pod["metadata"]["annotations"]["sidecar.istio.io/status"].as_str();
    let record: Value = serde_json::from_str(record.unwrap_or("{}")).unwrap();
    record["revision"].as_str().unwrap_or_default().to_owned()
}
