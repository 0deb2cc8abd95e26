//! Windows and freezes: how they are written, and when something may begin.

use super::world::{all, migration, problem, with_state};
use jiff::Timestamp;
use revshift_core::admission::{self, Waits};
use revshift_core::calendar::{Cause, Freeze, Hold, Window, hold, local, moment, next_change};
use revshift_core::migration::{Migration, MoveState};
use std::collections::BTreeSet;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn windows(texts: &[&str]) -> Vec<Window> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn freeze(from: &str, to: &str, reason: &str) -> Freeze {
    Freeze { from: at(from), to: at(to), reason: reason.to_owned() }
}

#[test]
fn a_window_is_written_in_one_form_however_it_was_read() {
    for (text, shown) in [
        ("Mon-Fri 22:00-04:00 Europe/Berlin", "Mon-Fri 22:00-04:00 Europe/Berlin"),
        ("fri,mon-THU,wed 22:00-04:00 europe/berlin", "Mon-Fri 22:00-04:00 Europe/Berlin"),
        ("Mon-Fri,Sun 00:00-24:00 UTC", "Mon-Fri,Sun 00:00-24:00 UTC"),
        ("Sat-Mon 01:00-02:00 Asia/Tokyo", "Mon,Sat,Sun 01:00-02:00 Asia/Tokyo"),
        ("Sat-Sun 01:00-02:00 UTC", "Sat,Sun 01:00-02:00 UTC"),
        ("Mon,Wed 01:00-02:00 UTC", "Mon,Wed 01:00-02:00 UTC"),
        ("Mon-Sun  01:00-02:00   UTC", "daily 01:00-02:00 UTC"),
        ("Daily 23:59-00:00 America/St_Johns", "daily 23:59-00:00 America/St_Johns"),
    ] {
        let window: Window = text.parse().unwrap();
        assert_eq!(window.to_string(), shown, "{text}");
        assert_eq!(shown.parse::<Window>().unwrap(), window);
    }
}

#[test]
fn what_is_no_window_is_refused_with_what_is_wrong_and_what_is_right() {
    for (text, word) in [
        ("", "three parts"),
        ("Mon-Fri 22:00-04:00", "three parts"),
        ("22:00-04:00 Europe/Berlin Mon", "`22:00` is no day"),
        ("Mon,,Tue 22:00-04:00 UTC", "`` is no day"),
        ("Montag 22:00-04:00 UTC", "`Montag` is no day"),
        ("Mon 22:00 UTC", "`22:00` has no beginning and end"),
        ("Mon 22:60-04:00 UTC", "`22:60` is no time"),
        ("Mon 2:00-04:00 UTC", "`2:00` is no time"),
        ("Mon 22:00-24:01 UTC", "`24:01` is no time"),
        ("Mon 22:00-04:00-05:00 UTC", "`04:00-05:00` is no time"),
        ("Mon +1:00-04:00 UTC", "`+1:00` is no time"),
        ("Mon 24:00-04:00 UTC", "24:00 is an end only"),
        ("Mon 04:00-04:00 UTC", "`04:00-04:00` is empty"),
        ("Mon 22:00-04:00 Europe/Bern", "`Europe/Bern` is no time zone"),
        ("Mon 22:00-04:00 +01:00", "`+01:00` is no time zone"),
    ] {
        let why = text.parse::<Window>().unwrap_err();
        assert!(why.contains(word), "{text:?}: {why}");
        assert!(why.contains("such as `Mon-Fri 22:00-04:00 Europe/Berlin`"), "{why}");
    }
}

