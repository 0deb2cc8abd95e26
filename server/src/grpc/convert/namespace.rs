//! Namespaces on the wire.

use revshift_core::attachment::{Attachment, AttachmentState};
use revshift_core::cluster::NamespaceMeta;
use revshift_core::injection::Injection;
use revshift_core::pod::Injected;
use revshift_proto::v1 as proto;
use std::cmp::Reverse;

/// What stands for the revision of a sidecar whose injection record names none.
const UNKNOWN: &str = "unknown";

/// A namespace's attachment; `migration` is the unfinished one that holds it.
pub(crate) fn namespace(
    name: &str,
    meta: &NamespaceMeta,
    attachment: Attachment,
    migration: Option<&str>,
) -> proto::Namespace {
    let Attachment { label, tag, desired, pods, state: compared } = attachment;
    let mut injected: Vec<proto::InjectedPods> = pods
        .into_iter()
        .map(|(by, pods)| proto::InjectedPods { revision: revision(by), pods })
        .collect();
    injected.sort_by_key(|count| Reverse(count.pods));
    proto::Namespace {
        name: name.to_owned(),
        label: label.unwrap_or_default(),
        resolved_plane: match desired {
            Injection::By(revision) => revision.0,
            Injection::None | Injection::Dangling(_) | Injection::Conflict(_) => String::new(),
        },
        injected,
        state: state(compared).into(),
        terminating: meta.terminating,
        migration: migration.unwrap_or_default().to_owned(),
        tag: tag.unwrap_or_default(),
    }
}

pub(super) fn revision(injected: Injected) -> String {
    match injected {
        Injected::No => String::new(),
        Injected::By(revision) => revision.0,
        Injected::Unknown => UNKNOWN.to_owned(),
    }
}

fn state(state: AttachmentState) -> proto::namespace::State {
    match state {
        AttachmentState::Attached => proto::namespace::State::Attached,
        AttachmentState::PendingRestart => proto::namespace::State::PendingRestart,
        AttachmentState::Mixed => proto::namespace::State::Mixed,
        AttachmentState::Dangling => proto::namespace::State::Dangling,
        AttachmentState::NotInjected => proto::namespace::State::NotInjected,
    }
}
