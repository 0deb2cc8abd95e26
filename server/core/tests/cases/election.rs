//! The Lease, on locally observed time only.

use revshift_core::election::{Candidacy, LeaseRecord, Observation, Terms};
use std::time::Duration;

fn lease(holder: &str, transitions: u32, version: &str) -> LeaseRecord {
    LeaseRecord { holder: holder.to_owned(), transitions, resource_version: version.to_owned() }
}

fn terms() -> Terms {
    Terms::of(Duration::from_secs(15))
}

fn see(observation: &mut Observation, record: &LeaseRecord, seconds: u64) -> Candidacy {
    observation.observe(record, "me", terms(), Duration::from_secs(seconds))
}

#[test]
fn terms_are_in_the_proportions_of_kubernetes_own_components() {
    let Terms { lease, renew, retry } = terms();
    assert_eq!((lease.as_secs(), renew.as_secs(), retry.as_secs()), (15, 10, 2));
}

#[test]
fn a_lease_is_taken_only_after_it_has_not_changed_for_its_duration() {
    let mut seen = Observation::default();
    let wait = Candidacy::Wait(Duration::from_secs(2));
    assert_eq!(see(&mut seen, &lease("other", 3, "1"), 100), wait);
    assert_eq!(
        see(&mut seen, &lease("other", 3, "1"), 114),
        Candidacy::Wait(Duration::from_secs(1))
    );
    // A renewal starts the wait anew.
    assert_eq!(see(&mut seen, &lease("other", 3, "2"), 114), wait);
    assert_eq!(
        see(&mut seen, &lease("other", 3, "2"), 128),
        Candidacy::Wait(Duration::from_secs(1))
    );
    assert_eq!(see(&mut seen, &lease("other", 3, "2"), 129), Candidacy::Take { transitions: 4 });
}

#[test]
fn a_lease_given_back_is_taken_at_once_with_a_new_epoch() {
    let mut seen = Observation::default();
    assert_eq!(see(&mut seen, &lease("", 7, "1"), 0), Candidacy::Take { transitions: 8 });
}

#[test]
fn the_holder_renews_in_the_same_epoch() {
    let mut seen = Observation::default();
    assert_eq!(see(&mut seen, &lease("me", 7, "1"), 0), Candidacy::Renew { transitions: 7 });
}

#[test]
fn an_epoch_that_a_restored_backup_takes_back_is_not_given_again() {
    let mut seen = Observation::default();
    for version in ["900", "1000", "opaque", "1001"] {
        assert!(!seen.has_gone_back(&lease("other", 7, version)), "{version}");
    }
    assert!(seen.has_gone_back(&lease("me", 5, "800")));
    // Its own lease of then does not hold either, as others have led since.
    assert_eq!(see(&mut seen, &lease("me", 5, "800"), 100), Candidacy::Take { transitions: 8 });
    assert_eq!(seen.next(1), 8);
    assert!(!seen.has_gone_back(&lease("me", 8, "801")));
    assert_eq!(see(&mut seen, &lease("me", 8, "801"), 101), Candidacy::Renew { transitions: 8 });
    assert_eq!(seen.next(12), 12);
}