/// Each window with moments, whether it is open then, and when that changes.
#[test]
fn a_window_opens_and_closes_by_its_own_clock() {
    let night = "Mon-Fri 22:00-04:00 Europe/Berlin";
    for (window, now, open, change) in [
        // Over midnight, and from Friday into Saturday; not from Sunday into Monday.
        (night, "2026-11-27T20:59:59Z", false, "2026-11-27T21:00:00Z"),
        (night, "2026-11-27T21:00:00Z", true, "2026-11-28T03:00:00Z"),
        (night, "2026-11-28T02:59:59Z", true, "2026-11-28T03:00:00Z"),
        (night, "2026-11-28T03:00:00Z", false, "2026-11-30T21:00:00Z"),
        (night, "2026-11-29T23:00:00Z", false, "2026-11-30T21:00:00Z"),
        // In summer an hour earlier by UTC.
        (night, "2026-07-01T20:00:00Z", true, "2026-07-02T02:00:00Z"),
        ("Sat,Sun 00:00-24:00 UTC", "2026-11-28T23:59:59Z", true, "2026-11-29T00:00:00Z"),
        ("Sat,Sun 00:00-24:00 UTC", "2026-11-29T23:00:00Z", true, "2026-11-30T00:00:00Z"),
        ("Sun 12:00-13:00 Asia/Tokyo", "2026-11-29T03:30:00Z", true, "2026-11-29T04:00:00Z"),
        ("Sun 12:00-13:00 Asia/Tokyo", "2026-11-29T04:00:00Z", false, "2026-12-06T03:00:00Z"),
        // The hour from 02:00 is skipped on March 29: what lies in it is not there at all,
        ("Sun 02:15-02:45 Europe/Berlin", "2026-03-29T01:00:00Z", false, "2026-04-05T00:15:00Z"),
        ("Sun 02:00-03:00 Europe/Berlin", "2026-03-29T01:00:00Z", false, "2026-04-05T00:00:00Z"),
        // and what begins or ends in it does so at the leap.
        ("Sun 02:30-04:00 Europe/Berlin", "2026-03-29T00:59:59Z", false, "2026-03-29T01:00:00Z"),
        ("Sun 02:30-04:00 Europe/Berlin", "2026-03-29T01:00:00Z", true, "2026-03-29T02:00:00Z"),
        ("Sun 01:00-02:30 Europe/Berlin", "2026-03-29T00:59:59Z", true, "2026-03-29T01:00:00Z"),
        ("Sat 22:00-02:30 Europe/Berlin", "2026-03-29T01:00:00Z", false, "2026-04-04T20:00:00Z"),
        // The hour from 02:00 is shown twice on October 25: the first time counts.
        ("Sun 02:30-04:00 Europe/Berlin", "2026-10-25T00:29:59Z", false, "2026-10-25T00:30:00Z"),
        ("Sun 02:30-04:00 Europe/Berlin", "2026-10-25T01:15:00Z", true, "2026-10-25T03:00:00Z"),
        ("Sun 01:00-02:30 Europe/Berlin", "2026-10-25T00:29:59Z", true, "2026-10-25T00:30:00Z"),
        ("Sun 01:00-02:30 Europe/Berlin", "2026-10-25T01:15:00Z", false, "2026-11-01T00:00:00Z"),
        ("Sun 02:15-02:45 Europe/Berlin", "2026-10-25T01:20:00Z", false, "2026-11-01T01:15:00Z"),
        // A whole Sunday has 25 hours then.
        ("Sun 00:00-24:00 Europe/Berlin", "2026-10-24T22:00:00Z", true, "2026-10-25T23:00:00Z"),
        // Half an hour of daylight saving, and a year that the rules at the end of the database tell.
        (
            "Sun 02:15-03:00 Australia/Lord_Howe",
            "2026-10-03T15:29:59Z",
            false,
            "2026-10-03T15:30:00Z",
        ),
        ("Sun 02:30-04:00 Europe/Berlin", "2061-03-27T00:59:59Z", false, "2061-03-27T01:00:00Z"),
    ] {
        let window = windows(&[window]);
        let (now, change) = (at(now), at(change));
        let held = hold(&window, &[], now);
        assert_eq!(held.is_none(), open, "{} at {now}", window[0]);
        assert_eq!(next_change(&window, &[], now), Some(change), "{} at {now}", window[0]);
        if let Some(held) = held {
            assert_eq!(held, Hold { cause: Cause::Window, until: Some(change) });
        }
    }
}

#[test]
fn without_windows_it_is_always_open() {
    assert_eq!(hold(&[], &[], at("2026-11-27T12:00:00Z")), None);
    assert_eq!(next_change(&[], &[], at("2026-11-27T12:00:00Z")), None);
}

