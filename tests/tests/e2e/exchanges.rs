//! What a real API server answered, against what the sandbox answers to the same.

use crate::simulated::in_virtual_time;
use kube::Client;
use revshift_sandbox::{Options, Sandbox};
use revshift_tests::exchanges::{Answer, Conversation, Theme};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A difference that remains, and why.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    /// `theme/exchange#pointer`; `*` stands for anything.
    at: String,
    reason: String,
}

/// A place where the two differ: `theme/exchange#pointer`, and what each has there.
struct Difference {
    at: String,
    real: Value,
    sandbox: Value,
}

#[test]
fn the_sandbox_answers_as_the_real_api_server_did() {
    let listed: Vec<Listed> = parsed(&folder().join("../differences.yaml"));
    let (mut count, mut found) = (0, Vec::new());
    for file in files() {
        let theme: Theme = parsed(&file);
        count += theme.exchanges.len();
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        found.extend(in_virtual_time(replayed(&name, &theme)));
    }
    println!("{count} exchanges replayed, {} differences in {} rules", found.len(), listed.len());
    assert!(count >= 150, "only {count} exchanges");
    let mut errors = Vec::new();
    for difference in &found {
        if !listed.iter().any(|listed| matches(&listed.at, &difference.at)) {
            let Difference { at, real, sandbox } = difference;
            errors.push(format!("{at}\n    real     {real}\n    sandbox  {sandbox}"));
        }
    }
    for Listed { at, reason } in &listed {
        assert!(reason.len() > 10, "{at} is listed without a reason");
        if !found.iter().any(|difference| matches(at, &difference.at)) {
            errors.push(format!("{at} is listed in differences.yaml, but does not differ"));
        }
    }
    assert!(errors.is_empty(), "{} errors:\n{}", errors.len(), errors.join("\n"));
}

/// Sends what was sent, to a sandbox of its own.
async fn replayed(name: &str, theme: &Theme) -> Vec<Difference> {
    let sandbox = Sandbox::new(Options::default());
    let driven = sandbox.clone();
    let cluster = tokio::spawn(async move { driven.run().await });
    let client = Client::new(sandbox.service("exchanges"), "default");
    let mut conversation = Conversation::new(client, Duration::from_mins(1));
    let mut differences = Vec::new();
    for exchange in &theme.exchanges {
        let at = format!("{name}/{}#", exchange.name);
        let Some(real) = &exchange.answer else { panic!("{at} has no recorded answer") };
        match conversation.send(exchange).await {
            // With another status, the rest cannot be the same.
            Ok(answer) if answer.status != real.status => differences.push(Difference {
                at: format!("{at}/status"),
                real: shown(real),
                sandbox: shown(&answer),
            }),
            Ok(answer) => compare(&at, shown(real), shown(&answer), &mut differences),
            Err(error) => differences.push(Difference {
                at,
                real: shown(real),
                sandbox: Value::String(format!("{error:#}")),
            }),
        }
    }
    cluster.abort();
    differences
}

fn shown(answer: &Answer) -> Value {
    let Answer { status, content_type, body, events } = answer;
    json!({ "status": status, "type": content_type, "body": body, "events": events })
}

fn compare(at: &str, real: Value, sandbox: Value, differences: &mut Vec<Difference>) {
    match (real, sandbox) {
        (Value::Object(real), Value::Object(mut sandbox)) => {
            for (key, value) in real {
                let other = sandbox.remove(&key).unwrap_or_default();
                compare(&format!("{at}/{key}"), value, other, differences);
            }
            for (key, value) in sandbox {
                compare(&format!("{at}/{key}"), Value::Null, value, differences);
            }
        }
        (Value::Array(real), Value::Array(sandbox)) => {
            let mut sandbox = sandbox.into_iter();
            let before = real.len();
            for (index, value) in real.into_iter().enumerate() {
                let other = sandbox.next().unwrap_or_default();
                compare(&format!("{at}/{index}"), value, other, differences);
            }
            for (index, value) in sandbox.enumerate() {
                let at = format!("{at}/{}", before + index);
                compare(&at, Value::Null, value, differences);
            }
        }
        (real, sandbox) if real == sandbox => {}
        (real, sandbox) => differences.push(Difference { at: at.to_owned(), real, sandbox }),
    }
}

/// Whether a pattern, in which `*` stands for anything, matches a text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((before, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(before) else { return false };
    (0..=text.len()).filter(|at| text.is_char_boundary(*at)).any(|at| matches(rest, &text[at..]))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("exchanges")
}

fn files() -> Vec<PathBuf> {
    let entries = fs::read_dir(folder()).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn parsed<T: serde::de::DeserializeOwned>(file: &Path) -> T {
    let text = fs::read_to_string(file).unwrap();
    serde_norway::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
