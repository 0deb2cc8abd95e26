//! P3: from a change of the cluster to the message at a gRPC client, beside a bare pipe: both over
//! loopback TCP, on the same changes, in turns.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::live::{Live, Watcher, connect, watch};
use crate::measure::{median, quantile};
use crate::pipe;
use crate::report::{Goal, Row, short};
use crate::role::{PIPE, Player};

const RATES: [u32; 2] = [100, 1000];

/// The ratios of the middle and of the slow end, at each rate.
pub(crate) async fn run(quick: bool, told: &mut dyn FnMut(&str)) -> Result<Vec<Row>> {
    let (rounds, window) = if quick { (5, 1) } else { (9, 3) };
    let window = Duration::from_secs(window);
    let mut ours = Live::start().await?;
    let (server, id) = ours.hold().await?;
    ours.freeze()?;
    let our_watcher = Watcher::of(watch(connect(&server.address).await?, &id).await?);
    let mut theirs = Live::start().await?;
    theirs.freeze()?;
    let pipe = Player::start(PIPE, &[theirs.kubeconfig()?]).await?;
    let their_watcher = Watcher::of(pipe::open(connect(&pipe.address).await?).await?);
    sleep(Duration::from_secs(1)).await;

    let mut rows = Vec::new();
    for rate in RATES {
        let (mut our_figures, mut their_figures) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            our_figures.push(round(&mut ours, &our_watcher, rate, window).await?);
            their_figures.push(round(&mut theirs, &their_watcher, rate, window).await?);
        }
        for (place, name) in [(0, "p50"), (1, "p99")] {
            let of = |figures: &[[f64; 2]]| median(figures.iter().map(|all| all[place]).collect());
            let (us, them) = (of(&our_figures), of(&their_figures));
            told(&format!("P3 {name} at {rate}/s: {us:.3} ms, bare pipe {them:.3} ms"));
            let what = format!(
                "change → message ÷ bare pipe, {name} at {rate} changes/s ({} ms)",
                short(us)
            );
            let row = Row::new("P3", what, us / them, "")
                .beside(format!("watch → stream {} ms", short(them)))
                .limit("1 loopback round trip")
                .goal(Goal::AtMost(1.5));
            rows.push(row);
        }
    }
    Ok(rows)
}

async fn round(
    live: &mut Live,
    watcher: &Watcher,
    rate: u32,
    window: Duration,
) -> Result<[f64; 2]> {
    watcher.forget();
    let changes = live.change(rate, window).await;
    let mut latencies = watcher.latencies(&changes).await?;
    Ok([quantile(&mut latencies, 0.5), quantile(&mut latencies, 0.99)])
}