#[test]
fn of_several_windows_the_first_to_open_counts() {
    let both = windows(&["Sat 10:00-12:00 UTC", "daily 11:00-13:00 UTC"]);
    let until = |now: &str| hold(&both, &[], at(now)).map(|hold| hold.until.unwrap());
    assert_eq!(until("2026-11-27T14:00:00Z"), Some(at("2026-11-28T10:00:00Z")));
    assert_eq!(until("2026-11-28T12:30:00Z"), None);
    let change = next_change(&both, &[], at("2026-11-28T10:30:00Z"));
    assert_eq!(change, Some(at("2026-11-28T11:00:00Z")));
    assert_eq!(local(&both, at("2026-11-28T10:00:00Z")), "Sat 2026-11-28 10:00 UTC");
}

#[test]
fn a_moment_is_told_by_the_clock_of_the_window_that_is_open_then() {
    let both = windows(&["Mon 01:00-02:00 UTC", "daily 09:00-10:00 Asia/Tokyo"]);
    assert_eq!(local(&both, at("2026-11-28T00:00:00Z")), "Sat 2026-11-28 09:00 Asia/Tokyo");
    assert_eq!(local(&both, at("2026-11-28T06:00:00Z")), "Sat 2026-11-28 06:00 UTC");
    assert_eq!(local(&[], at("2026-11-28T06:00:00Z")), "Sat 2026-11-28 06:00 UTC");
}

#[test]
fn a_freeze_holds_everything_and_hides_what_would_open() {
    let night = windows(&["daily 22:00-23:00 UTC"]);
    let freezes = [
        freeze("2026-12-20T00:00:00Z", "2026-12-24T12:00:00Z", "last orders"),
        freeze("2026-12-24T00:00:00Z", "2026-12-28T22:30:00Z", "holidays"),
        freeze("2027-01-01T00:00:00Z", "2027-01-02T00:00:00Z", "new year"),
    ];
    for (windows, now, cause, until) in [
        // The second freeze follows at once, and where both are the longer one tells why.
        (&[][..], "2026-12-20T00:00:00Z", Some("last orders"), "2026-12-28T22:30:00Z"),
        (&night[..], "2026-12-24T06:00:00Z", Some("holidays"), "2026-12-28T22:30:00Z"),
        (&[][..], "2027-01-01T23:59:59Z", Some("new year"), "2027-01-02T00:00:00Z"),
        // A window opens once nothing freezes it, be it in its middle.
        (&night[..], "2026-12-19T23:00:00Z", None, "2026-12-28T22:30:00Z"),
        (&night[..], "2026-12-31T23:00:00Z", None, "2027-01-02T22:00:00Z"),
    ] {
        let cause = cause.map_or(Cause::Window, |reason| Cause::Freeze(reason.to_owned()));
        let expected = Hold { cause, until: Some(at(until)) };
        assert_eq!(hold(windows, &freezes, at(now)), Some(expected), "{now}");
    }
    for now in ["2026-12-19T23:59:59Z", "2026-12-28T22:30:00Z", "2027-01-02T00:00:00Z"] {
        assert_eq!(hold(&[], &freezes, at(now)), None, "{now}");
    }
    let changes = ["2026-12-20T00:00:00Z", "2026-12-20T22:00:00Z", "2026-12-20T23:00:00Z"].map(at);
    let mut now = at("2026-12-19T23:00:00Z");
    for change in changes {
        now = next_change(&night, &freezes, now).unwrap();
        assert_eq!(now, change);
    }
    assert_eq!(next_change(&[], &freezes, at("2027-01-02T00:00:00Z")), None);
}

#[test]
fn a_moment_is_read_with_an_offset_or_a_time_zone() {
    for (text, read) in [
        ("2026-12-20T00:00:00Z", "2026-12-20T00:00:00Z"),
        ("2026-12-20T00:00:00+01:00", "2026-12-19T23:00:00Z"),
        ("2026-12-20 00:00 Europe/Berlin", "2026-12-19T23:00:00Z"),
        ("2026-12-20T18:30:15 UTC", "2026-12-20T18:30:15Z"),
        ("2026-12-20 Asia/Tokyo", "2026-12-19T15:00:00Z"),
        ("2026-03-29 02:30 Europe/Berlin", "2026-03-29T01:00:00Z"),
    ] {
        assert_eq!(moment(text), Ok(at(read)), "{text}");
    }
    for text in ["", "tomorrow", "2026-12-20", "2026-12-20 00:00", "2026-13-20 00:00 UTC", "x UTC"]
    {
        let why = moment(text).unwrap_err();
        assert!(why.contains("`2026-12-20 00:00 Europe/Berlin`"), "{text}: {why}");
    }
}

