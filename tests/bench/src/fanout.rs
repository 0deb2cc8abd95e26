//! P6: many clients watch one migration, and a few of them do not read.

use std::time::Duration;

use anyhow::{Context as _, Result};
use revshift_proto::v1::WatchMigrationResponse;
use tokio::time::sleep;
use tonic::Streaming;
use tonic::transport::Endpoint;

use crate::live::{Live, Watcher, connect, watch};
use crate::measure::{median, quantile};
use crate::report::{Goal, Row, short};

const WATCHERS: usize = 1000;
const STALLED: usize = 10;
const RATE: u32 = 100;
/// Of so many watchers one is looked at.
const SAMPLE: usize = 10;

/// The slow end of those who read, with and without those who do not.
pub(crate) async fn run(quick: bool, told: &mut dyn FnMut(&str)) -> Result<Vec<Row>> {
    let (rounds, window) = if quick { (3, 2) } else { (7, 5) };
    let window = Duration::from_secs(window);
    let mut live = Live::start().await?;
    let (server, id) = live.hold().await?;
    live.freeze()?;
    let mut watchers = Vec::new();
    for _ in 0..WATCHERS - STALLED {
        watchers.push(Watcher::of(watch(connect(&server.address).await?, &id).await?));
    }
    let mut idle = Vec::new();
    for _ in 0..STALLED {
        idle.push(Watcher::of(watch(connect(&server.address).await?, &id).await?));
    }
    let before = server.memory("VmRSS")?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        without.push(round(&mut live, &watchers, window).await?);
        idle.clear();
        let mut stalled = Vec::new();
        for _ in 0..STALLED {
            stalled.push(stall(&server.address, &id).await?);
        }
        // Until what fits into their windows was sent.
        live.change(RATE, Duration::from_secs(1)).await;
        with.push(round(&mut live, &watchers, window).await?);
        drop(stalled);
        for _ in 0..STALLED {
            idle.push(Watcher::of(watch(connect(&server.address).await?, &id).await?));
        }
    }
    let after = server.memory("VmRSS")?;
    told(&format!("P6 p99 with {with:.1?} ms, without {without:.1?} ms"));
    let (with, without) = (median(with), median(without));
    let what = format!(
        "p99 of {} watchers at {RATE} changes/s ({} ms) with {STALLED} stalled ÷ without",
        WATCHERS - STALLED,
        short(with)
    );
    Ok(vec![
        Row::new("P6", what, with / without, "")
            .beside(format!("without {} ms", short(without)))
            .limit("1")
            .goal(Goal::AtMost(1.1)),
        Row::new("P6", "what the server's memory grew by meanwhile", after - before, "MiB"),
    ])
}

async fn round(live: &mut Live, watchers: &[Watcher], window: Duration) -> Result<f64> {
    sleep(Duration::from_millis(500)).await;
    for watcher in watchers {
        watcher.forget();
    }
    let changes = live.change(RATE, window).await;
    let mut latencies = Vec::new();
    for watcher in watchers.iter().step_by(SAMPLE) {
        latencies.extend(watcher.latencies(&changes).await?);
    }
    Ok(quantile(&mut latencies, 0.99))
}

/// A client that opens its stream and reads nothing of it.
async fn stall(address: &str, id: &str) -> Result<Streaming<WatchMigrationResponse>> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .initial_stream_window_size(1024)
        .initial_connection_window_size(1024);
    watch(endpoint.connect().await.context("a stalled client")?, id).await
}
