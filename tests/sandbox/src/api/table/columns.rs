//! The columns of built-in kinds, as the API server defines them.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{age, definition, pod};
use crate::kind::{self, Kind};
use crate::object;

type Cell = fn(&Value, Timestamp) -> Value;

/// One column of a built-in kind.
pub(super) struct Column {
    name: &'static str,
    of: &'static str,
    /// Shown by `-o wide` only.
    wide: bool,
    cell: Cell,
}

impl Column {
    pub(super) fn definition(&self) -> Value {
        let format = if self.name == "Name" { "name" } else { "" };
        definition(self.name, self.of, format, i64::from(self.wide))
    }

    pub(super) fn cell(&self, object: &Value, now: Timestamp) -> Value {
        (self.cell)(object, now)
    }
}

const fn text(name: &'static str, cell: Cell) -> Column {
    Column { name, of: "string", wide: false, cell }
}

const fn number(name: &'static str, cell: Cell) -> Column {
    Column { name, of: "integer", wide: false, cell }
}

const fn wide(name: &'static str, cell: Cell) -> Column {
    Column { name, of: "string", wide: true, cell }
}

const NAME: Column = text("Name", |object, _| json!(object::name(object)));
const AGE: Column =
    text("Age", |object, now| age::since(object::text(object, "/metadata/creationTimestamp"), now));
const CONTAINERS: Column =
    wide("Containers", |object, _| containers(object, "/spec/template/spec", "/name"));
const IMAGES: Column =
    wide("Images", |object, _| containers(object, "/spec/template/spec", "/image"));
const SELECTOR: Column = wide("Selector", |object, _| selector(object, "/spec/selector"));

/// The columns of a kind; none for one that a definition describes.
pub(super) fn of(kind: &Kind) -> Option<&'static [Column]> {
    Some(match kind.resource.as_str() {
        _ if kind.custom => return None,
        kind::NAMESPACES => NAMESPACES,
        kind::PODS => PODS,
        kind::EVENTS => EVENTS,
        kind::DEPLOYMENTS => DEPLOYMENTS,
        kind::REPLICA_SETS => REPLICA_SETS,
        kind::STATEFUL_SETS => STATEFUL_SETS,
        kind::DAEMON_SETS => DAEMON_SETS,
        kind::REVISIONS => REVISIONS,
        kind::JOBS => JOBS,
        kind::CRON_JOBS => CRON_JOBS,
        kind::BUDGETS => BUDGETS,
        kind::QUOTAS => QUOTAS,
        kind::WEBHOOKS | "validatingwebhookconfigurations.admissionregistration.k8s.io" => WEBHOOKS,
        "nodes" => NODES,
        "services" => SERVICES,
        "configmaps" => CONFIG_MAPS,
        "serviceaccounts" => PLAIN,
        "leases.coordination.k8s.io" => LEASES,
        _ => DATED,
    })
}

static PLAIN: &[Column] = &[NAME, AGE];

static DATED: &[Column] =
    &[NAME, text("Created At", |one, _| json!(object::text(one, "/metadata/creationTimestamp")))];

static NAMESPACES: &[Column] =
    &[NAME, text("Status", |one, _| json!(object::text(one, "/status/phase"))), AGE];

static PODS: &[Column] = &[
    NAME,
    text("Ready", |pod, _| pod::ready(pod)),
    text("Status", |pod, _| pod::status(pod)),
    text("Restarts", pod::restarts),
    AGE,
    wide("IP", |pod, _| or_none(object::text(pod, "/status/podIP"))),
    wide("Node", |pod, _| or_none(object::text(pod, "/spec/nodeName"))),
    wide("Nominated Node", |pod, _| or_none(object::text(pod, "/status/nominatedNodeName"))),
    wide("Readiness Gates", |_, _| or_none("")),
];

