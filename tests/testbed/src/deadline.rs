//! The one place that waits: a condition is tried until it holds or its deadline has passed.
//! Callers name what they wait for, and the last reason why it did not hold is part of the error.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::{Instant, sleep};

/// How long to pause between two tries.
const POLL: Duration = Duration::from_millis(50);

/// Tries `attempt` until it gives a value; its errors mean "not yet".
///
/// The error after `limit` names `what` and carries the last attempt's error.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    attempt: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    until_while(what, limit, || Ok(()), attempt).await
}

/// Like [`until`], but gives up at once when `alive` fails: nothing comes of a process that ended.
pub(crate) async fn until_while<T>(
    what: &str,
    limit: Duration,
    mut alive: impl FnMut() -> Result<()>,
    mut attempt: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let end = Instant::now() + limit;
    let mut last = None;
    loop {
        alive()?;
        // An attempt that hangs counts against the deadline as well.
        match tokio::time::timeout_at(end, attempt()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => last = Some(error),
            Err(_) => {}
        }
        if Instant::now() >= end {
            let last = last.unwrap_or_else(|| anyhow::anyhow!("no answer"));
            return Err(last).with_context(|| format!("{what}: not within {limit:?}"));
        }
        sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn gives_the_value_once_the_condition_holds() {
        let mut tries = 0;
        let value = until("three tries", Duration::from_secs(5), async || {
            tries += 1;
            anyhow::ensure!(tries == 3, "only {tries}");
            Ok(tries)
        });
        assert_eq!(value.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn an_expired_deadline_names_the_condition_and_its_last_error() {
        let never = until("the impossible", Duration::from_millis(60), async || {
            Err::<(), _>(anyhow::anyhow!("still not"))
        });
        let error = format!("{:#}", never.await.unwrap_err());
        assert_eq!(error, "the impossible: not within 60ms: still not");
    }
}
