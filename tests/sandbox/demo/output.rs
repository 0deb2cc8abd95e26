//! Everything that the program itself prints. What the commands print is theirs.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the program's only way to speak")]

use std::env;
use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Result;
use revshift_sandbox::{Fault, FaultKind};

use crate::application::{FIRST, NEW, OLD};
use crate::bed::{Bed, Filling};
use crate::roles;
use crate::server::Server;

/// Whether somebody reads along.
pub(crate) fn watched() -> bool {
    std::io::stdout().is_terminal()
}

/// What this is.
pub(crate) fn opening() {
    println!("{}", bold("revshift on a simulated cluster"));
    println!("Server and command line are the real ones; Kubernetes is simulated in this process.");
}

/// What runs now.
pub(crate) fn started(bed: &Bed, server: &Server) {
    println!("cluster  {}", bed.address());
    println!("server   {}", server.address);
}

/// What faults there are.
pub(crate) fn faults() {
    let names: Vec<_> = FaultKind::ALL.iter().map(|kind| name_of(*kind)).collect();
    let wide = names.iter().map(String::len).max().unwrap_or_default();
    for (kind, name) in FaultKind::ALL.iter().zip(names) {
        let place = Fault::new(*kind).place.to_string();
        println!(
            "{} {} {}",
            bold(format!("{name:wide$}")),
            dim(format!("{place:11}")),
            kind.summary()
        );
    }
}

/// A kind with the duration that it takes.
fn name_of(kind: FaultKind) -> String {
    match Fault::new(kind).extent {
        Some(extent) => format!("{}={extent:#}", kind.name()),
        None => kind.name().to_owned(),
    }
}

/// What will go wrong.
pub(crate) fn armed(faults: &[(Fault, u64)]) {
    for (fault, _) in faults {
        eprintln!("fault    {fault}");
    }
}

/// A fault that struck just now.
pub(crate) fn struck((fault, times): &(Fault, u64)) {
    let plural = if *times == 1 { "" } else { "s" };
    eprintln!("fault    {fault} has struck {times} time{plural}");
}

/// How often each fault has struck in the end.
pub(crate) fn all_struck(faults: &[(Fault, u64)]) {
    if !faults.is_empty() {
        eprintln!();
    }
    faults.iter().for_each(struck);
}

/// A part of the show.
pub(crate) fn act(text: &str) {
    println!("\n{}", cyan(format!("# {text}")));
}

/// A command, before it runs.
pub(crate) fn command(line: &str) {
    println!("\n{} {}", dim("$"), bold(format!("revshift {line}")));
    // The command writes to the same streams, without knowing of this buffer.
    let _ = std::io::stdout().flush();
}

/// The key that the show presses.
pub(crate) fn control_c() {
    println!("^C");
}

/// What to do after the show.
pub(crate) fn closing() {
    let program = program();
    println!("\n{}", bold("That was all of it; cluster and server are gone."));
    println!("Try next:");
    for (command, why) in [
        (format!("{program} up"), "the same cluster to play with, also with kubectl"),
        (format!("{program} up --namespaces 2000"), "a large one"),
        (format!("{program} --faults"), "what can go wrong on demand, with --fault"),
        (format!("{program} revshift help"), "what revshift can do"),
    ] {
        println!("  {} {}", bold(format!("{command:63}")), dim(format!("# {why}")));
    }
}

/// How far a cluster is; says it on a terminal only, on one line.
pub(crate) fn filling(filling: Filling) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    let Filling { namespaces, pods, ready, done } = filling;
    eprint!("\r\x1b[2K{namespaces} namespaces, {ready} of {pods} pods ready");
    if done {
        eprint!("\r\x1b[2K");
    }
}

/// What a shell needs to talk to what runs, as it can be pasted; the rest is comment.
pub(crate) fn up(bed: &Bed, server: &Server, large: bool) -> Result<()> {
    let program = env::current_exe()?;
    let lines = [
        format!("export KUBECONFIG={}", quoted(&bed.kubeconfig())),
        format!("export REVSHIFT_SERVER={}", server.address),
        format!("alias revshift={}", quoted_text(&format!("{} {}", quoted(&program), roles::CLI))),
    ];
    // At once, as a reader may leave after the line that it wants.
    std::io::stdout().write_all(format!("{}\n", lines.join("\n")).as_bytes())?;
    let first = if large { "team-0001" } else { FIRST };
    eprintln!();
    eprintln!("Paste these lines into another terminal, and try there:");
    for command in [
        "kubectl get istiocontrolplanes -n istio-system".to_owned(),
        "revshift namespaces".to_owned(),
        format!("revshift migrate --from {OLD} --to {NEW} -n {first}"),
        format!("kubectl get pods -n {first} -L istio.io/rev --watch"),
        "kubectl get migrations".to_owned(),
    ] {
        eprintln!("  {command}");
    }
    eprintln!(
        "kubectl can get (also -o yaml and --watch), label, annotate, scale, delete, rollout,"
    );
    eprintln!("create -f and apply -f; what is not simulated is refused with 501.");
    eprintln!("The server's log is {}.", server.log.display());
    eprintln!("Ctrl-C ends cluster and server.");
    Ok(())
}

/// The end that was asked for.
pub(crate) fn interrupted() {
    eprintln!("ended: cluster and server are gone");
}

/// Why the program fails.
pub(crate) fn error(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}

/// How the program was probably started.
fn program() -> &'static str {
    if cfg!(debug_assertions) {
        "cargo run -p revshift-sandbox --"
    } else {
        "cargo run --release -p revshift-sandbox --"
    }
}

fn quoted(path: &Path) -> String {
    quoted_text(&PathBuf::from(path).display().to_string())
}

fn quoted_text(text: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+:,@%".contains(letter);
    if text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

fn bold(text: impl Display) -> String {
    styled("1", text)
}

fn dim(text: impl Display) -> String {
    styled("2", text)
}

fn cyan(text: impl Display) -> String {
    styled("36", text)
}

fn styled(code: &str, text: impl Display) -> String {
    let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || env::var_os("TERM").is_some_and(|term| term == "dumb");
    if plain || !watched() { text.to_string() } else { format!("\x1b[{code}m{text}\x1b[0m") }
}