/// What is admitted, and what is told of a hold, on a Friday at noon.
fn admitted(migrations: &[Migration], freezes: &[Freeze]) -> (Vec<String>, Vec<Option<Hold>>) {
    let now = at("2026-11-27T12:00:00Z");
    let all = all(migrations);
    let mut waits = Waits::default();
    waits.refresh(&all);
    let conditions = admission::Conditions { freezes, measuring: &BTreeSet::new(), now };
    let begun = admission::admit(&all, &waits, 32, |_, _| false, |_| 0, conditions);
    let begun = begun.into_iter().filter(|decision| decision.m.state == MoveState::Checking);
    let holds = all.values().map(|one| admission::hold(one, &waits, freezes, now));
    (begun.map(|decision| decision.m.namespace).collect(), holds.collect())
}

#[test]
fn nothing_begins_outside_of_the_windows_or_in_a_freeze() {
    let with = |window: &str| {
        let mut m = migration("m", &["a", "b"]);
        m.spec.windows = windows(&[window]);
        m
    };
    let none: [&str; 0] = [];
    let (begun, holds) = admitted(&[with("Fri 10:00-14:00 UTC")], &[]);
    assert_eq!((begun, holds), (vec!["a".to_owned()], vec![None]));
    let (begun, holds) = admitted(&[with("Sat 10:00-14:00 UTC")], &[]);
    let closed = Hold { cause: Cause::Window, until: Some(at("2026-11-28T10:00:00Z")) };
    assert_eq!((begun.as_slice(), holds), (&none.map(str::to_owned)[..], vec![Some(closed)]));
    let freezes = [freeze("2026-11-27T00:00:00Z", "2026-11-30T00:00:00Z", "sale")];
    let frozen = Hold { cause: Cause::Freeze("sale".to_owned()), until: Some(freezes[0].to) };
    for one in [with("Fri 10:00-14:00 UTC"), migration("m", &["a"])] {
        let (begun, holds) = admitted(&[one], &freezes);
        assert_eq!((begun.len(), holds), (0, vec![Some(frozen.clone())]));
    }
}

#[test]
fn a_retry_is_held_and_a_rollback_is_not() {
    let freezes = [freeze("2026-11-27T00:00:00Z", "2026-11-30T00:00:00Z", "sale")];
    let failed = with_state(migration("m", &["a"]), "a", MoveState::Failed(problem()));
    let mut retried = failed.clone();
    retried.control.retries.insert("a".to_owned(), 2);
    let (begun, holds) = admitted(&[retried.clone()], &freezes);
    assert!(begun.is_empty() && holds[0].is_some());
    assert_eq!(admitted(&[retried], &[]).0, ["a"]);
    let taken = with_state(failed, "a", MoveState::Superseded);
    let mut rollback = migration("r", &["a"]);
    rollback.spec.rollback_of = Some("m".to_owned());
    rollback.spec.windows = windows(&["Sat 10:00-14:00 UTC"]);
    let (begun, holds) = admitted(&[taken, rollback], &freezes);
    assert_eq!((begun, holds), (vec!["a".to_owned()], vec![None, None]));
}

#[test]
fn a_hold_is_told_only_of_what_would_go_on() {
    let freezes = [freeze("2026-11-27T00:00:00Z", "2026-11-30T00:00:00Z", "sale")];
    let told = |m: Migration| admitted(&[m], &freezes).1[0].is_some();
    let fresh = migration("m", &["a", "b"]);
    // What is under way goes on; the next one will have to wait.
    assert!(told(with_state(fresh.clone(), "a", MoveState::Restarting)));
    let last = with_state(fresh.clone(), "a", MoveState::Moved(Vec::new()));
    assert!(!told(with_state(last, "b", MoveState::Restarting)));
    let mut paused = fresh.clone();
    paused.control.paused = true;
    let mut cancelled = fresh.clone();
    cancelled.control.cancelled = true;
    let mut unapproved = fresh;
    unapproved.spec.approvals.insert(0);
    for (m, word) in [(paused, "paused"), (cancelled, "cancelled"), (unapproved, "unapproved")] {
        assert!(!told(m), "{word}");
    }
}
