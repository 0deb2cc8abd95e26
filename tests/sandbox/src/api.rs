//! The API server's endpoints: a request meets the cluster, an answer comes out.
//!
//! What is not simulated is refused with 501, never answered with a guess.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::cluster::{Author, Cluster, DeleteOptions, Part};
use crate::kind::{self, Kind};
use crate::object;
use crate::patch::Patch;
use crate::refusal::Refusal;
use crate::route::{Request, Route};
use crate::store::Reference;
use crate::watch::Watch;

mod access;
mod discovery;
mod encode;
mod identity;
mod list;
mod openapi;
mod scale;
mod table;

pub(crate) use encode::{Shape, write};
pub(crate) use identity::ISTIO_TOKEN;
pub(crate) use list::{Filter, parse_version};
pub(crate) use table::Table;

/// What goes back to the client.
#[derive(Debug)]
pub(crate) enum Reply {
    Json(u16, Value),
    /// JSON as it is sent.
    Encoded(u16, Vec<u8>),
    Text(u16, String),
    Watch(Box<Watch>),
}

/// Handles one request; the caller holds the cluster's lock.
pub(crate) fn handle(cluster: &mut Cluster, request: &Request) -> Reply {
    let Some(route) = Route::parse(&request.path) else {
        return discovery::answer(cluster, request);
    };
    if let Some(reply) = identity::answer(request, &route) {
        return reply;
    }
    if access::asks(request, &route) {
        return access::answer(cluster, request);
    }
    let Some(kind) = resolve(cluster, &route) else { return absent(request, &route) };
    if kind.namespaced() != route.namespace.is_some()
        && (route.name.is_some() || request.method != http::Method::GET || !kind.namespaced())
    {
        return Reply::Text(404, "404 page not found\n".into());
    }
    answer(cluster, request, &route, &kind)
        .unwrap_or_else(|refusal| Reply::Json(refusal.code, refusal.status()))
}

fn resolve(cluster: &Cluster, route: &Route) -> Option<Arc<Kind>> {
    cluster.store.kind(&route.resource()).filter(|kind| kind.served.contains(&route.version))
}

/// What is answered when nothing is served under a path.
fn absent(request: &Request, route: &Route) -> Reply {
    if kind::is_own_group(&route.group) {
        let refusal = Refusal::not_simulated(&format!("{} {}", request.method, request.path));
        Reply::Json(refusal.code, refusal.status())
    } else {
        Reply::Text(404, "404 page not found\n".into())
    }
}

fn answer(
    cluster: &mut Cluster,
    request: &Request,
    route: &Route,
    kind: &Arc<Kind>,
) -> Result<Reply, Refusal> {
    let namespace = route.namespace.as_deref().unwrap_or_default();
    let author = Author {
        manager: request.manager(),
        applies: request.header(http::header::CONTENT_TYPE).starts_with("application/apply-patch"),
        dry_run: request.parameter("dryRun") == "All",
    };
    let Some(name) = &route.name else {
        return match request.verb() {
            "watch" => Ok(Reply::Watch(Box::new(Watch::open(cluster, request, route, kind)?))),
            "list" => list::answer(cluster, request, route, kind),
            "create" => {
                let created = cluster.create(kind, namespace, body(request)?, author)?;
                Ok(shown(201, &created, request))
            }
            "deletecollection" => delete_all(cluster, request, route, kind, author),
            _ => Err(unknown_method()),
        };
    };
    let reference = Reference::new(&kind.resource, namespace, name);
    let part = match (route.subresource.as_deref(), kind.resource.as_str()) {
        (Some("status"), _) if kind.status => Part::Status,
        (None, _) | (Some("finalize"), kind::NAMESPACES) => Part::Main,
        (Some("eviction"), kind::PODS) if request.verb() == "create" => {
            cluster.evict(kind, &reference, &body(request)?, author)?;
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                "code": 201,
            });
            return Ok(Reply::Json(201, status));
        }
        (Some("scale"), _) if scale::scales(kind) => {
            return scale::answer(cluster, request, kind, &reference, author);
        }
        (Some("status"), _) => return Ok(Reply::Text(404, "404 page not found\n".into())),
        (Some(_), _) => return Ok(absent(request, route)),
    };
    let stored = match request.verb() {
        "get" => {
            let stale = request.stale.filter(|_| request.parameter("resourceVersion") == "0");
            let found = if stale.is_some() {
                let then = cluster.store.list_at(cluster.version_before(stale), kind);
                let is = |one: &Arc<Value>| {
                    object::namespace(one) == namespace && object::name(one) == name
                };
                then.into_iter().find(is)
            } else {
                cluster.store.get(&reference).cloned()
            };
            let found = found.ok_or_else(|| Refusal::not_found(kind, name))?;
            if let Some(table) = Table::asked(request) {
                let version = object::version(&found);
                let table = table.of(kind, [found.as_ref()], version, cluster.now(), true);
                return Ok(Reply::Json(200, table));
            }
            found
        }
        "update" => {
            let next = body(request)?;
            let guarded = kind.custom || kind.resource == kind::LEASES;
            if guarded && object::version(&next).is_empty() {
                let why = "Invalid value: 0: must be specified for an update";
                return Err(Refusal::invalid(kind, name, "metadata.resourceVersion", why));
            }
            cluster.update(kind, &reference, part, author, |_| Ok(next))?
        }
        "patch" => {
            let content_type = request.header(http::header::CONTENT_TYPE);
            let patch = Patch::parse(content_type, &request.body)?;
            return patched(cluster, kind, &reference, part, author, &patch)
                .map(|(code, one)| shown(code, &one, request));
        }
        "delete" => return delete(cluster, request, kind, &reference, author),
        _ => return Err(unknown_method()),
    };
    Ok(shown(200, &stored, request))
}

