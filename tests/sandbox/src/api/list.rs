//! Lists: selectors, pages that show one moment, and the semantics of `resourceVersion`.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Reply, Shape, Table};
use crate::cluster::Cluster;
use crate::kind::Kind;
use crate::object;
use crate::refusal::Refusal;
use crate::route::{Request, Route};
use crate::selector::{FieldSelector, LabelSelector};

/// The selectors of a list or watch.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Filter {
    pub(crate) fn of(kind: &Kind, request: &Request) -> Result<Self, Refusal> {
        Ok(Self {
            labels: LabelSelector::parse(request.parameter("labelSelector"))?,
            fields: FieldSelector::parse(kind, request.parameter("fieldSelector"))?,
        })
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.labels.matches_object(object) && self.fields.matches(object)
    }

    fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }
}

pub(super) fn answer(
    cluster: &mut Cluster,
    request: &Request,
    route: &Route,
    kind: &Kind,
) -> Result<Reply, Refusal> {
    let filter = Filter::of(kind, request)?;
    let limit = match request.parameter("limit") {
        "" | "0" => usize::MAX,
        text => text.parse().map_err(|_| {
            Refusal::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
        })?,
    };
    let (version, items, from, id) = match request.parameter("continue") {
        "" => {
            check_version(cluster, request)?;
            let stale = request.stale.filter(|_| request.parameter("resourceVersion") == "0");
            let version = cluster.version_before(stale);
            let mut items = if stale.is_some() {
                let mut all = cluster.store.list_at(version, kind);
                let wanted = route.namespace.as_deref();
                all.retain(|one| wanted.is_none_or(|wanted| wanted == object::namespace(one)));
                all
            } else {
                cluster.store.list(&kind.resource, route.namespace.as_deref()).cloned().collect()
            };
            items.retain(|object| filter.matches(object));
            (version, Arc::new(items), 0, None)
        }
        token => {
            let (id, from) = parse_token(token)?;
            let (version, items) = cluster.pages.get(id).ok_or_else(|| {
                Refusal::expired(
                    "The provided continue parameter is too old to display a consistent list \
                     result. You can start a new list without the continue parameter.",
                )
            })?;
            (version, items, from, Some(id))
        }
    };
    let until = items.len().min(from.saturating_add(limit));
    let metadata_only = request.metadata_only();
    let page = &items[from.min(until)..until];
    let left = items.len() - until;
    let next = (left > 0).then(|| {
        let id = id.unwrap_or_else(|| cluster.pages.keep(version, items.to_vec()));
        (format!("{id}.{until}"), filter.is_empty().then_some(left))
    });
    if let Some(table) = Table::asked(request) {
        let rows = page.iter().map(Arc::as_ref);
        let mut list = table.of(kind, rows, &version.to_string(), cluster.now(), true);
        if let Some((token, left)) = next {
            object::set(&mut list, "/metadata/continue", token);
            if let Some(left) = left {
                object::set(&mut list, "/metadata/remainingItemCount", left);
            }
        }
        return Ok(Reply::Json(200, list));
    }
    let collection = Collection { kind, version, metadata_only, next };
    Ok(Reply::Encoded(200, collection.encoded(page)))
}

/// A list object around items.
pub(super) struct Collection<'a> {
    pub(super) kind: &'a Kind,
    pub(super) version: u64,
    pub(super) metadata_only: bool,
    /// The token of the next page, and how many items are left where that is told.
    pub(super) next: Option<(String, Option<usize>)>,
}

impl Collection<'_> {
    pub(super) fn encoded(&self, items: &[Arc<Value>]) -> Vec<u8> {
        let (list_kind, api_version) = if self.metadata_only {
            ("PartialObjectMetadataList", "meta.k8s.io/v1".to_owned())
        } else {
            (self.kind.list_kind.as_str(), self.kind.api_version())
        };
        let mut metadata = json!({ "resourceVersion": self.version.to_string() });
        if let Some((token, left)) = &self.next {
            metadata["continue"] = json!(token);
            if let Some(left) = left {
                metadata["remainingItemCount"] = json!(left);
            }
        }
        let shape = match self.metadata_only {
            true => Shape::Metadata,
            // Lists of built-in kinds say the type once, in the list's own.
            false if self.kind.custom => Shape::Whole,
            false => Shape::Untyped,
        };
        let head = json!({ "kind": list_kind, "apiVersion": api_version, "metadata": metadata });
        let mut json = head.to_string().into_bytes();
        json.pop();
        json.extend(b",\"items\":[");
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                json.push(b',');
            }
            shape.write(item, &mut json);
        }
        json.extend(b"]}");
        json
    }
}

/// Any version up to now is served from the newest state; only `Exact` can be too old.
fn check_version(cluster: &Cluster, request: &Request) -> Result<(), Refusal> {
    let text = request.parameter("resourceVersion");
    let refuse = |why: &str| Err(Refusal::invalid_list_options("resourceVersionMatch", why));
    match (request.parameter("resourceVersionMatch"), text) {
        ("Exact" | "NotOlderThan", "") => {
            return refuse(
                "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
            );
        }
        ("Exact", "0") => {
            return refuse(
                "Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            );
        }
        ("" | "Exact" | "NotOlderThan", _) => {}
        (other, _) => {
            return refuse(&format!(
                "Unsupported value: \"{other}\": supported values: \"Exact\", \"NotOlderThan\", \
                 \"\""
            ));
        }
    }
    if text.is_empty() || text == "0" {
        return Ok(());
    }
    let wanted = parse_version(text)?;
    let current = cluster.store.version();
    if wanted > current {
        let message = format!("Timeout: Too large resource version: {wanted}, current: {current}");
        let mut refusal = Refusal::new(504, "Timeout", message);
        refusal.details = json!({
            "causes": [{ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" }],
            "retryAfterSeconds": 1,
        });
        return Err(refusal);
    }
    if request.parameter("resourceVersionMatch") == "Exact" && wanted < current {
        return Err(Refusal::expired(format!(
            "The resourceVersion for the provided list is too old: {wanted}"
        )));
    }
    Ok(())
}

pub(crate) fn parse_version(text: &str) -> Result<u64, Refusal> {
    text.parse().map_err(|_| {
        Refusal::bad_request(format!("invalid resource version {text:?}: not a number"))
    })
}

fn parse_token(token: &str) -> Result<(u64, usize), Refusal> {
    token
        .split_once('.')
        .and_then(|(id, from)| Some((id.parse().ok()?, from.parse().ok()?)))
        .ok_or_else(|| Refusal::bad_request("continue key is not valid"))
}
