//! Which test shows what: each rule of injection, each thing that is worth a check before a migration, and
//! each finding, with the tests or the findings that stand for it. What is written here must exist.

mod table;

use super::tidy::{read, sources};
use revshift_core::problem::Code;
use revshift_proto::v1::explained::Reason;
use std::collections::BTreeSet;
use table::{RULES, UNTOLD};

/// Where the tests are that `proof` names, as `place/file::test`.
fn file(place: &str) -> String {
    let (crate_, path) = place.split_once('/').unwrap_or_else(|| panic!("{place} names no crate"));
    let folder = match crate_ {
        "core" => "server/core/tests/cases",
        "server" => "server/src",
        "scenarios" => "tests/src/scenarios",
        "simulated" => "tests/tests/e2e",
        "real" => "tests/testbed/src/scenarios",
        other => panic!("{place}: no tests are known of {other}"),
    };
    format!("{folder}/{path}.rs")
}

#[test]
fn every_rule_has_the_tests_that_the_table_names() {
    let mut seen = BTreeSet::new();
    let codes: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    for (subject, rule, proofs) in RULES {
        assert!(seen.insert((subject, rule)), "{subject}: {rule} is there twice");
        assert!(!proofs.is_empty(), "{subject}: nothing shows that {rule}");
        for proof in *proofs {
            match proof.split_once("::") {
                Some((place, test)) => {
                    let found = read(file(place)).contains(&format!("fn {test}("));
                    assert!(found, "{subject}: {rule}: there is no {proof}");
                }
                None => assert!(codes.contains(proof), "{subject}: {rule}: no finding is {proof}"),
            }
        }
    }
}

#[test]
fn every_finding_is_provoked() {
    let stories: String = ["tests/src", "tests/tests"]
        .into_iter()
        .flat_map(sources)
        .filter(|(path, _)| !path.ends_with("rules/table.rs"))
        .map(|(_, text)| text)
        .collect();
    let cases: String = sources("server/core/tests").into_iter().map(|(_, text)| text).collect();
    for code in Code::ALL {
        let told = stories.contains(code.as_str());
        let listed = UNTOLD.iter().any(|(untold, _)| *untold == code.as_str());
        assert!(
            told != listed,
            "{}: told in a story: {told}, listed as untold: {listed}",
            code.as_str()
        );
        let judged = cases.contains(&format!("Code::{}", code.name()));
        assert!(told || judged, "nothing provokes {}", code.as_str());
    }
}

#[test]
fn every_reason_of_an_explanation_is_provoked() {
    let stories: String =
        sources("tests/src/scenarios").into_iter().map(|(_, text)| text).collect();
    for value in 1.. {
        let Ok(reason) = Reason::try_from(value) else {
            assert_eq!(value, 21, "the reasons are numbered without a gap");
            break;
        };
        let name = reason.as_str_name();
        assert!(stories.contains(&format!("\"{name}\"")), "no scenario tells {name}");
    }
}
