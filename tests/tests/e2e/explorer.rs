//! The explorer: a migration of three namespaces, run again and again while things go wrong at its
//! requests, with one replica and with two. After each run oracles look at the whole history.
//!
//! `cargo test` runs a crash before and after every request that writes, and samples of the rest.
//! `REVSHIFT_EXPLORE=N` runs N schedules: every fault at every request as far as half of N goes, and
//! samples; `REVSHIFT_SEED=S` takes other samples. A schedule that fails is printed in its simplest form:
//! `REVSHIFT_SCHEDULE='…' cargo test -p revshift-tests --test e2e replay` runs it alone.

mod client;
mod leadership;
mod oracle;
mod schedule;
mod shrink;
mod story;
mod tampered;
mod world;

use anyhow::Result;
use schedule::{Event, Schedule};
use std::fmt::{Display, Write as _};
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use world::Run;

/// Samples of each family, where no number was asked for.
const SAMPLES: u64 = 8;
/// So many of the schedules that fail are made simpler.
const SHRUNK: usize = 3;

/// The undisturbed runs, by the number of replicas.
struct Calm([Run; 2]);

/// Schedules of one sort.
struct Family {
    name: &'static str,
    schedules: Vec<Schedule>,
}

#[test]
fn no_schedule_changes_the_end() {
    let calm = Calm([1, 2].map(|replicas| {
        world::run(&Schedule::calm(replicas)).expect("undisturbed, the migration succeeds")
    }));
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let families =
        families(&calm, number("REVSHIFT_SEED").unwrap_or(1), number("REVSHIFT_EXPLORE"));
    let total: usize = families.iter().map(|family| family.schedules.len()).sum();
    let mut failed = Vec::new();
    for Family { name, schedules } in &families {
        failed.extend(explore(&calm, schedules));
        say(format_args!("explored {} schedules: {name}", schedules.len()));
    }
    say(format_args!("explored {total} schedules, {} failed", failed.len()));
    let mut told = String::new();
    for (index, (schedule, defect)) in failed.iter().enumerate() {
        let _ = writeln!(told, "{schedule}\n    {defect}");
        if index < SHRUNK {
            let simplest = shrink::shrink(schedule.clone(), |one| calm.defect(one).is_some());
            let defect = calm.defect(&simplest).unwrap_or_default();
            let _ = writeln!(
                told,
                "  simplest: REVSHIFT_SCHEDULE='{simplest}' cargo test -p revshift-tests --test e2e \
                 replay\n    {defect}"
            );
        }
    }
    assert!(failed.is_empty(), "{} failed:\n{told}", failed.len());
}

/// Runs the schedule that `REVSHIFT_SCHEDULE` holds, or an undisturbed one.
#[test]
fn replay() {
    let text = std::env::var("REVSHIFT_SCHEDULE").unwrap_or_else(|_| "2 replicas:".to_owned());
    let schedule: Schedule = text.parse().expect("REVSHIFT_SCHEDULE is a schedule");
    let calm = Calm([1, 2].map(|replicas| {
        world::run(&Schedule::calm(replicas)).expect("undisturbed, the migration succeeds")
    }));
    if let Ok(run) = world::run(&schedule) {
        print!("{}", run.log());
    }
    if let Some(defect) = calm.defect(&schedule) {
        panic!("{schedule}\n{defect}");
    }
}

/// Schedules that failed once.
#[test]
fn what_failed_once_ends_well() {
    let calm = Calm([1, 2].map(|replicas| {
        world::run(&Schedule::calm(replicas)).expect("undisturbed, the migration succeeds")
    }));
    // A leader whose watch of namespaces hung took a label that was written for one that was changed.
    for text in [
        "2 replicas: hang-before@45 crash-before@78",
        "2 replicas: hang-before@45 crash-before@100 hang-before@157",
    ] {
        let defect = calm.defect(&text.parse().expect("it is a schedule"));
        assert_eq!(defect, None, "{text}");
    }
}

