//! Creation and change of objects: preconditions, defaults, admission, generation.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::Cluster;
use crate::kind::{self, Kind};
use crate::object;
use crate::refusal::Refusal;
use crate::store::Reference;
use crate::{defaults, ownership, schema};

/// In whose name a write happens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Author<'a> {
    pub(crate) manager: &'a str,
    /// Server-side apply rather than a plain update.
    pub(crate) applies: bool,
    /// Everything but the storing.
    pub(crate) dry_run: bool,
}

/// Which part of an object a write may touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Main,
    Status,
}

impl<'a> Author<'a> {
    pub(crate) fn controller(manager: &'a str) -> Self {
        Self { manager, applies: false, dry_run: false }
    }
}

impl Cluster {
    /// Creates an object through admission.
    pub(crate) fn create(
        &mut self,
        kind: &Kind,
        namespace: &str,
        mut object: Value,
        author: Author<'_>,
    ) -> Result<Arc<Value>, Refusal> {
        if !object::version(&object).is_empty() {
            let message = "resourceVersion should not be set on objects to be created";
            return Err(Refusal::bad_request(message));
        }
        let prefix = object::text(&object, "/metadata/generateName").to_owned();
        if object::name(&object).is_empty() {
            if prefix.is_empty() {
                let why = "Required value: name or generateName is required";
                return Err(Refusal::invalid(kind, "", "metadata.name", why));
            }
            let name = format!("{prefix}{}", object::spell(self.store.serial(), 5));
            object::set(&mut object, "/metadata/name", name);
        }
        let name = object::name(&object).to_owned();
        if kind.namespaced() {
            match object::namespace(&object) {
                "" => object::set(&mut object, "/metadata/namespace", namespace),
                given if given == namespace => {}
                _ => {
                    let message = "the namespace of the provided object does not match the \
                                   namespace sent on the request";
                    return Err(Refusal::bad_request(message));
                }
            }
            self.admit_into_namespace(kind, namespace, &name)?;
        }
        object::set(&mut object, "/apiVersion", kind.api_version());
        object::set(&mut object, "/kind", kind.kind.as_str());
        let reference = Reference::new(&kind.resource, namespace, &name);

        defaults::first_status(kind, &mut object);
        for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "managedFields"] {
            object::remove(&mut object, &format!("/metadata/{field}"));
        }
        let uid = self.uid();
        object::set(&mut object, "/metadata/uid", uid);
        object::set(&mut object, "/metadata/creationTimestamp", self.stamp());
        if kind.generation {
            object::set(&mut object, "/metadata/generation", 1);
        }
        defaults::fill(kind, &mut object);
        if let Some(what) = unsupported(kind, &object) {
            return Err(Refusal::not_simulated(what));
        }
        schema::enforce(kind, &mut object)?;
        self.establish(kind, &mut object);
        if kind.resource == kind::PODS {
            let troubles = self.faults.at_pod(namespace, &name, author.manager);
            self.trouble(kind, &name, &mut object, &troubles)?;
            self.default_resources(namespace, &mut object);
            self.inject(namespace, &mut object, &troubles)?;
            self.admit_by_limits(kind, &object)?;
        }
        self.admit_by_cordon(kind, None, &object)?;
        if kind.namespaced() && kind.resource != kind::EVENTS {
            self.admit_by_quota(kind, &object)?;
        }
        if self.store.get(&reference).is_some() {
            return Err(Refusal::already_exists(kind, &name));
        }
        Ok(self.commit(&reference, None, object, "", author))
    }

    /// Replaces an object, or its status, by what `change` makes of it.
    pub(crate) fn update(
        &mut self,
        kind: &Kind,
        reference: &Reference,
        part: Part,
        author: Author<'_>,
        change: impl FnOnce(&Value) -> Result<Value, Refusal>,
    ) -> Result<Arc<Value>, Refusal> {
        let name = &reference.name;
        let Some(current) = self.store.get(reference).cloned() else {
            return Err(Refusal::not_found(kind, name));
        };
        let mut next = change(&current)?;
        let (uid, version) = (object::uid(&next), object::version(&next));
        if !uid.is_empty() && uid != object::uid(&current) {
            let why = format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                object::uid(&current)
            );
            return Err(Refusal::conflict(kind, name, &why));
        }
        if !version.is_empty() && version != object::version(&current) {
            return Err(Refusal::modified(kind, name));
        }
        if !object::name(&next).is_empty() && object::name(&next) != name {
            return Err(Refusal::bad_request("the name of the object does not match the URL"));
        }
        match part {
            Part::Main if kind.status => match current.get("status") {
                Some(status) => object::set(&mut next, "/status", status.clone()),
                None => object::remove(&mut next, "/status"),
            },
            Part::Main => {}
            // Controllers change nothing else, which spares a copy.
            Part::Status if same_but_status(&current, &next) => {}
            Part::Status => {
                let status = next.get("status").cloned();
                next = Value::clone(&current);
                match status {
                    Some(status) => object::set(&mut next, "/status", status),
                    None => object::remove(&mut next, "/status"),
                }
            }
        }
        keep_fixed_fields(&current, &mut next);
        if part == Part::Main {
            defaults::fill(kind, &mut next);
            check_immutable(kind, name, &current, &next)?;
            if kind.generation && !same_spec(&current, &next) {
                let generation = object::integer(&current, "/metadata/generation");
                object::set(&mut next, "/metadata/generation", generation.unwrap_or_default() + 1);
            }
        }
        schema::enforce(kind, &mut next)?;
        if part == Part::Main {
            self.admit_by_cordon(kind, Some(&current), &next)?;
        }
        if next == *current {
            return Ok(current);
        }
        let subresource = if part == Part::Status { "status" } else { "" };
        let stored = self.commit(reference, Some(&current), next, subresource, author);
        if !author.dry_run {
            self.finalize(reference, author);
        }
        Ok(stored)
    }

    /// Changes the status of an object in place, for controllers: no preconditions.
    pub(crate) fn update_status(
        &mut self,
        reference: &Reference,
        manager: &str,
        change: impl FnOnce(&mut Value),
    ) {
        let Some(kind) = self.store.kind(&reference.resource) else { return };
        // The only refusal is that the object is gone, which a controller sees next time.
        let _ = self.update(&kind, reference, Part::Status, Author::controller(manager), |now| {
            let mut next = now.clone();
            change(&mut next);
            Ok(next)
        });
    }

    /// Changes the main part of an object in place, for controllers.
    pub(crate) fn update_main(
        &mut self,
        reference: &Reference,
        manager: &str,
        change: impl FnOnce(&mut Value),
    ) {
        let Some(kind) = self.store.kind(&reference.resource) else { return };
        let _ = self.update(&kind, reference, Part::Main, Author::controller(manager), |now| {
            let mut next = now.clone();
            change(&mut next);
            Ok(next)
        });
    }

    /// Gives a pod its node, as the scheduler's Binding does: one write of spec and status.
    pub(crate) fn bind(&mut self, reference: &Reference, node: &str) {
        let Some(current) = self.store.get(reference).cloned() else { return };
        let mut next = Value::clone(&current);
        object::default(&mut next, "/spec/nodeName", node);
        let scheduled = json!({ "type": "PodScheduled", "status": "True" });
        object::set_condition(&mut next, scheduled, &self.stamp());
        let author = Author::controller("kube-scheduler");
        self.commit(reference, Some(&current), next, "", author);
    }

    /// Gives a new definition the status that makes its kind served.
    pub(super) fn establish(&self, kind: &Kind, object: &mut Value) {
        if kind.resource != kind::DEFINITIONS {
            return;
        }
        let now = self.stamp();
        for (kind, reason, message) in [
            ("NamesAccepted", "NoConflicts", "no conflicts found"),
            ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ] {
            let condition =
                json!({ "type": kind, "status": "True", "reason": reason, "message": message });
            object::set_condition(object, condition, &now);
        }
        let names = object::at(object, "/spec/names").cloned().unwrap_or_default();
        object::set(object, "/status/acceptedNames", names);
        let stored: Vec<_> = object::list(object, "/spec/versions")
            .iter()
            .filter(|one| object::flag(one, "/storage"))
            .map(|one| json!(object::text(one, "/name")))
            .collect();
        object::set(object, "/status/storedVersions", stored);
    }

    fn commit(
        &mut self,
        reference: &Reference,
        current: Option<&Value>,
        mut next: Value,
        subresource: &str,
        author: Author<'_>,
    ) -> Arc<Value> {
        let operation = if author.applies { "Apply" } else { "Update" };
        let now = self.stamp();
        ownership::record(current, &mut next, author.manager, operation, subresource, &now);
        if author.dry_run {
            return Arc::new(next);
        }
        let at = (self.now(), Instant::now());
        self.store.put(reference, next, author.manager, at)
    }
}

