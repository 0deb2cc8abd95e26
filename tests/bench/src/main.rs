//! `revshift-bench`: what revshift costs and how fast it is, each figure beside a peer that does the same
//! work in the same run. It prints what it finds, and judges nothing but whether a goal is met.

mod fanout;
mod latency;
mod live;
mod makespan;
mod measure;
mod memory;
mod migration;
mod output;
mod overload;
mod pipe;
mod real;
mod reflector;
mod report;
mod role;
mod simulation;
mod steps;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;
use tokio::time::Instant;

use report::Row;

/// Measures revshift beside its peers.
///
/// Prints one table of figures, each beside what a peer takes for the same work in the same run, with
/// the limit, the goal and whether it is met; writes the same as JSON. Build it with --release.
#[derive(Debug, Parser)]
#[command(name = "revshift-bench", version)]
struct Args {
    /// What to measure: P1a, P1b, P2, P3, P4, P5, P6, P8, P9, or the beginning of such a name; everything
    /// unless given
    names: Vec<String>,
    /// Smaller sizes and fewer rounds: everything within five minutes
    #[arg(long)]
    quick: bool,
    /// Where to write the figures as JSON
    #[arg(long, value_name = "FILE", default_value = "target/bench.json")]
    out: PathBuf,
    /// Make what P8 counts now the baseline
    #[arg(long)]
    renew_baseline: bool,
}

/// In the order in which they are measured: what needs the real bed comes together.
const NUMBERS: [&str; 9] = ["P1b", "P2", "P5", "P1a", "P3", "P4", "P6", "P8", "P9"];

fn main() -> ExitCode {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    let called = args.first().map(PathBuf::from).unwrap_or_default();
    if let Some(code) = role::masquerade(&called, args.clone()) {
        return code;
    }
    args.remove(0);
    if let Some(name) = args.first().and_then(|name| name.to_str())
        && let Some(code) = role::play(name, args.clone())
    {
        return code;
    }
    match measure_all(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            ExitCode::FAILURE
        }
    }
}

fn measure_all(args: &Args) -> Result<()> {
    let asked = |number: &str| {
        let begins = |name: &String| number.to_lowercase().starts_with(&name.to_lowercase());
        args.names.is_empty() || args.names.iter().any(begins)
    };
    let numbers: Vec<&str> = NUMBERS.into_iter().filter(|number| asked(number)).collect();
    ensure!(
        !numbers.is_empty(),
        "there is no {}, only {}",
        args.names.join(", "),
        NUMBERS.join(", ")
    );
    if cfg!(debug_assertions) {
        output::line("built without --release: the figures mean little");
    }
    // Fails only if there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new()?;
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    let mut bed = None;
    for number in &numbers {
        let begin = Instant::now();
        output::line(&format!("--- {number}"));
        match measured(number, args, &runtime, &mut bed) {
            Ok(found) => rows.extend(found),
            Err(error) => {
                output::error(&error.context(format!("{number} was not measured")));
                failed.push(*number);
            }
        }
        output::line(&format!("--- {number} took {:.1} s", begin.elapsed().as_secs_f64()));
    }
    // Dropped within the runtime, whose tasks it ends.
    runtime.block_on(async { drop(bed) });
    rows.sort_by_key(Row::number);
    output::data(&report::table(&rows));
    report::store(&rows, args.quick, &args.out)?;
    ensure!(failed.is_empty(), "not measured: {}", failed.join(", "));
    Ok(())
}

fn measured(
    number: &str,
    args: &Args,
    runtime: &tokio::runtime::Runtime,
    bed: &mut Option<revshift_testbed::RealBed>,
) -> Result<Vec<Row>> {
    let (quick, told) = (args.quick, &mut |text: &str| output::line(text));
    if ["P1b", "P2", "P5"].contains(&number) && bed.is_none() {
        *bed = Some(runtime.block_on(real::bed())?);
    }
    match (number, &*bed) {
        ("P1b", Some(bed)) => runtime.block_on(real::wall_clock::run(bed, quick, told)),
        ("P2", Some(bed)) => runtime.block_on(real::requests::run(bed, quick, told)),
        ("P5", Some(bed)) => runtime.block_on(real::failover::run(bed, quick, told)),
        ("P1a", _) => makespan::run(quick, told),
        ("P3", _) => runtime.block_on(latency::run(quick, told)),
        ("P4", _) => runtime.block_on(memory::run(quick, told)),
        ("P6", _) => runtime.block_on(fanout::run(quick, told)),
        ("P8", _) => steps::run(args.renew_baseline, told),
        ("P9", _) => overload::run(quick, told),
        _ => Ok(Vec::new()),
    }
}
