//! The judgement, from the audit log alone.
//!
//! A move is under way at the latest until the pods that it replaces are gone, which is when their
//! ReplicaSet's controller deletes the last of them; what revshift itself takes to see it comes on top.
//! So what is counted here may be less than what revshift counts, never more.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use revshift_testbed::Request;

/// What was to be done.
#[derive(Debug)]
pub(super) struct Expected<'a> {
    /// The namespaces that were to move.
    pub(super) namespaces: &'a [String],
    /// The Deployment in each of them.
    pub(super) workload: &'a str,
    /// Its pods.
    pub(super) pods: usize,
    /// How many servers have acted, one after the other.
    pub(super) leaders: usize,
}

/// What was never to be exceeded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budgets {
    pub(super) namespaces: usize,
    pub(super) workloads: usize,
    pub(super) pods: usize,
    pub(super) pods_per_second: usize,
}

impl Budgets {
    /// The server's configuration file.
    pub(super) fn config(self) -> String {
        let Self { namespaces, workloads, pods, pods_per_second } = self;
        format!(
            "budgets: {{namespaces: {namespaces}, workloads: {workloads}, pods: {pods}, \
             podsPerSecond: {pods_per_second}}}\n"
        )
    }
}

/// Finds everything wrong that the log shows.
pub(super) fn judge(requests: &[Request], expected: &Expected<'_>, budgets: Budgets) -> Result<()> {
    let mut ours: Vec<&Request> = requests.iter().filter(|it| it.is_revshifts()).collect();
    // The log is in the order of answers.
    ours.sort_by(|a, b| a.received.cmp(&b.received));
    let writes: Vec<&Request> = ours.into_iter().filter(|it| it.writes()).collect();
    nothing_else(&writes, expected)?;
    once(&writes, expected)?;
    one_leader_at_a_time(&writes, expected)?;
    no_pod_twice(requests, expected)?;
    within(requests, expected, budgets)
}

/// Every namespace was relabelled once, and every workload restarted once in each attempt. One whose
/// reply was lost to a kill is logged without success; then a second success proves nothing, as it
/// could only be another write.
fn once(writes: &[&Request], expected: &Expected<'_>) -> Result<()> {
    let mut relabelled = BTreeMap::<&str, [usize; 2]>::new();
    let mut restarted = BTreeMap::<(&str, String), [usize; 2]>::new();
    for request in writes.iter().filter(|it| it.verb == "patch") {
        let object = &request.object;
        let place = usize::from(!request.succeeded());
        match object.resource.as_str() {
            "namespaces" => relabelled.entry(&object.name).or_default()[place] += 1,
            "deployments" => {
                let annotations = &request.body["spec"]["template"]["metadata"]["annotations"];
                let key = (object.namespace.as_str(), annotations.to_string());
                restarted.entry(key).or_default()[place] += 1;
            }
            _ => {}
        }
    }
    for name in expected.namespaces {
        let [done, unknown] = relabelled.get(name.as_str()).copied().unwrap_or_default();
        ensure!(done == 1 || done == 0 && unknown > 0, "{name} was relabelled {done} times");
    }
    for ((namespace, restart), [done, _]) in &restarted {
        ensure!(*done <= 1, "{namespace} was restarted {done} times by {restart}");
    }
    let touched: BTreeSet<&str> = restarted.keys().map(|(namespace, _)| *namespace).collect();
    let count = touched.len();
    ensure!(count == expected.namespaces.len(), "{count} namespaces were restarted");
    Ok(())
}

/// revshift wrote to nothing else but what it stores and needs itself.
fn nothing_else(writes: &[&Request], expected: &Expected<'_>) -> Result<()> {
    let asked: BTreeSet<&str> = expected.namespaces.iter().map(String::as_str).collect();
    for request in writes {
        let object = &request.object;
        let allowed = match object.resource.as_str() {
            "namespaces" if request.verb == "patch" => {
                asked.contains(object.name.as_str()) || object.name == "revshift-system"
            }
            "namespaces" => object.name == "revshift-system",
            "deployments" => {
                request.verb == "patch"
                    && object.subresource.is_empty()
                    && object.name == expected.workload
                    && asked.contains(object.namespace.as_str())
            }
            // Of the move, and of the migration.
            "events" => {
                let namespace = object.namespace.as_str();
                request.verb == "create" && (asked.contains(namespace) || namespace == "default")
            }
            "leases" => object.namespace == "revshift-system",
            "migrations" | "migrationshards" | "retirements" | "customresourcedefinitions" => true,
            // What it may do is asked for with a creation that stores nothing.
            "selfsubjectaccessreviews" | "selfsubjectreviews" => request.verb == "create",
            _ => false,
        };
        ensure!(allowed, "it was not to {} {object:?}", request.verb);
    }
    Ok(())
}

/// What only the acting server writes: labels, restarts and the status of what is stored.
fn acts(request: &Request) -> bool {
    let object = &request.object;
    match object.resource.as_str() {
        "namespaces" => request.verb == "patch" && object.name != "revshift-system",
        "deployments" => true,
        "migrations" | "migrationshards" => object.subresource == "status",
        _ => false,
    }
}

