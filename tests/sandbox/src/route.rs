//! From a URL to what it asks: verb, resource, namespace, name, subresource and parameters.

use std::collections::BTreeMap;

use http::{HeaderMap, Method, header};

/// A request as the sandbox handles it, its body already read.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: bytes::Bytes,
    pub(crate) tag: String,
    /// With `resourceVersion=0` it may be answered from a state as old as this.
    pub(crate) stale: Option<std::time::Duration>,
}

/// What a path below `/api` or `/apis` names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
}

impl Request {
    pub(crate) fn parameter(&self, name: &str) -> &str {
        self.query.get(name).map(String::as_str).unwrap_or_default()
    }

    pub(crate) fn holds(&self, name: &str) -> bool {
        matches!(self.parameter(name), "true" | "1")
    }

    pub(crate) fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Who writes: the given field manager, or the program that the user agent names.
    pub(crate) fn manager(&self) -> &str {
        match (self.parameter("fieldManager"), self.agent()) {
            ("", "") => &self.tag,
            ("", agent) => agent,
            (manager, _) => manager,
        }
    }

    /// The program that the user agent names.
    pub(crate) fn agent(&self) -> &str {
        self.header(header::USER_AGENT).split(['/', ' ']).next().unwrap_or_default()
    }

    /// Whether the client asked for metadata only.
    pub(crate) fn metadata_only(&self) -> bool {
        self.header(header::ACCEPT).contains("as=PartialObjectMetadata")
    }

    /// The verb as authorization and audit name it.
    pub(crate) fn verb(&self) -> &'static str {
        let named = Route::parse(&self.path).is_none_or(|route| route.name.is_some());
        match (self.method.as_str(), named) {
            ("GET", _) if self.holds("watch") => "watch",
            ("GET", false) => "list",
            ("GET", true) => "get",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", true) => "delete",
            ("DELETE", false) => "deletecollection",
            _ => "other",
        }
    }
}

impl Route {
    /// None for paths that name no resource, such as discovery.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let segments: Vec<_> = path.split('/').filter(|one| !one.is_empty()).collect();
        let (group, version, rest) = match segments.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let mut route =
            Self { group: group.to_owned(), version: version.to_owned(), ..Self::default() };
        let rest = match rest {
            // `namespaces/x/status` is about the namespace itself.
            ["namespaces", _, "status" | "finalize"] | ["namespaces", _] | ["namespaces"] => rest,
            ["namespaces", namespace, rest @ ..] => {
                route.namespace = Some((*namespace).to_owned());
                rest
            }
            _ => rest,
        };
        let mut rest = rest.iter().map(|segment| (*segment).to_owned());
        route.plural = rest.next()?;
        route.name = rest.next();
        route.subresource = rest.next();
        if rest.next().is_some() {
            return None;
        }
        Some(route)
    }

    /// The key of the resource in the store.
    pub(crate) fn resource(&self) -> String {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }
}

/// Decodes a query string; of repeated parameters the last one counts.
pub(crate) fn parse_query(query: &str) -> BTreeMap<String, String> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        })
        .collect()
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (bytes[at], escaped) {
            (_, Some(byte)) => {
                decoded.push(byte);
                at += 2;
            }
            (b'+', None) => decoded.push(b' '),
            (byte, None) => decoded.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