/// What the sandbox would get wrong if it took it.
fn unsupported(kind: &Kind, object: &Value) -> Option<&'static str> {
    let has = |pointer: &str| object::at(object, pointer).is_some_and(|one| !one.is_null());
    match kind.resource.as_str() {
        kind::JOBS if object::text(object, "/spec/completionMode") == "Indexed" => {
            Some("Jobs of completionMode Indexed")
        }
        kind::QUOTAS if has("/spec/scopes") || has("/spec/scopeSelector") => {
            Some("ResourceQuotas with scopes")
        }
        kind::LIMIT_RANGES => object::list(object, "/spec/limits")
            .iter()
            .any(|item| object::text(item, "/type") != "Container")
            .then_some("LimitRanges of anything but containers"),
        _ => None,
    }
}

/// What no request changes.
fn keep_fixed_fields(current: &Value, next: &mut Value) {
    const FIXED: &[&str] = &[
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generateName",
        "managedFields",
    ];
    object::default(next, "/metadata", json!({}));
    if let (Some(Value::Object(before)), Some(Value::Object(after))) =
        (current.get("metadata"), next.get_mut("metadata"))
    {
        for field in FIXED.iter().copied() {
            match before.get(field) {
                Some(value) if after.get(field) == Some(value) => {}
                Some(value) => {
                    after.insert(field.to_owned(), value.clone());
                }
                None => {
                    after.remove(field);
                }
            }
        }
    }
    for field in ["/apiVersion", "/kind"] {
        object::set(next, field, object::text(current, field));
    }
}

