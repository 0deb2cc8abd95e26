//! The show: the upgrade as its procedure goes, with the real programs, and what is left when one
//! namespace does not stand the new plane.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::time::sleep;

use crate::Trouble;
use crate::application::{self, FAILING, FIRST, NEW, OLD, OTHERS, revision};
use crate::bed::Bed;
use crate::commands::{self, Commands};
use crate::output;
use crate::server::Server;

/// Tells all of it; an error if anything goes otherwise than told.
pub(crate) async fn tell(trouble: &Trouble) -> Result<ExitCode> {
    output::opening();
    let bed = Bed::start(application::dozen()).await?;
    bed.settled(|_| {}).await?;
    let mut server = Server::start(&bed).await?;
    output::started(&bed, &server);
    let faults = trouble.inject(&bed);
    output::armed(&faults.struck());
    let commands = Commands::at(&server);
    let told = tokio::select! {
        result = acts(&commands) => result.and_then(|()| verify(&bed)),
        error = server.ended() => Err(error),
    };
    output::all_struck(&faults.struck());
    told?;
    output::closing();
    Ok(ExitCode::SUCCESS)
}

async fn acts(commands: &Commands) -> Result<()> {
    output::act("Which control planes are there, and who is attached to them?");
    commands.run("planes", &[0]).await?;
    pause().await;
    commands.run("namespaces", &[0]).await?;
    pause().await;

    let migrate = format!("migrate --from {OLD} --to {NEW}");
    output::act(
        "The namespace with the least impact goes first. A dry run shows what would happen.",
    );
    commands.run(&format!("{migrate} -n {FIRST} --dry-run"), &[0]).await?;
    pause().await;
    commands.run(&format!("{migrate} -n {FIRST} --yes"), &[0]).await?;
    pause().await;

    output::act("The test went well. Now the others, one after the other.");
    let known = ids(commands).await?.len();
    let namespaces = OTHERS.join(" -n ");
    let line = format!("{migrate} \\\n    -n {namespaces} --yes");
    let child = commands.start(&line)?;
    let id = loop {
        let mut all = ids(commands).await?;
        if all.len() > known {
            break all.swap_remove(0);
        }
        sleep(Duration::from_millis(100)).await;
    };
    commands.until_it_rests(&id).await?;
    commands::interrupt(child, &line).await?;
    pause().await;

    output::act(&format!(
        "{FAILING} does not start on the new plane, so nothing more was begun. It goes back to \
         exactly the labels it had."
    ));
    let reason = "gateway crashes beside the 1.15 proxy";
    commands.run(&format!("rollback {id} -n {FAILING} --reason '{reason}' --yes"), &[0]).await?;
    pause().await;

    output::act(
        "The others are not concerned and go on. At the end the exception is told, also by the \
         exit status, for scripts.",
    );
    commands.run(&format!("resume {id}"), &[0]).await?;
    commands.run(&format!("watch {id}"), &[1]).await?;
    pause().await;

    output::act(&format!(
        "All but {FAILING} are on {NEW}. A Job that still runs in analytics keeps its sidecar until \
         it ends, and the old plane stays until nobody needs it."
    ));
    commands.run("namespaces", &[0]).await?;
    commands.run("planes", &[0]).await?;
    commands.run("migrations", &[0]).await
}

/// Ids of all migrations, newest first.
async fn ids(commands: &Commands) -> Result<Vec<String>> {
    let list = commands.read("migrations").await?;
    let items = list["items"].as_array().context("no list of migrations")?;
    items
        .iter()
        .map(|item| Ok(item["id"].as_str().context("a migration without id")?.to_owned()))
        .collect()
}

/// What was told must be true in the cluster.
fn verify(bed: &Bed) -> Result<()> {
    for name in OTHERS.into_iter().chain([FIRST]) {
        let plane = revision(if name == FAILING { OLD } else { NEW });
        let (label, injected) = (bed.label(name), bed.injected(name));
        ensure!(
            label.as_ref() == Some(&plane) && injected == [plane.clone()],
            "{name} should be on {plane}: label {label:?}, pods {injected:?}"
        );
    }
    Ok(())
}

/// Time to read, where somebody does.
async fn pause() {
    if output::watched() {
        sleep(Duration::from_secs(1)).await;
    }
}