/// From the first write of a new leader on, those before it write nothing any more.
fn one_leader_at_a_time(writes: &[&Request], expected: &Expected<'_>) -> Result<()> {
    let mut leaders: Vec<&str> = Vec::new();
    for request in writes.iter().filter(|it| acts(it)) {
        let who = request.user.username.as_str();
        if leaders.last() != Some(&who) {
            let object = &request.object;
            ensure!(!leaders.contains(&who), "{who} wrote {object:?} after {leaders:?}");
            leaders.push(who);
        }
    }
    ensure!(leaders.len() == expected.leaders, "{leaders:?} acted one after the other");
    Ok(())
}

/// As many pods were created and deleted as there are, and none for whom nothing was asked.
fn no_pod_twice(requests: &[Request], expected: &Expected<'_>) -> Result<()> {
    let mut created = BTreeMap::<&str, usize>::new();
    for request in requests.iter().filter(|it| it.is("create", "pods")) {
        *created.entry(&request.object.namespace).or_default() += 1;
    }
    for name in expected.namespaces {
        let created = created.remove(name.as_str()).unwrap_or_default();
        ensure!(created == expected.pods, "{name}: {created} pods for {}", expected.pods);
    }
    created.retain(|namespace, _| namespace.starts_with("many-"));
    ensure!(created.is_empty(), "pods were made in {created:?}");
    Ok(())
}

/// What is under way of one namespace.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    relabelled: bool,
    restarted: bool,
    deleted: usize,
}

/// Walks through the log and counts what is under way after each request.
fn within(requests: &[Request], expected: &Expected<'_>, budgets: Budgets) -> Result<()> {
    let mut ordered: Vec<&Request> = requests.iter().collect();
    ordered.sort_by(|a, b| a.received.cmp(&b.received));
    let mut progress: BTreeMap<&str, Progress> =
        expected.namespaces.iter().map(|name| (name.as_str(), Progress::default())).collect();
    let mut begun: Vec<&str> = Vec::new();
    let (mut most_namespaces, mut most_workloads) = (0, 0);
    for request in ordered {
        let object = &request.object;
        let ours = request.is_revshifts() && request.verb == "patch";
        let (namespace, name) = (object.namespace.as_str(), object.name.as_str());
        if ours && object.resource == "namespaces" {
            if let Some(one) = progress.get_mut(name) {
                one.relabelled = true;
            }
        } else if ours && object.resource == "deployments" {
            if let Some(one) = progress.get_mut(namespace).filter(|one| !one.restarted) {
                one.restarted = true;
                begun.push(&request.received);
            }
        } else if request.is("delete", "pods")
            && !request.user.username.contains("kwok")
            && request.user_agent.contains("kube-controller-manager")
            && let Some(one) = progress.get_mut(namespace)
        {
            one.deleted += 1;
        }
        let under_way = |one: &&Progress| one.deleted < expected.pods;
        let namespaces = progress.values().filter(|one| one.relabelled).filter(under_way).count();
        let workloads = progress.values().filter(|one| one.restarted).filter(under_way).count();
        most_namespaces = most_namespaces.max(namespaces);
        most_workloads = most_workloads.max(workloads);
        ensure!(namespaces <= budgets.namespaces, "{namespaces} namespaces moved at once");
        ensure!(workloads <= budgets.workloads, "{workloads} workloads restarted at once");
        let pods = workloads * expected.pods;
        ensure!(pods <= budgets.pods, "{pods} pods restarted at once");
    }
    // A test that never comes near a bound proves nothing.
    ensure!(
        most_namespaces * 2 > budgets.namespaces,
        "never more than {most_namespaces} namespaces"
    );
    ensure!(most_workloads > 1, "never more than {most_workloads} workloads at once");
    rate(&begun, expected.pods, budgets.pods_per_second)
}

/// Two seconds' worth may have been saved up, and one second's worth comes in within a second.
fn rate(begun: &[&str], pods: usize, per_second: usize) -> Result<()> {
    let seconds: Vec<f64> = begun.iter().map(|at| second_of_day(at)).collect();
    for (index, from) in seconds.iter().enumerate() {
        let later = seconds[index..].iter();
        let within = later.take_while(|at| (from..=&(from + 1.0)).contains(at)).count();
        let most = per_second * 3 + pods;
        ensure!(within * pods <= most, "{} pods began within a second", within * pods);
    }
    Ok(())
}

