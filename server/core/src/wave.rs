//! Waves: which namespaces may move together, and in which order the waves go.

use std::collections::BTreeSet;

/// How many namespaces the first automatic waves hold; all further ones hold [`MOST`].
const FIRST: [usize; 4] = [1, 5, 25, 100];
/// The most namespaces of an automatic wave.
const MOST: usize = 250;

/// Namespaces that may move together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wave {
    /// Their names.
    pub namespaces: Vec<String>,
    /// Whether the wave starts only once somebody has approved it.
    pub approval: bool,
}

/// A namespace that automatic waves are made of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// Whether a gateway runs in it: traffic of many applications.
    pub gateway: bool,
    /// What its owner says of the order; lower moves earlier, 0 where nothing is said.
    pub order: i64,
    /// How much would be hit if it went wrong: its injected pods.
    pub impact: usize,
    /// Its name.
    pub name: String,
}

/// One wave a namespace, in the order given; those with gateways wait for an approval.
pub fn in_order(
    namespaces: &[String],
    gateways: &BTreeSet<String>,
    approve_all: bool,
) -> Vec<Wave> {
    let wave = |name: &String| Wave {
        namespaces: vec![name.clone()],
        approval: gateways.contains(name) && !approve_all,
    };
    namespaces.iter().map(wave).collect()
}

/// Waves that grow: a canary of one namespace, then 5, 25, 100, then at most 250; what hurts least
/// goes first. Namespaces with gateways come last, one a wave. What follows the canary waits for an
/// approval, and so does each gateway.
pub fn automatic(mut candidates: Vec<Candidate>, approve_all: bool) -> Vec<Wave> {
    candidates.sort();
    let gateways = candidates.split_off(candidates.partition_point(|one| !one.gateway));
    let mut rest = candidates.into_iter().map(|one| one.name);
    let mut waves = Vec::new();
    for size in FIRST.into_iter().chain(std::iter::repeat(MOST)) {
        let namespaces: Vec<String> = rest.by_ref().take(size).collect();
        if namespaces.is_empty() {
            break;
        }
        let approval = waves.len() == 1 && !approve_all;
        waves.push(Wave { namespaces, approval });
    }
    let approval = !approve_all;
    waves.extend(gateways.into_iter().map(|one| Wave { namespaces: vec![one.name], approval }));
    waves
}

/// Waves of what comes behind others: at most 250 namespaces each, what hurts least first. Namespaces with
/// gateways come last, one a wave, each after an approval.
pub fn added(mut candidates: Vec<Candidate>) -> Vec<Wave> {
    candidates.sort();
    let gateways = candidates.split_off(candidates.partition_point(|one| !one.gateway));
    let names: Vec<String> = candidates.into_iter().map(|one| one.name).collect();
    let wave = |names: &[String]| Wave { namespaces: names.to_vec(), approval: false };
    let mut waves: Vec<Wave> = names.chunks(MOST).map(wave).collect();
    let approved = |one: Candidate| Wave { namespaces: vec![one.name], approval: true };
    waves.extend(gateways.into_iter().map(approved));
    waves
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(name: &str, impact: usize) -> Candidate {
        Candidate { gateway: false, order: 0, impact, name: name.to_owned() }
    }

    fn sizes(waves: &[Wave]) -> Vec<(usize, bool)> {
        waves.iter().map(|wave| (wave.namespaces.len(), wave.approval)).collect()
    }

    #[test]
    fn waves_grow_behind_a_canary_that_somebody_has_looked_at() {
        let many = (0..700).map(|i| candidate(&format!("n-{i:03}"), i)).collect::<Vec<_>>();
        let waves = automatic(many.clone(), false);
        assert_eq!(
            sizes(&waves),
            [
                (1, false),
                (5, true),
                (25, false),
                (100, false),
                (250, false),
                (250, false),
                (69, false)
            ]
        );
        assert_eq!(waves[0].namespaces, ["n-000"]);
        assert!(automatic(many, true).iter().all(|wave| !wave.approval));
        assert_eq!(sizes(&automatic(vec![candidate("only", 1)], false)), [(1, false)]);
        assert!(automatic(Vec::new(), false).is_empty());
    }

    #[test]
    fn owners_order_comes_before_impact_and_gateways_come_last() {
        let gateway = Candidate { gateway: true, ..candidate("ingress", 1) };
        let early = Candidate { order: -1, ..candidate("early", 90) };
        let waves = automatic(vec![gateway, candidate("b", 2), candidate("a", 5), early], false);
        let names: Vec<&str> =
            waves.iter().flat_map(|wave| &wave.namespaces).map(String::as_str).collect();
        assert_eq!(names, ["early", "b", "a", "ingress"]);
        assert_eq!(sizes(&waves), [(1, false), (2, true), (1, true)]);
    }

    #[test]
    fn what_comes_behind_needs_no_canary() {
        let many = (0..260).map(|i| candidate(&format!("n-{i:03}"), i)).collect::<Vec<_>>();
        let gateway = Candidate { gateway: true, ..candidate("ingress", 1) };
        let waves = added(many.into_iter().chain([gateway]).collect());
        assert_eq!(sizes(&waves), [(250, false), (10, false), (1, true)]);
        assert_eq!((&*waves[0].namespaces[0], &*waves[2].namespaces[0]), ("n-000", "ingress"));
        assert!(added(Vec::new()).is_empty());
    }

    #[test]
    fn named_namespaces_keep_their_order() {
        let names = ["b".to_owned(), "gate".to_owned(), "a".to_owned()];
        let gateways = BTreeSet::from(["gate".to_owned()]);
        assert_eq!(sizes(&in_order(&names, &gateways, false)), [(1, false), (1, true), (1, false)]);
        assert_eq!(sizes(&in_order(&names, &gateways, true)), [(1, false); 3]);
    }
}
