//! Deployments of istiod: the revision and the version they serve, and how large they are.

use super::created;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::PodSpec;
use kube::ResourceExt;
use revshift_core::cluster::Istiod;
use revshift_core::label;
use revshift_core::plane::Revision;
use revshift_core::workload::Workload;

/// What `object` says as an istiod; none if it is none.
pub(super) fn istiod(object: &Deployment, workload: &Workload) -> Option<Istiod> {
    let labels = object.labels();
    let revision = labels.get(label::REVISION)?;
    if labels.get("app").map(String::as_str) != Some("istiod") {
        return None;
    }
    let pod = object.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let image = pod.and_then(|pod| pod.containers.first()).and_then(|c| c.image.as_deref());
    let tag = image.and_then(|image| image.rsplit('/').next()?.split('@').next()?.split_once(':'));
    let version = tag.map(|(_, tag)| tag.trim_end_matches("-distroless").to_owned());
    Some(Istiod {
        revision: Revision(revision.clone()),
        version: version.unwrap_or_default(),
        available: workload.available,
        desired: workload.desired,
        cores: pod.map_or(0, cores),
        created: created(&object.metadata),
    })
}

/// Whole cores of the container `discovery`, or else of the first: istiod counts by its limit what it
/// takes. Where there is none, what was requested is at least there.
fn cores(pod: &PodSpec) -> u32 {
    let discovery = pod.containers.iter().find(|container| container.name == "discovery");
    let resources =
        discovery.or_else(|| pod.containers.first()).and_then(|it| it.resources.as_ref());
    let limits = resources.and_then(|resources| resources.limits.as_ref());
    let requests = resources.and_then(|resources| resources.requests.as_ref());
    let cpu = [limits, requests].into_iter().flatten().find_map(|amounts| amounts.get("cpu"));
    cpu.and_then(|cpu| whole(&cpu.0)).unwrap_or_default()
}

/// The whole part of a quantity of cores, such as `2`, `1.5` or `2500m`.
fn whole(quantity: &str) -> Option<u32> {
    match quantity.strip_suffix('m') {
        Some(thousandths) => Some(thousandths.parse::<u32>().ok()? / 1000),
        None => quantity.split('.').next()?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_counted_whole() {
        for (quantity, cores) in
            [("2", Some(2)), ("1.5", Some(1)), ("2500m", Some(2)), ("500m", Some(0)), ("2k", None)]
        {
            assert_eq!(whole(quantity), cores, "{quantity}");
        }
    }

    #[test]
    fn the_limit_of_the_container_that_discovers_counts() {
        let pod: PodSpec = serde_json::from_value(serde_json::json!({ "containers": [
            { "name": "side", "resources": { "limits": { "cpu": "7" } } },
            { "name": "discovery", "resources": {
                "requests": { "cpu": "500m" }, "limits": { "cpu": "4", "memory": "1Gi" },
            } },
        ]}))
        .unwrap();
        assert_eq!(cores(&pod), 4);
        let mut asked = pod;
        asked.containers[1].resources.as_mut().unwrap().limits = None;
        assert_eq!(cores(&asked), 0);
    }
}
