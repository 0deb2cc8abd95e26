//! Two replicas: both serve, one acts, and either may go.

use crate::api::{Follower, MigrationState, MoveState};
use crate::bed::{Bed, Replica};
use crate::cluster::{NEW, OLD, application, expect_injected, held_application};
use crate::history::History;
use crate::session::{Session, until};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, ListParams};
use revshift_proto::v1::server_service_client::ServerServiceClient;
use revshift_proto::v1::{GetServerRequest, GetServerResponse};

/// Commands and questions may go to any replica.
pub(crate) async fn both_replicas_answer_everything(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    held_application(bed, "both-a").await?;
    application(bed, "both-b").await?;
    let [leader, other] = two(bed).await?;
    // The follower takes a migration, the leader executes it.
    let id = other.detach(&["both-a", "both-b"], &[]).await?;
    other.until_move(&id, "both-a", MoveState::Restarting).await?;
    other.done(&["pause", &id]).await?;
    leader.until_state(&id, "PAUSED").await?;
    leader.done(&["resume", &id]).await?;
    leader.release(&id, "both-a").await?;
    let watched = other.run(&["watch", &id]).await?;
    ensure!(watched.status == 0, "{watched:?}");
    leader.until_state(&id, "SUCCEEDED").await?;
    for args in [
        &["planes", "-o", "json"][..],
        &["namespaces", "-o", "json"],
        &["migrations", "-o", "json"],
        &["status", &id, "-o", "json"],
    ] {
        until(bed, "both say the same", async || {
            let (one, two) = (leader.done(args).await?, other.done(args).await?);
            ensure!(one == two, "{one}\n{two}");
            Ok(())
        })
        .await?;
    }
    expect_injected(&client, "both-b", &[(NEW, 2)]).await?;
    let back = ["rollback", &id, "--reason", "to ask the other", "--yes"];
    other.done(&back).await?;
    expect_injected(&client, "both-a", &[(OLD, 2)]).await?;
    other.end().await?;
    leader.end_with(&["both-a", "both-b"]).await
}

/// A leader that is asked to end hands over at once; a follower of its stream goes on at the other.
pub(crate) async fn a_leader_that_stops_hands_over(bed: &dyn Bed) -> Result<()> {
    let names = ["hand-a", "hand-b"];
    let mut histories = Vec::new();
    held_application(bed, "hand-a").await?;
    application(bed, "hand-b").await?;
    for name in names {
        histories.push(History::of(bed, name).await?);
    }
    let [leader, other] = two(bed).await?;
    let id = leader.detach(&names, &[]).await?;
    other.until_move(&id, "hand-a", MoveState::Restarting).await?;
    let servers = format!("{},{}", leader.replica.address(), other.replica.address());
    let args = ["--server", &servers, "watch", &id].map(str::to_owned).to_vec();
    let mut follower = Follower::start(bed, &*leader.replica, &id).await?;
    follower.until("a token was sent", |follower| !follower.token.is_empty()).await?;
    let leases = Api::<Lease>::namespaced(bed.client(), "revshift-system");
    let handed_over = async {
        let identity = told(&*leader.replica).await?.identity;
        leader.end().await?;
        // It was given back, and need not expire.
        for lease in leases.list(&ListParams::default()).await? {
            let holder = lease.spec.and_then(|spec| spec.holder_identity);
            ensure!(holder.as_ref() != Some(&identity), "{identity} still holds the lease");
        }
        until(bed, "the other leads", async || {
            let told = told(&*other.replica).await?;
            ensure!(told.leader == told.identity, "{told:?}");
            Ok(())
        })
        .await?;
        other.release(&id, "hand-a").await
    };
    let (watched, handed_over) = futures::join!(bed.revshift(args), handed_over);
    let watched = watched?;
    handed_over?;
    ensure!(watched.status == 0, "{watched:?}");
    follower.resume(&*other.replica).await?;
    follower.read_out().await?;
    ensure!(follower.migration.state() == MigrationState::Succeeded, "{:?}", follower.migration);
    ensure!(other.moves(&id).await?.iter().all(|m| follower.moves[&m.namespace] == *m));
    for history in &histories {
        history.replaced_once(bed).await?;
    }
    other.end_with(&names).await
}

/// A leader that is killed is waited for as long as its lease says, and not longer.
pub(crate) async fn a_leader_that_is_killed_is_replaced(bed: &dyn Bed) -> Result<()> {
    let names = ["kill-a", "kill-b"];
    let mut histories = Vec::new();
    held_application(bed, "kill-a").await?;
    application(bed, "kill-b").await?;
    for name in names {
        histories.push(History::of(bed, name).await?);
    }
    let [leader, other] = two(bed).await?;
    let id = leader.detach(&names, &[]).await?;
    let mut follower = Follower::start(bed, &*leader.replica, &id).await?;
    let restarting = |follower: &Follower<'_>| follower.state("kill-a") == MoveState::Restarting;
    follower.until("kill-a restarts", restarting).await?;
    leader.replica.kill().await?;
    follower.resume(&*other.replica).await?;
    other.release(&id, "kill-a").await?;
    follower.read_out().await?;
    ensure!(follower.migration.state() == MigrationState::Succeeded, "{:?}", follower.migration);
    // The numbers of the second leader begin above all of the first.
    let epochs: Vec<u64> = follower.moves.values().map(|m| m.sequence >> 32).collect();
    ensure!(epochs.iter().all(|epoch| *epoch >= 2), "{epochs:?}");
    for history in &histories {
        history.replaced_once(bed).await?;
    }
    other.end_with(&names).await
}

/// Two servers, the one that leads first.
async fn two(bed: &dyn Bed) -> Result<[Session<'_>; 2]> {
    let (first, second) = (Session::start(bed).await?, Session::start(bed).await?);
    let leads = until(bed, "one of two replicas leads", async || {
        let (one, two) = (told(&*first.replica).await?, told(&*second.replica).await?);
        ensure!(one.leader == two.leader, "{one:?} {two:?}");
        let leads = [one.identity, two.identity].iter().position(|id| *id == one.leader);
        leads.context("somebody else leads")
    })
    .await?;
    Ok(if leads == 0 { [first, second] } else { [second, first] })
}

async fn told(replica: &dyn Replica) -> Result<GetServerResponse> {
    let mut client = ServerServiceClient::new(replica.channel().await?);
    Ok(client.get_server(GetServerRequest {}).await?.into_inner())
}
