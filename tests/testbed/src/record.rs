//! Records the exchanges anew: sends the requests of each file to a real API server, and writes its
//! answers beside them.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use revshift_testbed::{Options, RealBed};
use revshift_tests::exchanges::{Conversation, Theme};

use crate::output;

/// What a condition may take to hold.
const PATIENCE: Duration = Duration::from_mins(1);

/// Records every file whose name contains `filter`, on a cluster of its own.
pub(crate) async fn record(filter: &str) -> Result<()> {
    let bed = RealBed::start(&Options::default()).await?;
    let kubeconfig = Kubeconfig::read_from(bed.kubeconfig())?;
    let mut config =
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    // What is refused for now counts as well.
    config.default_retry = false;
    let client = Client::try_from(config)?;
    for file in files()?.iter().filter(|file| file.to_string_lossy().contains(filter)) {
        let recorded = theme(&client, file).await.with_context(|| file.display().to_string())?;
        output::recorded(file, recorded);
    }
    Ok(())
}

fn files() -> Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../exchanges");
    let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    ensure!(!files.is_empty(), "no files in {}", folder.display());
    Ok(files)
}

async fn theme(client: &Client, file: &Path) -> Result<usize> {
    let mut theme: Theme = serde_norway::from_str(&fs::read_to_string(file)?)?;
    let mut conversation = Conversation::new(client.clone(), PATIENCE);
    for exchange in &mut theme.exchanges {
        tracing::info!(exchange = exchange.name, "sent");
        let answer = conversation.send(exchange).await;
        exchange.answer = Some(answer.with_context(|| exchange.name.clone())?);
    }
    fs::write(file, serde_norway::to_string(&theme)?)?;
    Ok(theme.exchanges.len())
}
