//! From a schedule that fails to a simpler one that still does.

use super::schedule::{Event, Schedule};

/// So many runs may be tried.
const TRIES: usize = 400;

/// The simplest schedule that was found to fail: fewer replicas and events, earlier requests,
/// simpler events.
pub(crate) fn shrink(failing: Schedule, fails: impl Fn(&Schedule) -> bool) -> Schedule {
    let mut best = failing;
    let mut tries = 0;
    loop {
        let simpler = simpler(&best).find(|candidate| {
            tries += 1;
            tries <= TRIES && fails(candidate)
        });
        match simpler {
            Some(simpler) => best = simpler,
            None => return best,
        }
    }
}

/// Schedules that are simpler by one thing, those that are much simpler first.
fn simpler(schedule: &Schedule) -> impl Iterator<Item = Schedule> {
    let fewer = (1..schedule.replicas).map(|replicas| Schedule { replicas, ..schedule.clone() });
    let dropped = (0..schedule.events.len()).map(|index| {
        let mut simpler = schedule.clone();
        simpler.events.remove(index);
        simpler
    });
    let with = |index: usize, event: (usize, Event)| {
        let mut simpler = schedule.clone();
        simpler.events[index] = event;
        simpler.events.sort_by_key(|(at, _)| *at);
        simpler
    };
    let changed = schedule.events.iter().enumerate().flat_map(move |(index, &(at, event))| {
        let kinds = Event::ALL.iter().map(|(kind, _)| *kind).filter(move |kind| *kind < event);
        let kinds = kinds.map(move |kind| (at, kind));
        let earlier = (0..at).map(move |at| (at, event));
        kinds.chain(earlier).map(move |event| (index, event))
    });
    let changed: Vec<Schedule> = changed.map(|(index, event)| with(index, event)).collect();
    fewer.chain(dropped).chain(changed).collect::<Vec<_>>().into_iter()
}

#[test]
fn what_a_failure_does_not_need_is_left_out() {
    let failing = "2 replicas: pause@3 crash-after@40 conflict@50 freeze-before@60";
    let found = shrink(failing.parse().unwrap(), |schedule| {
        schedule.events.iter().any(|(at, event)| *at >= 12 && *event >= Event::CrashBefore)
    });
    assert_eq!(found.to_string(), "1 replica: crash-before@12");
}
