//! Requests, parsed: everything that is wrong with one is found before it is refused.

pub(crate) mod retirement;

use super::{tag, verification};
use crate::control::Ticket;
use pbjson_types as well_known;
use revshift_core::allowance::{self, Allowance};
use revshift_core::calendar::Window;
use revshift_core::command::{Command, Force};
use revshift_core::gate::Gate;
use revshift_core::label::Selector;
use revshift_core::migration::{Approval, OnFailure, Verification};
use revshift_core::plan::{self, ROLLOUT_TIMEOUT, Request, extension};
use revshift_core::refusal::{FieldViolation, Refusal};
use revshift_core::rollback;
use revshift_core::selection::{self, Matching, Selection};
use revshift_core::tag::TagPolicy;
use revshift_core::wave::Wave;
use revshift_proto::v1 as proto;
use std::collections::BTreeSet;
use std::time::Duration;

/// What is wrong with the fields of a request, as far as it was looked at.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<FieldViolation>);

/// A creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Creation {
    /// What is to be moved.
    pub(crate) request: Request,
    /// What identifies it.
    pub(crate) ticket: Ticket,
}

/// An extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extension {
    /// The migration that takes something in.
    pub(crate) id: String,
    /// What it takes in.
    pub(crate) request: extension::Request,
    /// What identifies it; none when it is only to be planned.
    pub(crate) ticket: Option<Ticket>,
}

/// A rollback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rollback {
    /// The migration to roll back.
    pub(crate) id: String,
    /// What of it goes back, and how.
    pub(crate) request: rollback::Request,
    /// What identifies it; none when it is only to be planned.
    pub(crate) ticket: Option<Ticket>,
}

impl Fields {
    /// Notes what is wrong with a field.
    pub(crate) fn refuse(&mut self, field: &str, description: impl Into<String>) {
        self.0.push(FieldViolation::new(field, description));
    }

    /// Refuses the request if anything is wrong with it.
    pub(crate) fn finish(self) -> Result<(), Refusal> {
        if self.0.is_empty() { Ok(()) } else { Err(Refusal::InvalidFields(self.0)) }
    }

    /// A migration's id.
    pub(crate) fn id(&mut self, field: &str, id: &str) -> String {
        match id.strip_prefix("m-") {
            _ if id.is_empty() => self.refuse(field, "is required"),
            Some(digits) if is_hex(digits, 10) => {}
            _ => self.refuse(field, "must be `m-` and 10 hexadecimal digits"),
        }
        id.to_owned()
    }

    /// The name of a control plane.
    pub(crate) fn plane(&mut self, field: &str, name: &str) {
        if name.is_empty() {
            self.refuse(field, "must name a control plane");
        }
    }

    /// The name of a namespace.
    pub(crate) fn namespace(&mut self, field: &str, name: &str) {
        if !selection::is_name(name) {
            self.refuse(field, format!("`{name}` is no namespace's name"));
        }
    }

    fn ticket(&mut self, request_id: &str, plan_hash: &str) -> Ticket {
        match request_id {
            "" => self.refuse("request_id", "is required"),
            id if is_uuid(id) => {}
            _ => self.refuse("request_id", "must be a UUID"),
        }
        match plan_hash {
            "" => self.refuse("plan_hash", "is required: send the hash of the plan that was shown"),
            hash if is_hex(hash, 64) => {}
            _ => self.refuse("plan_hash", "must be 64 hexadecimal digits in lower case"),
        }
        Ticket { request_id: request_id.to_ascii_lowercase(), plan_hash: plan_hash.to_owned() }
    }

    fn spec(&mut self, spec: Option<proto::MigrationSpec>) -> Request {
        let Some(spec) = spec else {
            self.refuse("spec", "is required");
            return Request {
                source: String::new(),
                target: String::new(),
                selection: Selection::Named(Vec::new()),
                rule: None,
                approve_all: false,
                rollout_timeout: ROLLOUT_TIMEOUT,
                failure_budget: 0,
                allow_downtime: false,
                on_failure: OnFailure::Pause,
                verification: Verification::default(),
                windows: Vec::new(),
                gates: Vec::new(),
                allowances: Vec::new(),
                tags: TagPolicy::Refuse,
            };
        };
        let rollout_timeout = self.duration("spec.rollout_timeout", spec.rollout_timeout);
        let proto::MigrationSpec { approve_all, failure_budget, allow_downtime, .. } = spec;
        let on_failure = self.on_failure(spec.on_failure);
        let verification = verification::read(spec.verification).unwrap_or_else(|why| {
            self.refuse("spec.verification", why);
            Verification::default()
        });
        let tags = tag::policy(spec.tags).unwrap_or_else(|why| {
            self.refuse("spec.tags", why);
            TagPolicy::default()
        });
        let (source, target) = (spec.source.clone(), spec.target.clone());
        let windows = self.windows(&spec.windows);
        let gates = self.gates(&spec.gates);
        let allowances = self.allowances(&spec.allowed_findings);
        let rule = self.rule(spec.rule.as_ref(), !spec.waves.is_empty());
        let request = Request {
            source,
            target,
            rule,
            selection: self.selection(spec),
            approve_all,
            rollout_timeout: rollout_timeout.unwrap_or(ROLLOUT_TIMEOUT),
            failure_budget,
            allow_downtime,
            on_failure,
            verification,
            windows,
            gates,
            allowances,
            tags,
        };
        self.0.extend(plan::check_fields(&request));
        request
    }

