//! Many namespaces at once, and what they cost.

use revshift_sandbox::{Options, Sandbox, fixtures};

use crate::{merge, restart, run};

/// How many namespaces; more with `REVSHIFT_SANDBOX_NAMESPACES`.
fn namespaces() -> usize {
    let given = std::env::var("REVSHIFT_SANDBOX_NAMESPACES").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(200)
}

#[tokio::test(start_paused = true)]
async fn many_namespaces_are_filled_and_rolled() {
    let sandbox = Sandbox::new(Options { history: Some(10_000), ..Options::default() });
    let names: Vec<_> = (0..namespaces()).map(|number| format!("ns-{number}")).collect();
    for name in &names {
        sandbox.apply(fixtures::namespace(name, &[]));
        sandbox.apply(fixtures::deployment(name, "web", 2));
    }
    let mut changes = sandbox.version();
    for round in 0..2 {
        if round > 0 {
            for name in &names {
                let path = format!("/apis/apps/v1/namespaces/{name}/deployments/web");
                merge(&sandbox, &path, &restart("1")).await;
            }
        }
        run(&sandbox, 20).await;
        let all = sandbox.objects("/apis/apps/v1/deployments");
        assert!(all.iter().all(|one| one["status"]["updatedReplicas"] == 2));
        assert!(all.iter().all(|one| one["status"]["readyReplicas"] == 2));
        assert_eq!(sandbox.objects("/api/v1/pods").len(), 2 * names.len());
        // Events aside, a rollout of two pods takes a few dozen writes, however many there are.
        let more = sandbox.version() - changes;
        changes += more;
        assert!(more < 100 * names.len() as u64, "{more} changes");
    }
}
