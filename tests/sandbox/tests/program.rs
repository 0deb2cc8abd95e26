//! The program: what `up` prints works as printed, and nothing stays behind.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

const PROGRAM: &str = env!("CARGO_BIN_EXE_revshift-sandbox");

/// Starts `up` and reads the variables that it tells.
async fn up(arguments: &[&str]) -> (Child, BTreeMap<String, String>) {
    let said = tempfile::NamedTempFile::new().unwrap();
    let mut child = Command::new(PROGRAM)
        .arg("up")
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(said.reopen().unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut variables = BTreeMap::new();
    loop {
        let line = timeout(Duration::from_mins(1), lines.next_line()).await.unwrap().unwrap();
        let line = line.unwrap_or_else(|| {
            panic!("up ended: {}", std::fs::read_to_string(said.path()).unwrap())
        });
        let Some(variable) = line.strip_prefix("export ") else {
            assert!(line.starts_with("alias revshift="), "{line}");
            return (child, variables);
        };
        let (name, value) = variable.split_once('=').unwrap();
        variables.insert(name.to_owned(), value.to_owned());
    }
}

async fn revshift(variables: &BTreeMap<String, String>, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(PROGRAM)
        .arg("revshift")
        .args(arguments)
        .envs(variables)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8_lossy(&text).into_owned())
}

async fn signal(name: &str, child: &Child) {
    let id = child.id().unwrap().to_string();
    Command::new("kill").args([name, &id]).status().await.unwrap();
}

#[tokio::test]
async fn what_up_prints_works_until_ctrl_c() {
    let (mut child, variables) = up(&["--namespaces", "3"]).await;
    let (code, text) = revshift(&variables, &["namespaces"]).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("team-0003"), "{text}");
    let migrate = ["migrate", "--from", "cp-v113x", "--to", "cp-v115x", "-n", "team-0001", "--yes"];
    let (code, text) = revshift(&variables, &migrate).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("done: 1 of 1 moved"), "{text}");

    signal("-INT", &child).await;
    let status = timeout(Duration::from_secs(10), child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(130));
    assert!(!Path::new(&variables["KUBECONFIG"]).exists());
    gone(&variables).await;
}

#[tokio::test]
async fn the_server_does_not_outlive_a_killed_program() {
    let (mut child, variables) = up(&["--namespaces", "1"]).await;
    signal("-KILL", &child).await;
    child.wait().await.unwrap();
    gone(&variables).await;
    // Nobody was left to remove it.
    let folder = Path::new(&variables["KUBECONFIG"]).parent().unwrap();
    std::fs::remove_dir_all(folder).unwrap();
}

/// Waits until nothing listens any more where the server was.
async fn gone(variables: &BTreeMap<String, String>) {
    let address = &variables["REVSHIFT_SERVER"];
    for _ in 0..100 {
        if tokio::net::TcpStream::connect(address).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the server at {address} is still there");
}
