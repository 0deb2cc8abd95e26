//! Where faults strike: requests by verb, resource, namespace, name and client.

use std::fmt;
use std::str::FromStr;

use super::Malformed;
use crate::exchange::Exchange;
use crate::kind;
use crate::route::{self, Route};
use crate::store::Reference;

const VERBS: [&str; 8] =
    ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];

/// Which requests a fault strikes: `VERB [RESOURCE [[NAMESPACE/]NAME]] [from CLIENT]`, with `*` for
/// whatever.
///
/// The verb may also be `reads`, `writes` or `any`; a resource may be given with its group
/// (`deployments.apps`) or without. A single name is that of the namespace for resources that have
/// one. Pods that are about to be created count as `create pods`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    verb: Verbs,
    resource: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
    client: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Verbs {
    #[default]
    Any,
    Reads,
    Writes,
    One(&'static str),
}

/// What a fault may strike.
#[derive(Debug)]
pub(crate) struct Occasion<'a> {
    pub(crate) verb: &'a str,
    resource: String,
    namespace: Option<String>,
    pub(crate) name: Option<String>,
    clients: [&'a str; 2],
    pub(crate) creates_pod: bool,
    /// Whether any version will do, as `resourceVersion=0` says.
    pub(crate) any_version: bool,
}

impl<'a> Occasion<'a> {
    /// None for requests that are about no resource, such as discovery.
    pub(crate) fn of(exchange: &'a Exchange) -> Option<Self> {
        let route = Route::parse(&exchange.path)?;
        let version = route::parse_query(&exchange.query).remove("resourceVersion");
        Some(Self {
            verb: exchange.verb,
            resource: route.resource(),
            namespace: route.namespace,
            name: route.name,
            clients: [&exchange.tag, &exchange.agent],
            creates_pod: false,
            any_version: version.as_deref() == Some("0"),
        })
    }

    /// A pod that is about to be created, by whomever.
    pub(crate) fn pod(namespace: &str, name: &str, author: &'a str) -> Self {
        Self {
            verb: "create",
            resource: kind::PODS.to_owned(),
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            clients: [author, author],
            creates_pod: true,
            any_version: false,
        }
    }

    /// The object that it names.
    pub(crate) fn reference(&self) -> Reference {
        let (namespace, name) = (self.namespace.as_deref(), self.name.as_deref());
        Reference::new(&self.resource, namespace.unwrap_or_default(), name.unwrap_or_default())
    }

    /// The namespace that it is about: the one that the object is in, or is.
    pub(crate) fn space(&self) -> Option<&str> {
        match self.resource.as_str() {
            kind::NAMESPACES => self.name.as_deref(),
            _ => self.namespace.as_deref(),
        }
    }
}

impl Place {
    pub(crate) fn selects(&self, occasion: &Occasion<'_>) -> bool {
        let reads = matches!(occasion.verb, "get" | "list" | "watch" | "other");
        let verb = match self.verb {
            Verbs::Any => true,
            Verbs::Reads => reads,
            Verbs::Writes => !reads,
            Verbs::One(verb) => verb == occasion.verb,
        };
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        let plural = occasion.resource.split('.').next();
        let client = self.client.as_deref();
        verb && (is(&self.resource, plural) || is(&self.resource, Some(&occasion.resource)))
            && is(&self.namespace, occasion.namespace.as_deref().or(occasion.name.as_deref()))
            && is(&self.name, occasion.name.as_deref())
            && client.is_none_or(|client| occasion.clients.contains(&client))
    }
}

impl FromStr for Place {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let mut words = text.split_whitespace();
        let mut place = Self::default();
        let mut part = 0;
        while let Some(word) = words.next() {
            if word == "from" {
                let client = words.next().ok_or_else(|| Malformed::new("`from` whom?"))?;
                place.client = Some(client.to_owned());
                part = 3;
                continue;
            }
            let any = |word: &str| (word != "*").then(|| word.to_owned());
            match part {
                0 => place.verb = verbs(word)?,
                1 => place.resource = any(word),
                2 => match word.split_once('/') {
                    Some((namespace, name)) => {
                        (place.namespace, place.name) = (any(namespace), any(name));
                    }
                    None => place.namespace = any(word),
                },
                _ => {
                    let usage = "VERB [RESOURCE [[NAMESPACE/]NAME]] [from CLIENT]";
                    return Err(Malformed::new(format!("`{word}` is too much: {usage} is all")));
                }
            }
            part += 1;
        }
        Ok(place)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.verb {
            Verbs::Any => "any",
            Verbs::Reads => "reads",
            Verbs::Writes => "writes",
            Verbs::One(verb) => verb,
        })?;
        let text = |part: &Option<String>| part.clone().unwrap_or_else(|| "*".to_owned());
        let named = self.name.is_some() || self.namespace.is_some();
        if self.resource.is_some() || named {
            write!(f, " {}", text(&self.resource))?;
        }
        if self.name.is_some() {
            write!(f, " {}/{}", text(&self.namespace), text(&self.name))?;
        } else if named {
            write!(f, " {}", text(&self.namespace))?;
        }
        self.client.as_ref().map_or(Ok(()), |client| write!(f, " from {client}"))
    }
}

fn verbs(word: &str) -> Result<Verbs, Malformed> {
    Ok(match word {
        "any" | "*" => Verbs::Any,
        "reads" => Verbs::Reads,
        "writes" => Verbs::Writes,
        _ => {
            let verb = VERBS.into_iter().find(|verb| *verb == word).ok_or_else(|| {
                let known = VERBS.join(", ");
                Malformed::new(format!(
                    "there is no verb `{word}`, only any, reads, writes, {known}"
                ))
            })?;
            Verbs::One(verb)
        }
    })
}