fn patched(
    cluster: &mut Cluster,
    kind: &Kind,
    reference: &Reference,
    part: Part,
    author: Author<'_>,
    patch: &Patch,
) -> Result<(u16, Arc<Value>), Refusal> {
    if let (Patch::Strategic(_), true) = (patch, kind.custom) {
        let message = "the body of the request was in an unknown format - accepted media types \
                       include: application/json-patch+json, application/merge-patch+json, \
                       application/apply-patch+yaml";
        return Err(Refusal::new(415, "UnsupportedMediaType", message));
    }
    if let (Patch::Apply(object), None, Part::Main) = (patch, cluster.store.get(reference), part) {
        let mut object = object.clone();
        object::set(&mut object, "/metadata/name", reference.name.as_str());
        return Ok((201, cluster.create(kind, &reference.namespace, object, author)?));
    }
    let updated = cluster.update(kind, reference, part, author, |now| patch.apply(now))?;
    Ok((200, updated))
}

fn delete(
    cluster: &mut Cluster,
    request: &Request,
    kind: &Kind,
    reference: &Reference,
    author: Author<'_>,
) -> Result<Reply, Refusal> {
    let options = delete_options(request)?;
    let (object, gone) = cluster.delete(kind, reference, &options, author)?;
    let shows_object = matches!(kind.resource.as_str(), kind::PODS | kind::NAMESPACES);
    if !gone || shows_object {
        return Ok(shown(200, &object, request));
    }
    let mut details = json!({
        "name": reference.name, "kind": kind.plural, "uid": object::uid(&object),
    });
    if !kind.group.is_empty() {
        details["group"] = json!(kind.group);
    }
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": details,
    });
    Ok(Reply::Json(200, status))
}

fn delete_all(
    cluster: &mut Cluster,
    request: &Request,
    route: &Route,
    kind: &Kind,
    author: Author<'_>,
) -> Result<Reply, Refusal> {
    let options = delete_options(request)?;
    let filter = Filter::of(kind, request)?;
    let selected: Vec<_> = cluster
        .store
        .list(&kind.resource, route.namespace.as_deref())
        .filter(|object| filter.matches(object))
        .cloned()
        .collect();
    for object in &selected {
        let reference =
            Reference::new(&kind.resource, object::namespace(object), object::name(object));
        cluster.delete(kind, &reference, &options, author)?;
    }
    let version = cluster.store.version();
    let all = list::Collection { kind, version, metadata_only: false, next: None };
    Ok(Reply::Encoded(200, all.encoded(&selected)))
}

/// Options come in the body, or as parameters of the URL.
fn delete_options(request: &Request) -> Result<DeleteOptions, Refusal> {
    let mut given = if request.body.is_empty() { json!({}) } else { body(request)? };
    for name in ["propagationPolicy", "gracePeriodSeconds"] {
        match request.parameter(name) {
            "" => {}
            text => match text.parse::<i64>() {
                Ok(number) => object::default(&mut given, &format!("/{name}"), number),
                Err(_) => object::default(&mut given, &format!("/{name}"), text),
            },
        }
    }
    Ok(DeleteOptions::parse(&given))
}

fn body(request: &Request) -> Result<Value, Refusal> {
    let content_type = request.header(http::header::CONTENT_TYPE);
    if content_type.contains("protobuf") || content_type.contains("cbor") {
        let message = "the body of the request was in an unknown format - accepted media types \
                       include: application/json";
        return Err(Refusal::new(415, "UnsupportedMediaType", message));
    }
    let value: Value = serde_json::from_slice(&request.body)
        .map_err(|error| Refusal::bad_request(format!("the body is not JSON: {error}")))?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(Refusal::bad_request("the body is not an object"))
    }
}

/// An object as the client of a request gets it.
fn shown(status: u16, object: &Value, request: &Request) -> Reply {
    let shape = if request.metadata_only() { Shape::Metadata } else { Shape::Whole };
    let mut json = Vec::new();
    shape.write(object, &mut json);
    Reply::Encoded(status, json)
}

fn unknown_method() -> Refusal {
    let message = "the server does not allow this method on the requested resource";
    let mut refusal = Refusal::new(405, "MethodNotAllowed", message);
    refusal.details = json!({});
    refusal
}
