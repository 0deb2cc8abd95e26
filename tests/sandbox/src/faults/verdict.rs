//! What a fault makes of the request that it strikes.

use std::time::Duration;

use super::{Fault, FaultKind};
use crate::exchange::{Exchange, Verdict, WatchFault};
use crate::route::Route;

/// None for faults that leave the request as it is.
pub(crate) fn verdict(fault: &Fault, exchange: &Exchange) -> Option<Verdict> {
    let extent = fault.extent.and_then(|extent| Duration::try_from(extent).ok());
    let extent = extent.unwrap_or_default();
    let refuse = |code, reason, message: String| Some(Verdict::Refuse { code, reason, message });
    let watch = |fault| Some(Verdict::Watch(fault));
    match fault.kind {
        FaultKind::Conflict => {
            let why = "the object has been modified; please apply your changes to the latest \
                       version and try again";
            let (resource, name) = subject(exchange);
            let message = format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}");
            refuse(409, "Conflict", message)
        }
        FaultKind::Gone => {
            let message = "The provided continue parameter is too old to display a consistent \
                           list result. You can start a new list without the continue parameter.";
            refuse(410, "Expired", message.to_owned())
        }
        FaultKind::Invalid => {
            let (resource, name) = subject(exchange);
            let why = "the server rejected our request due to an error in our request";
            refuse(422, "Invalid", format!("{resource} \"{name}\" is invalid: {why}"))
        }
        FaultKind::Forbidden => refuse(403, "Forbidden", forbidden(exchange)),
        FaultKind::Denied => {
            let message = "admission webhook \"validation.policy.example.com\" denied the \
                           request: changes are frozen";
            refuse(403, "Forbidden", message.to_owned())
        }
        FaultKind::Throttled => {
            let seconds = extent.as_secs().max(1);
            Some(Verdict::Throttle { retry_after: Some(seconds) })
        }
        FaultKind::ThrottledBare => Some(Verdict::Throttle { retry_after: None }),
        FaultKind::InternalError => {
            let message = "Internal error occurred: etcdserver: leader changed";
            refuse(500, "InternalError", message.to_owned())
        }
        FaultKind::Unavailable => {
            let message = "the server is currently unable to handle the request";
            refuse(503, "ServiceUnavailable", message.to_owned())
        }
        FaultKind::Timeout => {
            let message = "Timeout: request did not complete within requested timeout - context \
                           deadline exceeded";
            refuse(504, "Timeout", message.to_owned())
        }
        FaultKind::LostReply => Some(Verdict::LoseReply),
        FaultKind::Reset => Some(Verdict::ResetBefore),
        FaultKind::ResetAfter => Some(Verdict::ResetAfter),
        FaultKind::Truncated => Some(Verdict::Truncate),
        FaultKind::HangBefore => Some(Verdict::HangBefore),
        FaultKind::HangAfter => Some(Verdict::HangAfter),
        FaultKind::Trickle => Some(Verdict::Trickle),
        FaultKind::Slow => Some(Verdict::Delay(extent)),
        FaultKind::WatchExpired => watch(WatchFault::Silent(Some(Duration::ZERO))),
        FaultKind::WatchClosed => watch(WatchFault::Closed),
        FaultKind::HalfOpen => watch(WatchFault::Silent(None)),
        FaultKind::NoBookmarks => watch(WatchFault::NoBookmarks),
        FaultKind::LateWatch => watch(WatchFault::Late(extent)),
        FaultKind::WatchGap => watch(WatchFault::Silent(Some(extent))),
        FaultKind::MergedEvents => watch(WatchFault::Merged(extent)),
        FaultKind::ReorderedEvents => watch(WatchFault::Reordered(extent)),
        FaultKind::RepeatedEvents => watch(WatchFault::Repeated(extent)),
        FaultKind::StaleRead => Some(Verdict::Stale(extent)),
        _ => None,
    }
}

/// Resource and name, as messages tell them.
fn subject(exchange: &Exchange) -> (String, String) {
    let route = Route::parse(&exchange.path).unwrap_or_default();
    (route.resource(), route.name.unwrap_or_default())
}

/// What RBAC says; the account is the one of `deploy/`, as the sandbox authenticates nobody.
fn forbidden(exchange: &Exchange) -> String {
    let route = Route::parse(&exchange.path).unwrap_or_default();
    let mut plural = route.plural.clone();
    if let Some(subresource) = &route.subresource {
        plural = format!("{plural}/{subresource}");
    }
    let named = route.name.as_ref().map(|name| format!(" \"{name}\"")).unwrap_or_default();
    let scope = match &route.namespace {
        Some(namespace) => format!("in the namespace \"{namespace}\""),
        None => "at the cluster scope".to_owned(),
    };
    format!(
        "{}{named} is forbidden: User \"system:serviceaccount:revshift-system:revshift-server\" \
         cannot {} resource \"{plural}\" in API group \"{}\" {scope}",
        route.resource(),
        exchange.verb,
        route.group
    )
}
