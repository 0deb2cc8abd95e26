//! What to do about each reason for which a server refuses.
//!
//! Advice for people at a command line only: what a reason means is said by the API.

use std::collections::HashMap;

use revshift_proto::v1::ErrorReason;

/// Advice on a reason; none where the violations above it say all.
pub(super) fn of(reason: ErrorReason, metadata: &HashMap<String, String>) -> Option<String> {
    let given = |key: &str| metadata.get(key).map_or("unknown", String::as_str);
    let advice = match reason {
        ErrorReason::Unspecified | ErrorReason::InvalidField => return None,
        ErrorReason::PageTokenInvalid => "run the command again: the list begins anew".to_owned(),
        ErrorReason::ResumeTokenInvalid => {
            "run `revshift watch` again: it begins with the whole state".to_owned()
        }
        ErrorReason::PlaneNotFound => "`revshift planes` lists the control planes".to_owned(),
        ErrorReason::PlaneAmbiguous => format!("name one of: {}", given("candidates")),
        ErrorReason::PlanesIdentical => {
            "name two different control planes with --from and --to".to_owned()
        }
        ErrorReason::PlaneUnavailable => format!(
            "the target is {}; `revshift planes` shows its error. Repeat when it is Available",
            given("status")
        ),
        ErrorReason::CheckRefused => {
            "mend what is listed; or allow it with --allow CODE=REASON where you know better"
                .to_owned()
        }
        ErrorReason::PlanRefused => {
            "mend what is listed, or leave these namespaces out; --dry-run checks again".to_owned()
        }
        ErrorReason::NothingSelected => format!(
            "`revshift namespaces --plane {}` lists what is there, `kubectl get namespaces --show-labels` its labels",
            given("source")
        ),
        ErrorReason::TooManyNamespaces => {
            "take fewer of them at a time, by labels with -l".to_owned()
        }
        ErrorReason::PlanChanged => "run the command again to see the plan as it is now".to_owned(),
        ErrorReason::RequestIdReused | ErrorReason::ConcurrentWrite => {
            "run the command again".to_owned()
        }
        ErrorReason::MigrationNotFound => "`revshift migrations` lists the migrations".to_owned(),
        ErrorReason::StateConflict => format!(
            "the migration is {}; `revshift status` shows where it stands and what to do",
            given("state")
        ),
        ErrorReason::MoveNotFound => {
            "`revshift status` lists the namespaces of a migration".to_owned()
        }
        ErrorReason::RollbackRefused => {
            "mend what is listed, or name only the other namespaces with -n".to_owned()
        }
        ErrorReason::RetirementRefused => {
            "mend what is listed; `revshift retire --dry-run` looks again".to_owned()
        }
        ErrorReason::RetirementNotFound => {
            "`revshift retirements` lists the retirements".to_owned()
        }
        ErrorReason::RetirementStateConflict => format!(
            "the retirement is {}; `revshift retire REV --watch` follows it",
            given("state")
        ),
        ErrorReason::NotReady | ErrorReason::KubernetesUnavailable => {
            "repeat in a moment".to_owned()
        }
        ErrorReason::KubernetesDenied => {
            format!("grant revshift's own account in the cluster: {}", given("permission"))
        }
        ErrorReason::CrdsMissing => {
            "install deploy/crds.yaml, or start the server with --install-crds".to_owned()
        }
        ErrorReason::CrdsOutdated => {
            "apply the server's own version of deploy/crds.yaml, or start it \
                                      once with --install-crds"
                .to_owned()
        }
        ErrorReason::PlanNewer => {
            "name a replica of the newer version with --server, or finish the upgrade of revshift"
                .to_owned()
        }
        ErrorReason::NamespaceNotFound => "`revshift namespaces` lists the namespaces".to_owned(),
        ErrorReason::Draining => "repeat, or name another replica with --server".to_owned(),
        ErrorReason::Internal => {
            format!("this is a defect of revshift: the server's log has `{}`", given("id"))
        }
    };
    Some(advice)
}
