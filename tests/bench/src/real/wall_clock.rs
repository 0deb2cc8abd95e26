//! P1b: the same namespaces to the same end, by the wall clock: revshift beside kubectl.

use anyhow::Result;
use revshift_testbed::RealBed;
use revshift_tests::Replica as _;
use tokio::time::Instant;

use super::{arrived, by_hand, one_wave, populate, revshift};
use crate::measure::median;
use crate::report::{Goal, Row, short};
use crate::simulation::{NEW, OLD};

const GROUP: &str = "clock";
/// What `xargs -P` is given.
const SIDE_BY_SIDE: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Loop,
    SideBySide,
    Revshift,
    /// With the rate that nobody but the cluster limits.
    Unbridled,
}

const WAYS: [Way; 4] = [Way::Loop, Way::SideBySide, Way::Revshift, Way::Unbridled];

/// How long each way takes, by turns.
pub(crate) async fn run(
    bed: &RealBed,
    quick: bool,
    told: &mut dyn FnMut(&str),
) -> Result<Vec<Row>> {
    let (count, rounds) = if quick { (24, 1) } else { (60, 3) };
    let names = populate(bed, GROUP, count).await?;
    let mut planes = [OLD, NEW];
    let mut took = [const { Vec::new() }; 4];
    for _ in 0..rounds {
        for (way, took) in WAYS.into_iter().zip(&mut took) {
            took.push(once(bed, way, &names, planes).await?);
            planes.swap(0, 1);
        }
    }
    let [one, many, ours, unbridled] = took.map(median);
    told(&format!(
        "P1b kubectl {one:.1} s, xargs {many:.1} s, revshift {ours:.1}, {unbridled:.1} s"
    ));
    let better = one.min(many);
    let peers = format!("kubectl loop {} s, xargs -P{SIDE_BY_SIDE} {} s", short(one), short(many));
    let what = format!("{count} namespaces on the real bed: the better peer ÷ revshift");
    Ok(vec![
        Row::new("P1b", format!("{what} ({} s)", short(ours)), better / ours, "")
            .beside(peers.clone())
            .goal(Goal::AtLeast(2.0)),
        Row::new(
            "P1b",
            format!("the same without a limit of pods a second ({} s)", short(unbridled)),
            better / unbridled,
            "",
        )
        .beside(peers),
    ])
}

async fn once(bed: &RealBed, way: Way, names: &[String], [from, to]: [&str; 2]) -> Result<f64> {
    let config = bed.run_dir().join("bench.yaml");
    std::fs::write(&config, "budgets: {podsPerSecond: 1000}\n")?;
    let unbridled = format!("--config={}", config.display());
    let mut options = vec!["--install-crds", "--listen=127.0.0.1:0"];
    if way == Way::Unbridled {
        options.push(&unbridled);
    }
    // Whoever moves namespaces has a server that runs already.
    let server = match way {
        Way::Loop | Way::SideBySide => None,
        Way::Revshift | Way::Unbridled => Some(leading(bed, &options).await?),
    };
    let begin = Instant::now();
    if let Some(server) = &server {
        let file = one_wave(names, from, to)?;
        let path = file.path().display().to_string();
        revshift(bed, &server.address(), &["migrate", "-f", &path, "--yes"]).await?;
    } else {
        let hands = if way == Way::Loop { 1 } else { SIDE_BY_SIDE };
        by_hand(bed, names, to, hands).await?;
    }
    arrived(bed, GROUP, names.len(), to).await?;
    let took = begin.elapsed();
    if let Some(server) = server {
        Box::new(server).stop().await?;
    }
    Ok(took.as_secs_f64())
}

/// A server that leads.
pub(super) async fn leading(
    bed: &RealBed,
    options: &[&str],
) -> Result<revshift_testbed::RealReplica> {
    let server = bed.launch(options).await?.ready().await?;
    revshift_testbed::until("a leader", super::PATIENCE, async || {
        let state = server.state().await?;
        anyhow::ensure!(state.leader == state.identity, "`{}` leads", state.leader);
        Ok(())
    })
    .await?;
    Ok(server)
}