fn check_immutable(kind: &Kind, name: &str, current: &Value, next: &Value) -> Result<(), Refusal> {
    let fields: &[&str] = match kind.resource.as_str() {
        kind::DEPLOYMENTS | kind::REPLICA_SETS | kind::DAEMON_SETS => &["/spec/selector"],
        kind::STATEFUL_SETS => {
            &["/spec/selector", "/spec/serviceName", "/spec/podManagementPolicy"]
        }
        kind::JOBS => &["/spec/selector", "/spec/template", "/spec/completions"],
        kind::PODS => &["/spec/nodeName", "/spec/hostNetwork"],
        _ => &[],
    };
    for field in fields {
        let (before, after) = (object::at(current, field), object::at(next, field));
        // A field that was empty may be filled once, as the scheduler does with nodeName.
        if before.is_some() && before != after {
            let path = field.trim_start_matches('/').replace('/', ".");
            return Err(Refusal::invalid(kind, name, &path, "Invalid value: field is immutable"));
        }
    }
    Ok(())
}

fn same_but_status(one: &Value, other: &Value) -> bool {
    let (Value::Object(one), Value::Object(other)) = (one, other) else { return false };
    let main = |key: &&String| key.as_str() != "status";
    one.keys().filter(main).count() == other.keys().filter(main).count()
        && one.iter().all(|(key, value)| key == "status" || other.get(key) == Some(value))
}

/// Whether nothing but metadata and status differs.
fn same_spec(one: &Value, other: &Value) -> bool {
    let (Value::Object(one), Value::Object(other)) = (one, other) else { return one == other };
    let keys = one.keys().chain(other.keys());
    keys.filter(|key| !matches!(key.as_str(), "metadata" | "status"))
        .all(|key| one.get(key) == other.get(key))
}
