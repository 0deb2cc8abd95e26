//! P2: what the API server is asked for, by the audit log: the slope over the number of namespaces, so
//! that what does not depend on them does not count.

use std::collections::BTreeMap;

use anyhow::Result;
use revshift_testbed::{RealBed, Request};
use revshift_tests::Replica as _;

use super::wall_clock::leading;
use super::{arrived, by_hand, populate, revshift};
use crate::measure::{figure, size};
use crate::report::{Goal, Row, short};
use crate::simulation::NEW;

/// Namespaces that kubectl moves.
const BY_HAND: usize = 10;

/// Requests by verb and resource.
type Counts = BTreeMap<String, f64>;

/// The slope of revshift's requests, beside kubectl's requests a namespace.
pub(crate) async fn run(
    bed: &RealBed,
    quick: bool,
    told: &mut dyn FnMut(&str),
) -> Result<Vec<Row>> {
    let (few, many) = if quick { (20, 60) } else { (20, 200) };
    let server = leading(bed, &["--install-crds", "--listen=127.0.0.1:0"]).await?;
    let mut counts = Vec::new();
    for (group, count) in [("few", few), ("many", many)] {
        populate(bed, group, count).await?;
        let audit = bed.audit()?;
        let selector = format!("bench={group}");
        let migrate = ["migrate", "--from=cp-v113x", "--to=cp-v115x", "-l", &selector];
        let args = [&migrate[..], &["--approve-all", "--yes"]].concat();
        revshift(bed, &server.address(), &args).await?;
        arrived(bed, group, count, NEW).await?;
        counts.push(counted(&audit.requests()?, Request::is_revshifts));
    }
    Box::new(server).stop().await?;
    let names = populate(bed, "hand", BY_HAND).await?;
    let audit = bed.audit()?;
    by_hand(bed, &names, NEW, 1).await?;
    let theirs = counted(&audit.requests()?, |one| one.user_agent.starts_with("kubectl/"));
    let theirs = theirs.values().sum::<f64>() / size(&names);

    let more = figure(u64::try_from(many - few)?);
    let mut slopes: Vec<(&String, f64)> = counts[1]
        .iter()
        .map(|(what, count)| (what, (count - counts[0].get(what).unwrap_or(&0.0)) / more))
        .collect();
    slopes.sort_by(|a, b| b.1.total_cmp(&a.1));
    let slope = slopes.iter().map(|(_, slope)| slope).sum();
    for (what, slope) in &slopes {
        told(&format!("P2 {what}: {} a namespace", short(*slope)));
    }
    let what = format!("API requests a namespace of 2 Deployments, slope from {few} to {many}");
    Ok(vec![
        Row::new("P2", what, slope, "")
            .beside(format!("kubectl {}", short(theirs)))
            .limit("4")
            .goal(Goal::AtMost(4.4)),
    ])
}

fn counted(requests: &[Request], by: impl Fn(&Request) -> bool) -> Counts {
    let mut counts = Counts::new();
    for request in requests.iter().filter(|one| by(one) && one.object.resource != "leases") {
        let object = &request.object;
        let what = format!("{} {}/{}", request.verb, object.resource, object.subresource);
        *counts.entry(what.trim_end_matches('/').to_owned()).or_default() += 1.0;
    }
    counts
}
