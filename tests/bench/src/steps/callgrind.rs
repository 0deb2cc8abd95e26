//! A run of the engine under callgrind, and what its file says.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::role::STEPS;

/// What a run took in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) instructions: u64,
    pub(crate) allocations: u64,
}

/// What takes memory from the C library, as Rust's allocator does.
const ALLOCATORS: [&str; 6] =
    ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc", "memalign"];

/// Counts a run with so many changes.
pub(crate) fn count(fixture: &Path, changes: u64, folder: &Path) -> Result<Counts> {
    let file = folder.join(format!("callgrind.{changes}"));
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(std::env::current_exe()?)
        .arg(STEPS)
        .arg(fixture)
        .arg(changes.to_string())
        .stdin(Stdio::null())
        .output()
        .context("valgrind is needed to count instructions")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "valgrind ended with {}:\n{said}", output.status);
    let counts = parse(&std::fs::read_to_string(file)?)?;
    ensure!(counts.allocations > 0, "callgrind saw no allocation");
    Ok(counts)
}

/// Reads callgrind's format: a function is named once, `(7) malloc`, and called `(7)` later on; a
/// line `calls=` says how often the `cfn=` before it was called.
fn parse(text: &str) -> Result<Counts> {
    let mut counts = Counts::default();
    let mut allocators: Vec<&str> = Vec::new();
    let mut callee = "";
    for line in text.lines() {
        if let Some(totals) = line.strip_prefix("totals: ") {
            let instructions = totals.split_whitespace().next().unwrap_or_default();
            counts.instructions = instructions.parse().context("totals")?;
        } else if let Some(named) = line.strip_prefix("cfn=").or_else(|| line.strip_prefix("fn=")) {
            let (id, name) = named.split_once(' ').unwrap_or((named, ""));
            if ALLOCATORS.contains(&name) {
                allocators.push(id);
            }
            callee = id;
        } else if let Some(calls) = line.strip_prefix("calls=")
            && allocators.contains(&callee)
        {
            let calls = calls.split_whitespace().next().unwrap_or_default();
            counts.allocations += calls.parse::<u64>().context("calls")?;
        }
    }
    ensure!(counts.instructions > 0, "callgrind's file has no totals");
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_allocators_are_counted_wherever_they_come_from() {
        let text = "events: Ir\nfn=(1) main\n0 5\ncfn=(2) malloc\ncalls=3 0\n0 30\n\
                    cfn=(3) other\ncalls=7 0\n0 1\nfn=(4) more\n0 5\ncfn=(2)\ncalls=4 0\n0 40\n\
                    fn=(5) again\ncfn=(6) realloc\ncalls=1 0\n0 2\ntotals: 1234\n";
        assert_eq!(parse(text).unwrap(), Counts { instructions: 1234, allocations: 8 });
        assert!(parse("events: Ir\n").is_err());
    }
}