static EVENTS: &[Column] = &[
    text("Last Seen", |event, now| age::since(object::text(event, "/lastTimestamp"), now)),
    text("Type", |event, _| json!(object::text(event, "/type"))),
    text("Reason", |event, _| json!(object::text(event, "/reason"))),
    text("Object", |event, _| {
        let kind = object::text(event, "/involvedObject/kind").to_lowercase();
        json!(format!("{kind}/{}", object::text(event, "/involvedObject/name")))
    }),
    wide("Subobject", |event, _| json!(object::text(event, "/involvedObject/fieldPath"))),
    wide("Source", |event, _| json!(object::text(event, "/source/component"))),
    text("Message", |event, _| json!(object::text(event, "/message").trim())),
    wide("First Seen", |event, now| age::since(object::text(event, "/firstTimestamp"), now)),
    wide("Count", |event, _| json!(count(event, "/count"))),
    wide("Name", |event, _| json!(object::name(event))),
];

static DEPLOYMENTS: &[Column] = &[
    NAME,
    text("Ready", |one, _| ratio(one, "/status/readyReplicas", "/spec/replicas")),
    text("Up-to-date", |one, _| json!(count(one, "/status/updatedReplicas"))),
    text("Available", |one, _| json!(count(one, "/status/availableReplicas"))),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

static REPLICA_SETS: &[Column] = &[
    NAME,
    number("Desired", |one, _| json!(count(one, "/spec/replicas"))),
    number("Current", |one, _| json!(count(one, "/status/replicas"))),
    number("Ready", |one, _| json!(count(one, "/status/readyReplicas"))),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

static STATEFUL_SETS: &[Column] = &[
    NAME,
    text("Ready", |one, _| ratio(one, "/status/readyReplicas", "/spec/replicas")),
    AGE,
    CONTAINERS,
    IMAGES,
];

static DAEMON_SETS: &[Column] = &[
    NAME,
    number("Desired", |one, _| json!(count(one, "/status/desiredNumberScheduled"))),
    number("Current", |one, _| json!(count(one, "/status/currentNumberScheduled"))),
    number("Ready", |one, _| json!(count(one, "/status/numberReady"))),
    number("Up-to-date", |one, _| json!(count(one, "/status/updatedNumberScheduled"))),
    number("Available", |one, _| json!(count(one, "/status/numberAvailable"))),
    text("Node Selector", |one, _| labels(one, "/spec/template/spec/nodeSelector")),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

static REVISIONS: &[Column] = &[
    NAME,
    text("Controller", |one, _| {
        or_none(&object::controller(one).map_or_else(String::new, |owner| {
            let (api, kind) = (object::text(owner, "/apiVersion"), object::text(owner, "/kind"));
            let group = api.split_once('/').map_or("", |(group, _)| group);
            format!("{}.{group}/{}", kind.to_lowercase(), object::text(owner, "/name"))
        }))
    }),
    text("Revision", |one, _| json!(count(one, "/revision"))),
    AGE,
];

static JOBS: &[Column] = &[
    NAME,
    text("Status", |job, _| {
        let holds = |kind| object::condition_holds(job, kind);
        json!(match () {
            () if holds("Complete") => "Complete",
            () if holds("Failed") => "Failed",
            () if object::deleting(job) => "Terminating",
            () if holds("Suspended") => "Suspended",
            () => "Running",
        })
    }),
    text("Completions", |job, _| match object::integer(job, "/spec/completions") {
        Some(_) => ratio(job, "/status/succeeded", "/spec/completions"),
        None => json!(format!("{}/1", count(job, "/status/succeeded"))),
    }),
    text("Duration", |job, now| {
        let now = now.to_string();
        let end = match object::text(job, "/status/completionTime") {
            "" => &now,
            end => end,
        };
        json!(age::between(object::text(job, "/status/startTime"), end).unwrap_or_default())
    }),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

static CRON_JOBS: &[Column] = &[
    NAME,
    text("Schedule", |one, _| json!(object::text(one, "/spec/schedule"))),
    text("Timezone", |one, _| or_none(object::text(one, "/spec/timeZone"))),
    Column {
        name: "Suspend",
        of: "boolean",
        wide: false,
        cell: |one, _| json!(if object::flag(one, "/spec/suspend") { "True" } else { "False" }),
    },
    number("Active", |one, _| json!(object::list(one, "/status/active").len())),
    text("Last Schedule", |one, now| match object::text(one, "/status/lastScheduleTime") {
        "" => or_none(""),
        time => age::since(time, now),
    }),
    AGE,
    wide("Containers", |one, _| containers(one, "/spec/jobTemplate/spec/template/spec", "/name")),
    wide("Images", |one, _| containers(one, "/spec/jobTemplate/spec/template/spec", "/image")),
    wide("Selector", |one, _| selector(one, "/spec/jobTemplate/spec/selector")),
];

static BUDGETS: &[Column] = &[
    NAME,
    text("Min Available", |one, _| amount(one, "/spec/minAvailable")),
    text("Max Unavailable", |one, _| amount(one, "/spec/maxUnavailable")),
    number("Allowed Disruptions", |one, _| json!(count(one, "/status/disruptionsAllowed"))),
    AGE,
];

static QUOTAS: &[Column] = &[
    NAME,
    text("Request", |quota, _| {
        let hard = object::at(quota, "/status/hard").and_then(Value::as_object);
        let used = |name: &str| object::entry(quota, "/status/used", name).unwrap_or("0");
        let shown = hard.into_iter().flatten().map(|(name, hard)| {
            format!("{name}: {}/{}", used(name), hard.as_str().unwrap_or_default())
        });
        json!(shown.collect::<Vec<_>>().join(", "))
    }),
    text("Limit", |_, _| json!("")),
    AGE,
];

static WEBHOOKS: &[Column] =
    &[NAME, number("Webhooks", |one, _| json!(object::list(one, "/webhooks").len())), AGE];

static NODES: &[Column] = &[
    NAME,
    text("Status", |node, _| {
        json!(match object::condition(node, "Ready") {
            Some(_) if object::condition_holds(node, "Ready") => "Ready",
            Some(_) => "NotReady",
            None => "Unknown",
        })
    }),
    text("Roles", |_, _| or_none("")),
    AGE,
    text("Version", |node, _| json!(object::text(node, "/status/nodeInfo/kubeletVersion"))),
];

static SERVICES: &[Column] = &[
    NAME,
    text("Type", |one, _| json!(object::text(one, "/spec/type"))),
    text("Cluster-IP", |one, _| or_none(object::text(one, "/spec/clusterIP"))),
    text("External-IP", |_, _| or_none("")),
    text("Port(s)", |one, _| {
        let ports = object::list(one, "/spec/ports").iter().map(|port| {
            let protocol = match object::text(port, "/protocol") {
                "" => "TCP",
                protocol => protocol,
            };
            format!("{}/{protocol}", count(port, "/port"))
        });
        or_none(&ports.collect::<Vec<_>>().join(","))
    }),
    AGE,
    wide("Selector", |one, _| labels(one, "/spec/selector")),
];

static CONFIG_MAPS: &[Column] = &[
    NAME,
    text("Data", |one, _| {
        let maps = [object::at(one, "/data"), object::at(one, "/binaryData")];
        json!(maps.iter().flatten().filter_map(|map| Some(map.as_object()?.len())).sum::<usize>())
    }),
    AGE,
];

static LEASES: &[Column] =
    &[NAME, text("Holder", |lease, _| json!(object::text(lease, "/spec/holderIdentity"))), AGE];

fn count(object: &Value, pointer: &str) -> i64 {
    object::integer(object, pointer).unwrap_or_default()
}

fn ratio(object: &Value, part: &str, whole: &str) -> Value {
    json!(format!("{}/{}", count(object, part), count(object, whole)))
}

fn or_none(text: &str) -> Value {
    json!(if text.is_empty() { "<none>" } else { text })
}

/// A number or a share.
fn amount(object: &Value, pointer: &str) -> Value {
    match object::at(object, pointer) {
        Some(Value::String(share)) => json!(share),
        Some(Value::Number(number)) => json!(number.to_string()),
        _ => json!("N/A"),
    }
}

fn containers(object: &Value, spec: &str, field: &str) -> Value {
    let all = object::list(object, &format!("{spec}/containers")).iter();
    json!(all.map(|one| object::text(one, field)).collect::<Vec<_>>().join(","))
}

/// A map of labels as `key=value` pairs.
fn labels(object: &Value, pointer: &str) -> Value {
    let pairs = object::strings(object::at(object, pointer)).into_iter();
    or_none(&pairs.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(","))
}

fn selector(object: &Value, pointer: &str) -> Value {
    labels(object, &format!("{pointer}/matchLabels"))
}
