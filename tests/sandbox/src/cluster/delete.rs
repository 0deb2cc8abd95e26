//! Deletion: preconditions, propagation, finalizers, and the grace that pods get.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::{Author, Cluster, stamp};
use crate::kind::{self, Kind};
use crate::object;
use crate::refusal::Refusal;
use crate::store::Reference;

/// What becomes of the objects that the deleted one owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Propagation {
    #[default]
    Background,
    Foreground,
    Orphan,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct DeleteOptions {
    pub(crate) uid: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) grace: Option<i64>,
    pub(crate) propagation: Propagation,
    pub(crate) dry_run: bool,
}

impl DeleteOptions {
    /// Reads the body of a DELETE request.
    pub(crate) fn parse(body: &Value) -> Self {
        let text = |pointer: &str| match object::text(body, pointer) {
            "" => None,
            text => Some(text.to_owned()),
        };
        Self {
            uid: text("/preconditions/uid"),
            version: text("/preconditions/resourceVersion"),
            grace: object::integer(body, "/gracePeriodSeconds"),
            propagation: match object::text(body, "/propagationPolicy") {
                "Foreground" => Propagation::Foreground,
                "Orphan" => Propagation::Orphan,
                _ => Propagation::Background,
            },
            dry_run: !object::list(body, "/dryRun").is_empty(),
        }
    }
}

impl Cluster {
    /// Deletes an object or marks it for deletion; the answer is its last or marked state.
    pub(crate) fn delete(
        &mut self,
        kind: &Kind,
        reference: &Reference,
        options: &DeleteOptions,
        author: Author<'_>,
    ) -> Result<(Arc<Value>, bool), Refusal> {
        let Some(current) = self.store.get(reference).cloned() else {
            return Err(Refusal::not_found(kind, &reference.name));
        };
        for (label, wanted, actual) in [
            ("UID", &options.uid, object::uid(&current)),
            ("ResourceVersion", &options.version, object::version(&current)),
        ] {
            if let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != actual) {
                let why = format!(
                    "Precondition failed: {label} in precondition: {wanted}, {label} in object \
                     meta: {actual}"
                );
                return Err(Refusal::conflict(kind, &reference.name, &why));
            }
        }
        if options.dry_run || author.dry_run {
            return Ok((current, false));
        }
        let mut next = Value::clone(&current);
        let grace = grace(kind, &current, options);
        let finalizer = match options.propagation {
            Propagation::Background => None,
            Propagation::Foreground => Some("foregroundDeletion"),
            Propagation::Orphan => Some("orphan"),
        };
        let mut finalizers = object::list(&current, "/metadata/finalizers").to_vec();
        if let Some(finalizer) = finalizer
            && !finalizers.iter().any(|one| one == finalizer)
        {
            finalizers.push(finalizer.into());
            object::set(&mut next, "/metadata/finalizers", finalizers.clone());
        }
        let waits = grace > 0 || !finalizers.is_empty() || kind.resource == kind::NAMESPACES;
        if !waits {
            let last = self.erase(reference, author.manager).unwrap_or(current);
            return Ok((last, true));
        }
        let remaining = object::integer(&current, "/metadata/deletionGracePeriodSeconds");
        if !object::deleting(&current) || remaining.is_some_and(|remaining| grace < remaining) {
            let seconds = u64::try_from(grace).unwrap_or_default();
            let end = self.wall(Instant::now() + Duration::from_secs(seconds));
            object::set(&mut next, "/metadata/deletionTimestamp", stamp(end));
            object::set(&mut next, "/metadata/deletionGracePeriodSeconds", grace);
            if let Some(generation) = object::integer(&current, "/metadata/generation") {
                object::set(&mut next, "/metadata/generation", generation + 1);
            }
        }
        if kind.resource == kind::NAMESPACES {
            object::set(&mut next, "/status/phase", "Terminating");
        }
        if next == *current {
            return Ok((current, false));
        }
        let at = (self.now(), Instant::now());
        let marked = self.store.put(reference, next, author.manager, at);
        self.finalize(reference, author);
        Ok((marked, false))
    }

    /// Removes an object whose deletion waits for nothing any more.
    pub(super) fn finalize(&mut self, reference: &Reference, author: Author<'_>) {
        let Some(object) = self.store.get(reference) else { return };
        let graced = object::integer(object, "/metadata/deletionGracePeriodSeconds") > Some(0);
        let contents = reference.resource == kind::NAMESPACES
            && !object::list(object, "/spec/finalizers").is_empty();
        let finalizers = !object::list(object, "/metadata/finalizers").is_empty();
        if object::deleting(object) && !graced && !finalizers && !contents {
            self.erase(reference, author.manager);
        }
    }

    /// Removes an object at once; a definition takes the objects of its kind along.
    pub(crate) fn erase(&mut self, reference: &Reference, manager: &str) -> Option<Arc<Value>> {
        if reference.resource == kind::DEFINITIONS {
            let contents: Vec<_> = self
                .store
                .list(&reference.name, None)
                .map(|one| {
                    Reference::new(&reference.name, object::namespace(one), object::name(one))
                })
                .collect();
            for one in contents {
                self.erase(&one, manager);
            }
        }
        let at = (self.now(), Instant::now());
        self.store.remove(reference, manager, at)
    }
}

/// Seconds that the object stays after the request: only pods that run somewhere get any.
fn grace(kind: &Kind, object: &Value, options: &DeleteOptions) -> i64 {
    let finished = matches!(object::text(object, "/status/phase"), "Succeeded" | "Failed");
    let unbound = object::text(object, "/spec/nodeName").is_empty();
    if kind.resource != kind::PODS || finished || unbound {
        return 0;
    }
    options
        .grace
        .or_else(|| object::integer(object, "/spec/terminationGracePeriodSeconds"))
        .unwrap_or(30)
}
