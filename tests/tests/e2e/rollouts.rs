//! Argo's Rollouts, whose controller only the simulated cluster has.

use crate::simulated::{self, SimulatedBed};
use revshift_sandbox::fixtures;
use revshift_tests::{Bed, NEW, OLD};
use serde_json::Value;
use std::time::Duration;
use tokio::time::sleep;

#[test]
fn pods_of_a_rollout_are_evicted() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        bed.sandbox.apply(fixtures::rollout_definition());
        bed.sandbox.apply(fixtures::namespace("canary", &[("istio.io/rev", OLD)]));
        sleep(Duration::from_secs(1)).await;
        bed.sandbox.apply(fixtures::rollout("canary", "web", 3));
        sleep(Duration::from_secs(10)).await;
        assert_eq!(injected(&bed), [OLD; 3]);
        let replica = bed.start().await.unwrap();
        let args = ["--server", &replica.address(), "migrate", "--from", OLD, "--to", NEW];
        let args = [&args[..], &["-n", "canary", "--yes"]].concat();
        let args = args.into_iter().map(str::to_owned).collect();
        let output = bed.revshift(args).await.unwrap();
        assert_eq!(output.status, 0, "{}", output.stderr);
        assert!(output.stderr.contains("RS1105 Rollout/canary/web"), "{}", output.stderr);
        assert_eq!(injected(&bed), [NEW; 3]);
    });
}

/// The revisions of the pods that stay.
fn injected(bed: &SimulatedBed) -> Vec<String> {
    let pods = bed.sandbox.objects("/api/v1/pods");
    let mine = pods.iter().filter(|pod| pod["metadata"]["namespace"] == "canary");
    mine.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .map(|pod| {
            let record = &pod["metadata"]["annotations"]["sidecar.istio.io/status"];
            let record: Value = serde_json::from_str(record.as_str().unwrap()).unwrap();
            record["revision"].as_str().unwrap().to_owned()
        })
        .collect()
}