#[test]
fn a_schedule_gives_the_same_log_twice() {
    for text in [
        "1 replica:",
        "1 replica: crash-after@30 hang-after@50",
        "1 replica: unavailable@5 too-many-requests@12 reply-lost@40",
        "2 replicas: freeze-before@70 crash-before@140",
        "2 replicas: injector-down@60 pause@80 resume@90 retry@110 rollback@120",
    ] {
        let schedule: Schedule = text.parse().unwrap();
        let [one, two] = [(); 2].map(|()| world::run(&schedule).expect(text).log());
        let differs = one.lines().zip(two.lines()).find(|(one, two)| one != two);
        assert!(one == two, "{text}: {differs:?}");
    }
}

impl Calm {
    /// What is wrong with a schedule, if anything is.
    fn defect(&self, schedule: &Schedule) -> Option<String> {
        let run = match world::run(schedule) {
            Ok(run) => run,
            Err(error) => return Some(format!("{error:#}")),
        };
        let calm = &self.0[schedule.replicas - 1];
        oracle::differs(&calm.end, &run.end)
    }
}

fn families(calm: &Calm, seed: u64, asked: Option<u64>) -> Vec<Family> {
    let all = asked.is_some();
    let requests = |replicas: usize| &calm.0[replicas - 1].requests;
    let mut single = Vec::new();
    for (at, writes) in requests(1).iter().enumerate() {
        let events = if *writes { &Event::WRITING[..] } else { &Event::READING[..] };
        for (index, event) in events.iter().enumerate() {
            // A crash at each; of the rest, as many as leave the tests quick.
            let due =
                if *writes { index < 2 || (at + index) % 3 == 0 } else { (at + index) % 4 == 0 };
            if all || due {
                single.push(Schedule::single(1, at, *event));
            }
        }
    }
    let mut replica = Vec::new();
    for (at, writes) in requests(2).iter().enumerate() {
        for (index, event) in Event::REPLICA.iter().enumerate() {
            if all || (at + index) % if *writes { 4 } else { 12 } == 0 {
                replica.push(Schedule::single(2, at, *event));
            }
        }
    }
    let samples = asked.map_or(SAMPLES, |asked| {
        let half = usize::try_from(asked / 2).unwrap_or(usize::MAX).max(1);
        let stride = (single.len() + replica.len()).div_ceil(half);
        single = single.drain(..).step_by(stride).collect();
        replica = replica.drain(..).step_by(stride).collect();
        let rest = asked.saturating_sub((single.len() + replica.len()) as u64);
        rest.div_ceil(4)
    });
    let faults = [&Event::WRITING[..], &Event::REPLICA[2..]].concat();
    let story = [&Event::STORY[..], &Event::STORY, &Event::WRITING[..2]].concat();
    let story_of_two = [&story[..], &Event::REPLICA[2..]].concat();
    let sample = |replicas: usize, count: std::ops::RangeInclusive<usize>, events: &[Event]| {
        // What goes wrong makes a run longer.
        let requests = requests(replicas).len() * 3 / 2;
        (0..samples)
            .map(|number| {
                Schedule::sample((seed, number), replicas, requests, count.clone(), events)
            })
            .collect()
    };
    vec![
        Family { name: "a fault at a request", schedules: single },
        Family { name: "one of two replicas killed or frozen", schedules: replica },
        Family { name: "two or three faults", schedules: sample(1, 2..=3, &Event::WRITING) },
        Family {
            name: "two or three faults with two replicas",
            schedules: sample(2, 2..=3, &faults),
        },
        Family { name: "people intervene", schedules: sample(1, 1..=6, &story) },
        Family {
            name: "people intervene with two replicas",
            schedules: sample(2, 1..=6, &story_of_two),
        },
    ]
}

/// Runs schedules on all cores; answers those that fail, with what is wrong.
fn explore(calm: &Calm, schedules: &[Schedule]) -> Vec<(Schedule, String)> {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(schedule) = schedules.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Some(defect) = calm.defect(schedule) {
                        say(format_args!("failed: {schedule}"));
                        failed.lock().unwrap().push((schedule.clone(), defect));
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap()
}

/// Prints a line that `cargo test` shows though the test passes.
fn say(line: impl Display) {
    let _: Result<(), _> = writeln!(std::io::stderr(), "{line}");
}
