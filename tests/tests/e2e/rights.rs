//! What the server sends against what deploy/rbac.yaml grants its account: neither more nor less.

use revshift_sandbox::Exchange;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// A verb on a resource, or on its subresource, of an API group.
pub(crate) type Right = (String, String, String);

/// The rights that `exchanges` needed. What only `--install-crds` sends is left out.
pub(crate) fn used(exchanges: &[Exchange]) -> BTreeSet<Right> {
    exchanges
        .iter()
        .filter(|exchange| exchange.tag.starts_with("replica-"))
        .filter_map(|exchange| {
            let (group, resource) = resource(&exchange.path)?;
            let installs = resource == "namespaces" && exchange.verb == "create";
            if installs && !exchange.dry() {
                return None;
            }
            Some((exchange.verb.to_owned(), group, resource))
        })
        .filter(|(verb, _, resource)| match resource.as_str() {
            "customresourcedefinitions" => !matches!(verb.as_str(), "get" | "patch"),
            _ => true,
        })
        .collect()
}

/// The rights that deploy/ grants, those to delete control planes included.
pub(crate) fn granted() -> BTreeSet<Right> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("it is in deploy/");
    let text = ["rbac.yaml", "retirement.yaml"].map(read).join("\n---\n");
    let mut rights = BTreeSet::new();
    for document in text.split("\n---\n") {
        let object: Value = serde_norway::from_str(document).expect("deploy/rbac.yaml is YAML");
        for rule in object["rules"].as_array().into_iter().flatten() {
            let texts = |field: &str| -> Vec<String> {
                let values = rule[field].as_array().into_iter().flatten();
                values.filter_map(Value::as_str).map(str::to_owned).collect()
            };
            for group in texts("apiGroups") {
                for resource in texts("resources") {
                    for verb in texts("verbs") {
                        rights.insert((verb, group.clone(), resource.clone()));
                    }
                }
            }
        }
    }
    rights
}

/// The API group and the resource in a path, with the subresource where there is one.
fn resource(path: &str) -> Option<(String, String)> {
    let mut steps = path.trim_matches('/').split('/');
    let group = match steps.next()? {
        "api" => String::new(),
        "apis" => steps.next()?.to_owned(),
        _ => return None,
    };
    let steps: Vec<&str> = steps.skip(1).collect();
    let steps = match steps.as_slice() {
        ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    };
    let (name, subresource) = (steps.first()?, steps.get(2));
    let resource = match subresource {
        Some(subresource) => format!("{name}/{subresource}"),
        None => (*name).to_owned(),
    };
    Some((group, resource))
}
