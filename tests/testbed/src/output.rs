//! Everything that the program prints: results and the kubeconfig on standard output, progress and
//! errors on standard error.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the program's only way to speak")]

use std::{path::Path, time::Duration};

use revshift_testbed::{Built, RealBed, Usage};
use revshift_tests::Lacking;

use crate::stage::{Outcome, Outcomes};

/// One program of a build.
pub(crate) fn built(program: &Built) {
    if let Some(reason) = &program.lacking {
        eprintln!("lacks {:24} {reason}", program.program);
        return;
    }
    match program.took {
        Some(took) => eprintln!("built {:24} {}", program.program, seconds(took)),
        None => eprintln!("built {:24} is current", program.program),
    }
}

/// A step of a bed's start.
pub(crate) fn step(name: &str, took: Duration) {
    eprintln!("start {name:24} {}", seconds(took));
}

/// The memory of all processes.
pub(crate) fn usage(usage: &[Usage]) {
    let mut total = 0;
    for process in usage {
        total += process.resident_kib;
        eprintln!("memory {:23} {:>5} MiB", process.name, process.resident_kib / 1024);
    }
    eprintln!("memory {:23} {:>5} MiB", "all", total / 1024);
}

/// What a shell needs to talk to the bed.
pub(crate) fn up(bed: &RealBed) {
    let kubeconfig = bed.kubeconfig().display();
    println!("export KUBECONFIG={kubeconfig}");
    eprintln!(
        "logs are in {}; kubectl is {}",
        bed.run_dir().display(),
        bed.bin("kubectl").display()
    );
    eprintln!(
        "a server on it: cargo run -p revshift-server -- --kubeconfig {kubeconfig} --install-crds"
    );
    eprintln!("the CLI at that: cargo run -p revshift -- planes");
    eprintln!(
        "  cargo run -p revshift -- migrate --from cp-v113x --to cp-v115x -n smm-demo --dry-run"
    );
    eprintln!("Ctrl-C ends the bed");
}

/// One finished scenario, or one that the cluster lacks something for.
pub(crate) fn scenario(name: &str, took: Duration, result: &anyhow::Result<()>) {
    match result {
        Ok(()) => println!("ok     {name} {}", seconds(took)),
        Err(lacking) if lacking.is::<Lacking>() => println!("skip   {name}: {lacking}"),
        Err(error) => println!("FAILED {name} {}\n       {error:#}", seconds(took)),
    }
}

/// The ends of logs, each under its name.
pub(crate) fn logs(tails: &[(String, String)]) {
    println!("The logs' ends; REVSHIFT_TESTBED_KEEP=1 keeps the whole run directory.");
    for (name, tail) in tails {
        println!("---- {name}\n{tail}");
    }
}

/// What revshift stored when a scenario failed.
pub(crate) fn stored(objects: &anyhow::Result<String>) {
    println!("---- migrations and shards");
    match objects {
        Ok(objects) => println!("{}", objects.trim_end()),
        Err(error) => println!("{error:#}"),
    }
}

/// Where the logs stay, when they do.
pub(crate) fn kept(bed: &RealBed) {
    eprintln!("the run directory stays: {}", bed.run_dir().display());
}

/// One file of exchanges.
pub(crate) fn recorded(file: &Path, exchanges: usize) {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    println!("recorded {name:24} {exchanges} exchanges");
}

/// The last lines of a run: what failed, what is not to be overlooked, and the counts.
pub(crate) fn summary(outcomes: &Outcomes) {
    let (mut passed, mut skipped, mut flaky, mut failed) = (0, 0, 0, 0);
    for (name, outcome) in outcomes {
        match outcome {
            Outcome::Passed => passed += 1,
            Outcome::Skipped => skipped += 1,
            Outcome::Flaky { first, second } => {
                flaky += 1;
                println!(
                    "!!!!!! FLAKY {name}: it passed on a new bed ({}), but failed before: {first}",
                    seconds(*second)
                );
            }
            Outcome::Failed(error) => {
                failed += 1;
                println!("!!!!!! FAILED {name}: {error}");
            }
        }
    }
    println!("{passed} passed, {skipped} skipped, {flaky} FLAKY, {failed} failed");
}

/// Why the program fails.
pub(crate) fn error(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}
