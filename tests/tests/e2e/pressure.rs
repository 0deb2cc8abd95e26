//! An API server that has too much to do: calls are made slower until it is well again, and the server
//! says so.

use crate::simulated::{self, SimulatedBed};
use revshift_sandbox::{Exchange, Options, Verdict, fixtures};
use revshift_server::config::{BudgetsConfig, Config};
use revshift_tests::{Bed, NEW, OLD};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const NAMESPACES: usize = 60;
/// Requests that are admitted in a second.
const CAPACITY: f64 = 10.0;

/// Admits requests as long as there is room for them, and counts.
struct Gate {
    tokens: f64,
    filled: Instant,
    admitted: u32,
    refused: u32,
}

impl Gate {
    fn judge(&mut self, exchange: &Exchange) -> Verdict {
        let watched = exchange.path.contains("/leases/") || exchange.verb == "watch";
        if watched || !exchange.tag.starts_with("replica") {
            return Verdict::Pass;
        }
        let since = self.filled.elapsed().as_secs_f64();
        self.filled = Instant::now();
        self.tokens = (self.tokens + since * CAPACITY).min(CAPACITY);
        if self.tokens < 1.0 {
            self.refused += 1;
            return Verdict::Throttle { retry_after: Some(1) };
        }
        self.tokens -= 1.0;
        self.admitted += 1;
        Verdict::Delay(Duration::from_millis(20))
    }
}

#[test]
fn a_storm_of_refusals_slows_calls_down_and_nothing_fails() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        for index in 0..NAMESPACES {
            let name = format!("n-{index:02}");
            bed.sandbox.apply(fixtures::namespace(&name, &[("istio.io/rev", OLD)]));
        }
        sleep(Duration::from_secs(1)).await;
        for index in 0..NAMESPACES {
            bed.sandbox.apply(fixtures::deployment(&format!("n-{index:02}"), "web", 2));
        }
        sleep(Duration::from_secs(30)).await;
        let budgets = BudgetsConfig {
            namespaces: Some(100),
            workloads: Some(1000),
            pods: Some(1000),
            pods_per_second: Some(1000),
        };
        bed.config.send_replace(Config { budgets, ..Config::default() });
        let server = bed.start().await.unwrap();
        let address = server.address();
        let revshift = async |args: &[&str]| {
            let args = ["--server", &address].into_iter().chain(args.iter().copied());
            let output = bed.revshift(args.map(str::to_owned).collect()).await.unwrap();
            assert_eq!(output.status, 0, "{output:?}");
            output.stdout
        };
        assert!(!revshift(&["version"]).await.contains("slowed down"));
        let rule = ["migrate", "--from", OLD, "--to", NEW, "--all", "--approve-all"];
        let id = revshift(&[&rule[..], &["--yes", "--detach"]].concat()).await;
        let id = id.trim();

        let gate = Arc::new(Mutex::new(Gate {
            tokens: CAPACITY,
            filled: Instant::now(),
            admitted: 0,
            refused: 0,
        }));
        let judge = Arc::clone(&gate);
        bed.sandbox.intercept(move |exchange| {
            judge.lock().unwrap_or_else(PoisonError::into_inner).judge(exchange)
        });
        let (mut slowed, mut said, mut ended) = (false, false, false);
        for _ in 0..600 {
            slowed |= revshift(&["version"]).await.contains("slowed down to");
            let status = revshift(&["status", id]).await;
            said |= status.contains("slowed down, because the API server refuses");
            assert!(!status.contains("FAILED"), "{status}");
            ended = status.contains("SUCCEEDED");
            if ended {
                break;
            }
            sleep(Duration::from_secs(1)).await;
        }
        assert!(ended, "the migration did not end");
        let (admitted, refused) = {
            let gate = gate.lock().unwrap();
            (gate.admitted, gate.refused)
        };
        println!("{admitted} requests admitted, {refused} refused");
        assert!(slowed && said, "in GetServer: {slowed}, in the message: {said}");
        assert!(refused > 0, "nothing was refused, so nothing was overloaded");
        // Without a limiter each admitted request costs several that are refused.
        assert!(refused * 2 < admitted, "{refused} refused for {admitted} admitted");

        // Well again: after a while nothing is held back.
        bed.sandbox.clear_intercept();
        sleep(Duration::from_mins(3)).await;
        assert!(!revshift(&["version"]).await.contains("slowed down"));
        server.stop().await.unwrap();
    });
}

/// Proxies that istiod refuses come again by themselves: it takes longer, and nothing fails. A rate below
/// what istiod admits spares it all that.
#[test]
fn an_istiod_that_admits_few_streams_is_waited_for() {
    for (pods_per_second, spared) in [(None, false), (Some(1), true)] {
        simulated::in_virtual_time(async {
            let options = Options { streams_per_second: Some(3.0), ..Options::default() };
            let bed = SimulatedBed::with(options);
            let names: Vec<String> = (0..20).map(|index| format!("n-{index:02}")).collect();
            for name in &names {
                bed.sandbox.apply(fixtures::namespace(name, &[("istio.io/rev", OLD)]));
            }
            sleep(Duration::from_secs(1)).await;
            for name in &names {
                bed.sandbox.apply(fixtures::deployment(name, "web", 2));
            }
            sleep(Duration::from_mins(3)).await;
            bed.config.send_modify(|config| config.budgets.pods_per_second = pods_per_second);
            let server = bed.start().await.unwrap();
            let address = server.address();
            let revshift = async |args: &[&str]| {
                let args = ["--server", &address].into_iter().chain(args.iter().copied());
                let output = bed.revshift(args.map(str::to_owned).collect()).await.unwrap();
                assert_eq!(output.status, 0, "{output:?}");
                output.stdout
            };
            let rule = ["migrate", "--from", OLD, "--to", NEW, "--all", "--approve-all"];
            let id = revshift(&[&rule[..], &["--yes", "--detach"]].concat()).await;
            let mut ended = false;
            for _ in 0..600 {
                let status = revshift(&["status", id.trim()]).await;
                assert!(!status.contains("FAILED"), "{status}");
                ended = status.contains("SUCCEEDED");
                if ended {
                    break;
                }
                sleep(Duration::from_secs(1)).await;
            }
            assert!(ended, "the migration did not end");
            let refused = bed.sandbox.rejected_streams(NEW);
            assert_eq!(refused == 0, spared, "{pods_per_second:?}: {refused} streams refused");
            server.stop().await.unwrap();
        });
    }
}