    fn rule(&mut self, rule: Option<&proto::Rule>, waves: bool) -> Option<Matching> {
        let rule = rule?;
        if !waves {
            self.refuse("spec.rule", "only tells what has found the namespaces of waves");
        }
        let selector = rule.label_selector.parse();
        let selector = selector
            .map_err(|why: String| self.refuse("spec.rule.label_selector", why))
            .unwrap_or_default();
        Some(Matching { selector, exclude: rule.exclude.iter().cloned().collect() })
    }

    fn windows(&mut self, windows: &[String]) -> Vec<Window> {
        let read = windows.iter().enumerate().filter_map(|(index, text)| {
            let window = text.parse();
            window.map_err(|why: String| self.refuse(&format!("spec.windows[{index}]"), why)).ok()
        });
        read.collect()
    }

    fn gates(&mut self, gates: &[proto::Gate]) -> Vec<Gate> {
        let read = gates.iter().enumerate().map(|(index, gate)| {
            let field = format!("spec.gates[{index}].soak");
            Gate {
                waves: gate.waves.iter().copied().collect(),
                soak: self.duration(&field, gate.soak).unwrap_or_default(),
                checks: gate.checks.clone(),
            }
        });
        read.collect()
    }

    fn allowances(&mut self, asked: &[proto::AllowedFinding]) -> Vec<Allowance> {
        let asked: Vec<(String, String)> =
            asked.iter().map(|it| (it.code.clone(), it.reason.clone())).collect();
        allowance::parse(&asked).unwrap_or_else(|violations| {
            self.0.extend(violations);
            Vec::new()
        })
    }

    fn on_failure(&mut self, value: i32) -> OnFailure {
        match proto::OnFailure::try_from(value) {
            Ok(proto::OnFailure::Unspecified | proto::OnFailure::Pause) => OnFailure::Pause,
            Ok(proto::OnFailure::RollbackNamespace) => OnFailure::RollBackNamespace,
            Ok(proto::OnFailure::RollbackWave) => OnFailure::RollBackWave,
            Err(_) => {
                self.refuse("spec.on_failure", format!("{value} is nothing that is known"));
                OnFailure::Pause
            }
        }
    }

    /// The one of the four ways to select that was chosen.
    fn selection(&mut self, spec: proto::MigrationSpec) -> Selection {
        let proto::MigrationSpec { namespaces, waves, label_selector, all, exclude, .. } = spec;
        let ruled = all || !label_selector.is_empty();
        let ways = [!namespaces.is_empty(), !waves.is_empty(), !label_selector.is_empty(), all];
        if ways.into_iter().filter(|chosen| *chosen).count() > 1 {
            let one = "give only one of namespaces, waves, label_selector and all";
            self.refuse("spec", one);
        }
        if !exclude.is_empty() && !ruled {
            self.refuse("spec.exclude", "only narrows label_selector and all");
        }
        if ruled {
            let selector = label_selector.parse().unwrap_or_else(|why: String| {
                self.refuse("spec.label_selector", why);
                Selector::default()
            });
            let exclude = exclude.into_iter().collect();
            return Selection::Matching(Matching { selector, exclude });
        }
        if waves.is_empty() {
            return Selection::Named(namespaces);
        }
        let wave =
            |wave: proto::Wave| Wave { namespaces: wave.namespaces, approval: wave.approval };
        Selection::Waves(waves.into_iter().map(wave).collect())
    }

    /// A span of time; none when it is absent or malformed.
    fn duration(&mut self, field: &str, span: Option<well_known::Duration>) -> Option<Duration> {
        /// The most that a `google.protobuf.Duration` may be: 10,000 years.
        const MOST_SECONDS: u64 = 315_576_000_000;
        let well_known::Duration { seconds, nanos } = span?;
        match (u64::try_from(seconds), u32::try_from(nanos)) {
            (Ok(seconds @ ..=MOST_SECONDS), Ok(nanos @ ..1_000_000_000)) => {
                return Some(Duration::new(seconds, nanos));
            }
            (Err(_), _) | (Ok(0), Err(_)) => self.refuse(field, "must not be negative"),
            _ => self.refuse(field, "is out of range"),
        }
        None
    }

