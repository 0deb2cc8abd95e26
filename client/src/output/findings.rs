//! What checks have found, for people: what reads alike is told once.

use revshift_proto::v1::{self as proto, finding::Severity};

use super::{style, wording};

/// So many objects are named of which the same is told.
const MOST_NAMED: usize = 3;

/// The lines of findings, in their order; of many objects the first are named, unless details are asked for.
pub(crate) fn lines(
    findings: &[proto::Finding],
    allowed: &[proto::AllowedFinding],
    detailed: bool,
) -> Vec<String> {
    let mut lines = Vec::new();
    for alike in alike(findings) {
        let Some(first) = alike.first() else { continue };
        let most = if detailed { alike.len() } else { MOST_NAMED };
        let named: Vec<&str> = alike.iter().take(most).map(|it| it.object.as_str()).collect();
        let more = match alike.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let severity = wording::severity(first.severity);
        let message = style::one_line(&first.message);
        lines.push(format!("{severity} {} {}{more}: {message}", first.code, named.join(", ")));
        let allowance = allowed.iter().find(|it| it.code == first.code && is_error(first));
        if let Some(allowance) = allowance {
            lines.push(format!("  allowed: {}", style::one_line(&allowance.reason)));
        } else if !first.remedy.is_empty() {
            lines.push(format!("  remedy: {}", style::one_line(&first.remedy)));
        }
    }
    lines
}

/// How many there are of each severity.
pub(crate) fn tally(findings: &[proto::Finding]) -> String {
    let count = |severity: Severity| {
        let of = findings.iter().filter(|it| it.severity == severity as i32).count();
        u32::try_from(of).unwrap_or(u32::MAX)
    };
    let parts = [
        wording::count(count(Severity::Error), "error"),
        wording::count(count(Severity::Warning), "warning"),
        wording::count(count(Severity::Info), "note"),
    ];
    parts.join(", ")
}

fn is_error(finding: &proto::Finding) -> bool {
    finding.severity == Severity::Error as i32
}

/// Findings that differ in nothing but their object, in the order of the first of each.
fn alike(findings: &[proto::Finding]) -> Vec<Vec<&proto::Finding>> {
    let mut groups: Vec<Vec<&proto::Finding>> = Vec::new();
    for finding in findings {
        let same = |group: &&mut Vec<&proto::Finding>| {
            group.first().is_some_and(|first| {
                (first.severity, &first.code, &first.message)
                    == (finding.severity, &finding.code, &finding.message)
            })
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(finding),
            None => groups.push(vec![finding]),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: Severity, object: &str, message: &str) -> proto::Finding {
        proto::Finding {
            code: "RS2013".to_owned(),
            severity: severity.into(),
            object: object.to_owned(),
            message: message.to_owned(),
            remedy: "mend it".to_owned(),
        }
    }

    #[test]
    fn what_reads_alike_is_told_once() {
        let findings: Vec<proto::Finding> = ["a", "b", "c", "d", "e"]
            .into_iter()
            .map(|object| finding(Severity::Warning, object, "it is old"))
            .chain([finding(Severity::Warning, "f", "it is new")])
            .collect();
        assert_eq!(
            lines(&findings, &[], false),
            [
                "WARNING RS2013 a, b, c and 2 more: it is old",
                "  remedy: mend it",
                "WARNING RS2013 f: it is new",
                "  remedy: mend it",
            ]
        );
        let detailed = lines(&findings, &[], true);
        assert_eq!(detailed.first().unwrap(), "WARNING RS2013 a, b, c, d, e: it is old");
        assert_eq!(tally(&findings), "0 errors, 6 warnings, 0 notes");
    }

    #[test]
    fn an_error_that_is_allowed_says_why() {
        let allowed = [proto::AllowedFinding {
            code: "RS2013".to_owned(),
            reason: "tried\nit".to_owned(),
            by: String::new(),
        }];
        let findings = [finding(Severity::Error, "a", "too far")];
        assert_eq!(lines(&findings, &allowed, false)[1], "  allowed: tried it");
        let warned = [finding(Severity::Warning, "a", "too far")];
        assert_eq!(lines(&warned, &allowed, false)[1], "  remedy: mend it");
    }
}
