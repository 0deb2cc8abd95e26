//! A migration's specification as a file: the API's `MigrationSpec` as YAML or JSON.

use std::{fs, path::Path};

use revshift_proto::v1 as proto;

/// Reads a specification. A field that the API does not know is an error.
pub(crate) fn read(path: &Path) -> Result<proto::MigrationSpec, String> {
    let text = fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    parse(&text).map_err(|error| format!("{} is no specification: {error}", path.display()))
}

fn parse(text: &str) -> Result<proto::MigrationSpec, String> {
    let value: serde_json::Value =
        serde_norway::from_str(text).map_err(|error| error.to_string())?;
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// The specification of exactly the plan that was shown: what a rule had found is named.
pub(crate) fn of_plan(
    spec: &proto::MigrationSpec,
    header: &proto::PlanHeader,
    entries: &[proto::PlanEntry],
) -> proto::MigrationSpec {
    let mut waves: Vec<proto::Wave> = (0..header.waves)
        .map(|number| proto::Wave {
            namespaces: Vec::new(),
            approval: header.approval_waves.contains(&number),
        })
        .collect();
    for entry in entries {
        if let Some(wave) = usize::try_from(entry.wave).ok().and_then(|wave| waves.get_mut(wave)) {
            wave.namespaces.push(entry.namespace.clone());
        }
    }
    let ruled = spec.all || !spec.label_selector.is_empty();
    let found_by = || proto::Rule {
        label_selector: spec.label_selector.clone(),
        exclude: spec.exclude.clone(),
    };
    proto::MigrationSpec {
        rule: if ruled { Some(found_by()) } else { spec.rule.clone() },
        namespaces: Vec::new(),
        label_selector: String::new(),
        all: false,
        exclude: Vec::new(),
        approve_all: false,
        waves,
        ..spec.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_the_same_as_the_message() {
        let text = "
            source: cp-v113x
            target: cp-v115x
            rolloutTimeout: 90s
            failureBudget: 2
            waves:
              - namespaces: [canary]
              - namespaces: [a, b]
                approval: true
        ";
        let spec = parse(text).unwrap();
        assert_eq!((spec.source.as_str(), spec.failure_budget), ("cp-v113x", 2));
        assert_eq!(spec.rollout_timeout.unwrap().seconds, 90);
        assert_eq!(spec.waves[1].namespaces, ["a", "b"]);
        assert!(spec.waves[1].approval && !spec.waves[0].approval);
    }

    #[test]
    fn what_the_api_does_not_know_is_refused_by_name() {
        let error = parse("source: a\nwave: []").unwrap_err();
        assert!(error.contains("wave"), "{error}");
        assert!(parse("source: [").is_err());
        assert!(parse("- a").is_err());
    }

    #[test]
    fn what_a_rule_found_becomes_waves() {
        let spec = proto::MigrationSpec { all: true, source: "a".into(), ..<_>::default() };
        let header = proto::PlanHeader { waves: 2, approval_waves: vec![1], ..<_>::default() };
        let entry = |namespace: &str, wave| proto::PlanEntry {
            namespace: namespace.into(),
            wave,
            ..<_>::default()
        };
        let found = of_plan(&spec, &header, &[entry("x", 0), entry("y", 1), entry("z", 1)]);
        assert!(!found.all && found.source == "a");
        assert_eq!(found.waves[0].namespaces, ["x"]);
        assert_eq!(found.waves[1].namespaces, ["y", "z"]);
        assert!(found.waves[1].approval && !found.waves[0].approval);
    }
}