    fn namespaces(&mut self, names: &[String]) {
        let mut seen = BTreeSet::new();
        for (index, name) in names.iter().enumerate() {
            let field = format!("namespaces[{index}]");
            if name.is_empty() {
                self.refuse(&field, "must name a namespace");
            } else if !seen.insert(name) {
                self.refuse(&field, format!("`{name}` is named twice"));
            }
        }
    }
}

/// A migration's id, as the only field of its request.
pub(crate) fn id(id: &str) -> Result<String, Refusal> {
    let mut fields = Fields::default();
    let id = fields.id("id", id);
    fields.finish().map(|()| id)
}

/// What is to be planned.
pub(crate) fn plan(spec: Option<proto::MigrationSpec>) -> Result<Request, Refusal> {
    let mut fields = Fields::default();
    let request = fields.spec(spec);
    fields.finish().map(|()| request)
}

/// What is to be created.
pub(crate) fn create(request: proto::CreateMigrationRequest) -> Result<Creation, Refusal> {
    let mut fields = Fields::default();
    let ticket = fields.ticket(&request.request_id, &request.plan_hash);
    let request = fields.spec(request.spec);
    fields.finish().map(|()| Creation { request, ticket })
}

/// What is to go on.
pub(crate) fn resume(
    request: &proto::ResumeMigrationRequest,
    approval: Approval,
) -> Result<(String, Command), Refusal> {
    let id = id(&request.id)?;
    let accept = request.accept_gates_of_wave.map(|wave| Command::Accept(wave, approval));
    Ok((id, accept.unwrap_or(Command::Resume)))
}

/// Which wave is to be approved.
pub(crate) fn approve(
    request: &proto::ApproveMigrationRequest,
    approval: Approval,
) -> Result<(String, Command), Refusal> {
    let id = id(&request.id)?;
    Ok((id, Command::Approve(request.wave, approval)))
}

/// Which moves are to be skipped.
pub(crate) fn skip(request: proto::SkipMovesRequest) -> Result<(String, Command), Refusal> {
    let proto::SkipMovesRequest { migration_id, namespaces } = request;
    moves(&migration_id, &namespaces).map(|id| (id, Command::Skip(namespaces)))
}

/// Which moves are to be retried.
pub(crate) fn retry(request: proto::RetryMovesRequest) -> Result<(String, Command), Refusal> {
    let proto::RetryMovesRequest { migration_id, namespaces, force } = request;
    let force = if force { Force::Yes } else { Force::No };
    moves(&migration_id, &namespaces).map(|id| (id, Command::Retry(namespaces, force)))
}

/// Moves of a migration: at least one, and each named once.
fn moves(migration_id: &str, namespaces: &[String]) -> Result<String, Refusal> {
    let mut fields = Fields::default();
    let id = fields.id("migration_id", migration_id);
    if namespaces.is_empty() {
        fields.refuse("namespaces", "must name a namespace");
    }
    fields.namespaces(namespaces);
    fields.finish().map(|()| id)
}

/// What is to be taken in.
pub(crate) fn extend(request: proto::ExtendMigrationRequest) -> Result<Extension, Refusal> {
    let mut fields = Fields::default();
    let id = fields.id("id", &request.id);
    let proto::ExtendMigrationRequest { namespaces, request_id, plan_hash, validate_only, .. } =
        request;
    let request = extension::Request { namespaces };
    fields.0.extend(extension::check_fields(&request));
    let ticket = (!validate_only).then(|| fields.ticket(&request_id, &plan_hash));
    fields.finish().map(|()| Extension { id, request, ticket })
}

/// What is to be rolled back.
pub(crate) fn rollback(request: proto::RollbackMigrationRequest) -> Result<Rollback, Refusal> {
    let mut fields = Fields::default();
    let id = fields.id("id", &request.id);
    fields.namespaces(&request.namespaces);
    let proto::RollbackMigrationRequest { namespaces, wave, reason, force, .. } = request;
    let proto::RollbackMigrationRequest { request_id, plan_hash, validate_only, .. } = request;
    let request = rollback::Request { namespaces, wave, reason, force };
    fields.0.extend(rollback::check_fields(&request));
    let ticket = (!validate_only).then(|| fields.ticket(&request_id, &plan_hash));
    fields.finish().map(|()| Rollback { id, request, ticket })
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    let digits = |group: &&str| group.bytes().all(|b| b.is_ascii_hexdigit());
    lengths == [8, 4, 4, 4, 12] && groups.iter().all(digits)
}

#[cfg(test)]
mod tests;
