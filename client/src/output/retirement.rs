//! Retirements of control planes for people.

use std::fmt::Write;

use revshift_proto::v1 as proto;

use super::{
    style::{self, Tone},
    table::{Cell, Table},
};

/// What uses a plane, and what would be deleted.
pub(crate) fn plan(plan: &proto::PlanRetirementResponse, color: bool) -> String {
    let mut text = format!("plane: {} ({}/{})\n", plan.revision, plan.namespace, plan.name);
    let (blocking, others): (Vec<_>, Vec<_>) =
        plan.findings.iter().partition(|finding| finding.blocks);
    if !blocking.is_empty() {
        text.push('\n');
        text.push_str(&table(&blocking, color));
        text.push('\n');
        for finding in &blocking {
            let remedy = style::one_line(&finding.remedy);
            let _ = writeln!(text, "{} {}: {remedy}", finding.code, finding.object);
        }
    }
    for finding in others {
        let _ = writeln!(text, "{}", note(finding).join("\n"));
    }
    if !plan.targets.is_empty() {
        text.push_str("\nto be deleted, in this order:\n");
        for target in &plan.targets {
            let place = match target.namespace.as_str() {
                "" => String::new(),
                namespace => format!("{namespace}/"),
            };
            let _ = writeln!(text, "  {} {place}{}", target.kind, target.name);
        }
    }
    text
}

/// One line of how a retirement stands.
pub(crate) fn line(retirement: &proto::Retirement) -> String {
    let (name, _) = state(retirement.state);
    let what = match retirement.state() {
        proto::retirement::State::Checking => "looks for users of the plane",
        proto::retirement::State::Cordoning => "waits until new users are kept away",
        proto::retirement::State::Proving => "proves twice, a minute apart, that nothing uses it",
        proto::retirement::State::Deleting => "deletes it",
        proto::retirement::State::Verifying => "checks that nothing of it is left",
        proto::retirement::State::Blocked => "goes on when this is mended",
        proto::retirement::State::Retired => "the plane is gone",
        proto::retirement::State::Cancelled => "what was not deleted is left as it is",
        proto::retirement::State::Unspecified => "",
    };
    format!("retirement {} of {}: {name}: {what}", retirement.id, retirement.revision)
}

/// What was found, one line each, with what to do.
pub(crate) fn findings(retirement: &proto::Retirement) -> Vec<String> {
    retirement.findings.iter().flat_map(note).collect()
}

/// The name of a state, and how it is shown.
pub(crate) fn state(value: i32) -> (String, Tone) {
    use proto::retirement::State;
    let state = State::try_from(value).unwrap_or_default();
    let tone = match state {
        State::Retired => Tone::Good,
        State::Blocked => Tone::Bad,
        _ => Tone::Plain,
    };
    let name = state.as_str_name();
    (name.strip_prefix("STATE_").unwrap_or(name).to_owned(), tone)
}

fn table(findings: &[&proto::RetirementFinding], color: bool) -> String {
    let mut table = Table::new(&["BLOCKED BY", "OBJECT", "MESSAGE"]);
    for finding in findings {
        table.row(vec![
            Cell::new(&finding.code).tone(Tone::Bad),
            Cell::new(&finding.object),
            Cell::new(&finding.message),
        ]);
    }
    table.render(true, color)
}

/// What was found, and what to do unless somebody has allowed it.
fn note(finding: &proto::RetirementFinding) -> Vec<String> {
    let (code, object) = (&finding.code, &finding.object);
    let message = style::one_line(&finding.message);
    let kind = if finding.blocks { "blocked by" } else { "note" };
    let allowed = match finding.allowed.as_str() {
        "" => String::new(),
        reason => format!("; allowed: {}", style::one_line(reason)),
    };
    let mut lines = vec![format!("{kind} {code} {object}: {message}{allowed}")];
    if allowed.is_empty() && !finding.remedy.is_empty() {
        lines.push(format!("  remedy: {}", style::one_line(&finding.remedy)));
    }
    lines
}
