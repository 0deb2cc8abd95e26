//! The pace of calls: cut at signs of load, raised by steps, and never hindered without a sign.

use proptest::prelude::*;
use revshift_core::limiter::{Limiter, Sign};
use std::time::Duration;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn rate(limiter: &Limiter) -> Option<u64> {
    limiter.slowed().map(|slowed| slowed.rate)
}

/// So many calls at once, all answered after `took`.
fn burst(limiter: &mut Limiter, calls: u32, at: Duration, took: Duration, too_many: bool) {
    (0..calls).for_each(|_| limiter.begin(at));
    (0..calls).for_each(|_| limiter.answered(at, too_many, at + took));
}

#[test]
fn without_a_sign_of_load_only_what_is_unanswered_is_bounded() {
    let mut limiter = Limiter::default();
    let mut begun = 0;
    while limiter.open(ms(5)) {
        limiter.begin(ms(5));
        begun += 1;
    }
    assert_eq!((begun, limiter.ready(), rate(&limiter)), (64, None, None));
    limiter.answered(ms(5), false, ms(9));
    assert!(limiter.open(ms(9)));
}

#[test]
fn a_storm_of_refusals_cuts_once_and_time_raises_step_by_step() {
    let mut limiter = Limiter::default();
    burst(&mut limiter, 40, ms(1000), ms(5), true);
    // Half of what was tried within a second; the other refusals are of the same try.
    assert_eq!(rate(&limiter), Some(20_000));
    assert!(!limiter.open(ms(1005)));
    assert_eq!(limiter.ready(), Some(ms(1055)));
    assert!(limiter.open(ms(1055)));
    burst(&mut limiter, 1, ms(1055), ms(5), true);
    assert_eq!(rate(&limiter), Some(16_000));
    assert!(limiter.open(ms(5060)));
    assert_eq!(rate(&limiter), Some(20_000));
    let told = limiter.slowed().unwrap().tell();
    assert!(told.contains("20.0 calls a second") && told.contains("429"), "{told}");
    assert!(limiter.open(ms(200_000)));
    assert_eq!(rate(&limiter), None);
}

#[test]
fn refusals_never_stop_calls_altogether() {
    let mut limiter = Limiter::default();
    let mut now = ms(0);
    for _ in 0..100 {
        now = limiter.ready().unwrap_or(now);
        assert!(limiter.open(now));
        burst(&mut limiter, 1, now, ms(1), true);
    }
    assert!(now <= ms(100_000), "a call a second at least: {now:?}");
    assert!(rate(&limiter).is_some_and(|rate| rate >= 1000));
}

#[test]
fn calls_that_become_slow_are_a_sign_and_slow_ones_from_the_start_are_not() {
    let mut always = Limiter::default();
    (0..9).for_each(|i| burst(&mut always, 16, ms(i * 1000), ms(900), false));
    assert_eq!(rate(&always), None);

    let mut limiter = Limiter::default();
    burst(&mut limiter, 16, ms(0), ms(20), false);
    burst(&mut limiter, 16, ms(1000), ms(150), false);
    assert_eq!(rate(&limiter), None, "a fifth of a second is quick enough");
    burst(&mut limiter, 16, ms(3000), ms(300), false);
    let slowed = limiter.slowed().unwrap();
    assert_eq!((slowed.rate, slowed.sign), (8_000, Sign::Slow { now: ms(300), best: ms(20) }));
    assert!(slowed.tell().contains("more than 300 ms, at best 20 ms"), "{}", slowed.tell());
}

proptest! {
    /// Whatever is answered, a call is possible again at the time that is named, and between two cuts
    /// the calls keep to the rate.
    #[test]
    fn calls_keep_to_the_rate(answers in prop::collection::vec((0u64..400, any::<bool>()), 1..200)) {
        let mut limiter = Limiter::default();
        let mut now = Duration::ZERO;
        for (took, too_many) in answers {
            if !limiter.open(now) {
                now = limiter.ready().expect("no call is unanswered");
                prop_assert!(limiter.open(now));
            }
            let before = now;
            limiter.begin(now);
            if let Some(slowed) = limiter.slowed() {
                let gap = limiter.ready().unwrap().saturating_sub(before);
                prop_assert!(gap.as_micros() >= 1_000_000_000 / u128::from(slowed.rate));
            }
            now += ms(took);
            limiter.answered(before, too_many, now);
        }
    }
}
