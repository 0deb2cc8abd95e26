//! Checks that are repeated until they tell what is expected of them.

use crate::session::{Session, until};
use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// A code, the object that it is told of, and its severity.
pub(super) type Expected<'a> = (&'a str, &'a str, &'a str);

/// Repeats a check until it finds all of `expected`: controllers have yet to make pods and to count them.
pub(super) async fn until_told(
    session: &Session<'_>,
    args: &[&str],
    expected: &[Expected<'_>],
) -> Result<Vec<Value>> {
    until(session.bed, "the check finds everything", async || {
        let found = findings(session, args).await?;
        for (code, object, severity) in expected {
            let severity = format!("SEVERITY_{severity}");
            let is = |it: &&Value| it["code"] == *code && it["object"] == *object;
            let finding = found.iter().find(is);
            let finding = finding.with_context(|| format!("no {code} {object} in {found:#?}"))?;
            ensure!(finding["severity"] == severity, "{finding}");
            ensure!(finding["message"].as_str().is_some_and(|it| !it.is_empty()), "{finding}");
        }
        Ok(found)
    })
    .await
}

/// What a check finds, whether or not it forbids a migration.
async fn findings(session: &Session<'_>, args: &[&str]) -> Result<Vec<Value>> {
    let output = session.run(&[args, &["-o", "json"]].concat()).await?;
    let found: Value = serde_json::from_str(&output.stdout)
        .with_context(|| format!("{} {}", output.stdout, output.stderr))?;
    let found = found["findings"].as_array().cloned().context("no findings")?;
    let forbids = found.iter().any(|it| it["severity"] == "SEVERITY_ERROR");
    ensure!(output.status == i32::from(forbids), "{} for {found:#?}", output.status);
    Ok(found)
}