/// The seconds since midnight in `2026-01-01T12:34:56.123456Z`.
fn second_of_day(time: &str) -> f64 {
    let clock = time.split_once('T').map_or("", |(_, clock)| clock).trim_end_matches('Z');
    clock.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const BUDGETS: Budgets = Budgets { namespaces: 2, workloads: 2, pods: 2, pods_per_second: 1 };

    /// A request of so many seconds after noon, as the audit log has it.
    fn request(second: usize, who: &str, verb: &str, object: &Value) -> Value {
        let agent = if who == "kcm" { "kube-controller-manager/v1" } else { "revshift-server/0" };
        json!({
            "verb": verb, "userAgent": agent, "user": {"username": who}, "objectRef": object,
            "responseStatus": {"code": 200},
            "requestReceivedTimestamp": format!("2026-01-01T12:00:{second:02}.000000Z"),
        })
    }

    fn relabel(second: usize, who: &str, name: &str) -> Value {
        request(second, who, "patch", &json!({"resource": "namespaces", "name": name}))
    }

    fn restart(second: usize, who: &str, namespace: &str, id: &str) -> Value {
        let object = json!({"resource": "deployments", "namespace": namespace, "name": "web"});
        let mut restart = request(second, who, "patch", &object);
        restart["requestObject"]["spec"]["template"]["metadata"]["annotations"]["x"] = json!(id);
        restart
    }

    fn pod(second: usize, verb: &str, namespace: &str) -> Value {
        request(second, "kcm", verb, &json!({"resource": "pods", "namespace": namespace}))
    }

    /// Two namespaces of one pod each, moved side by side, the second restart by a new leader.
    fn good() -> Vec<Value> {
        vec![
            relabel(1, "a", "many-1"),
            relabel(2, "a", "many-2"),
            restart(4, "a", "many-1", "m.1"),
            pod(5, "create", "many-1"),
            restart(12, "b", "many-2", "m.1"),
            pod(13, "create", "many-2"),
            pod(14, "delete", "many-1"),
            pod(15, "delete", "many-2"),
        ]
    }

    fn judged(requests: &[Value]) -> Result<()> {
        let names = ["many-1".to_owned(), "many-2".to_owned()];
        let requests = requests.iter().cloned().map(serde_json::from_value);
        let requests: Vec<Request> = requests.collect::<Result<_, _>>()?;
        let expected = Expected { namespaces: &names, workload: "web", pods: 1, leaders: 2 };
        judge(&requests, &expected, BUDGETS)
    }

    #[test]
    fn a_good_log_is_judged_good_and_each_wrong_is_found() {
        judged(&good()).unwrap();
        let elsewhere = json!({"resource": "deployments", "namespace": "other", "name": "web"});
        let evicted = json!({"resource": "pods", "subresource": "eviction", "namespace": "many-1"});
        let wrongs = [
            ("relabelled 2 times", relabel(3, "a", "many-1")),
            ("restarted 2 times", restart(13, "b", "many-2", "m.1")),
            ("not to patch", request(4, "a", "patch", &elsewhere)),
            ("not to create", request(4, "a", "create", &evicted)),
            ("wrote", restart(13, "a", "many-2", "m.2")),
            ("2 pods for 1", pod(9, "create", "many-1")),
            ("pods were made", pod(9, "create", "many-bystander")),
        ];
        for (said, wrong) in wrongs {
            let mut requests = good();
            requests.push(wrong);
            let error = judged(&requests).unwrap_err().to_string();
            assert!(error.contains(said), "{error} instead of {said}");
        }
    }

    #[test]
    fn what_was_not_done_is_missed_and_an_unknown_outcome_is_not() {
        for missing in [1, 4] {
            let mut requests = good();
            requests.remove(missing);
            judged(&requests).unwrap_err();
        }
        let mut requests = good();
        requests[1]["responseStatus"]["code"] = json!(0);
        judged(&requests).unwrap();
    }

    #[test]
    fn budgets_that_were_exceeded_are_found() {
        let names: Vec<String> = (0..3).map(|index| format!("many-{index}")).collect();
        let expected = Expected { namespaces: &names, workload: "web", pods: 1, leaders: 1 };
        let exceeded = |budgets, second: fn(usize) -> usize| {
            let mut requests: Vec<Request> = Vec::new();
            for (index, name) in names.iter().enumerate() {
                let both =
                    [relabel(second(index), "a", name), restart(second(index), "a", name, "m.1")];
                requests.extend(both.map(|one| serde_json::from_value(one).unwrap()));
            }
            within(&requests, &expected, budgets).unwrap_err().to_string()
        };
        let wide = Budgets { namespaces: 5, workloads: 5, pods: 5, pods_per_second: 9 };
        let cases = [
            ("3 namespaces", Budgets { namespaces: 2, ..wide }),
            ("3 workloads", Budgets { workloads: 2, ..wide }),
            ("3 pods restarted", Budgets { pods: 2, ..wide }),
        ];
        for (said, budgets) in cases {
            let error = exceeded(budgets, |index| index * 10);
            assert!(error.starts_with(said), "{error} instead of {said}");
        }
        rate(&["2026-01-01T12:00:00.0Z"; 4], 1, 1).unwrap();
        let error = rate(&["2026-01-01T12:00:00.0Z"; 5], 1, 1).unwrap_err().to_string();
        assert!(error.starts_with("5 pods began"), "{error}");
    }
}
