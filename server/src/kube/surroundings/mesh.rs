//! How a plane is configured: its resource, its mesh configuration, its injector's values.

use super::{Reading, of_calisti, pages};
use crate::kube::observe::selector;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use revshift_core::check::surroundings::{Mesh, Unread, certificates};
use revshift_core::label;
use revshift_core::plane::Plane;
use serde_json::Value;
use std::collections::BTreeMap;

pub(super) async fn read(reading: &mut Reading<'_>, plane: &Plane) {
    let mut mesh = Mesh::default();
    let mut known = false;
    if of_calisti(plane) {
        known = calisti(reading, plane, &mut mesh).await;
    }
    let api = Api::<ConfigMap>::namespaced(reading.client.clone(), &plane.namespace);
    let params = ListParams::default().labels(&format!("{}={}", label::REVISION, plane.revision));
    let mut maps = Vec::new();
    let read = pages(&api, params, |map: ConfigMap| maps.push(map.data.unwrap_or_default())).await;
    reading.noted(&format!("the configuration of {}", plane.revision), read);
    for data in maps {
        for read in [by_mesh(&data, &mut mesh), by_values(&data, &mut mesh)] {
            match read {
                Ok(told) => known |= told,
                Err(why) => {
                    let what = format!("the settings of `{}`", plane.revision);
                    reading.around.unread.push(Unread { what, why });
                }
            }
        }
    }
    if known {
        reading.around.meshes.insert(plane.revision.clone(), mesh);
    }
}

/// An IstioControlPlane tells most by itself, and what its operator has noted last.
async fn calisti(reading: &mut Reading<'_>, plane: &Plane, mesh: &mut Mesh) -> bool {
    let gvk = GroupVersionKind::gvk("servicemesh.cisco.com", "v1alpha1", "IstioControlPlane");
    let resource = ApiResource::from_gvk_with_plural(&gvk, "istiocontrolplanes");
    let api =
        Api::<DynamicObject>::namespaced_with(reading.client.clone(), &plane.namespace, &resource);
    let object = match api.get(&plane.name).await {
        Ok(object) => object,
        Err(error) => {
            reading.noted::<()>(&format!("IstioControlPlane {}", plane.name), Err(error));
            return false;
        }
    };
    let (spec, status) = (&object.data["spec"], &object.data["status"]);
    mesh.mesh_id = text(&spec["meshID"]);
    mesh.network = text(&spec["networkName"]);
    mesh.cluster_id = text(&status["clusterID"]).or_else(|| text(&spec["clusterID"]));
    mesh.trust_domain = text(&spec["meshConfig"]["trustDomain"]);
    mesh.roots = text(&status["caRootCertificate"]).map(|it| certificates(&it)).unwrap_or_default();
    settings(&spec["meshConfig"], mesh);
    let noted = status["injectionNamespaces"].as_array();
    let noted = noted.map(|it| it.iter().filter_map(|it| it.as_str().map(str::to_owned)).collect());
    reading.around.noted.insert(plane.revision.clone(), noted);
    true
}

/// The mesh configuration proper: the key `mesh`, YAML. Whether there is one.
fn by_mesh(data: &BTreeMap<String, String>, mesh: &mut Mesh) -> Result<bool, String> {
    let Some(text_of_it) = data.get("mesh") else {
        return Ok(false);
    };
    let config: Value = serde_norway::from_str(text_of_it)
        .map_err(|error| format!("its mesh configuration is no YAML: {error}"))?;
    let domain = text(&config["trustDomain"]).unwrap_or_else(|| "cluster.local".to_owned());
    mesh.trust_domain = mesh.trust_domain.take().or(Some(domain));
    mesh.mesh_id = mesh.mesh_id.take().or_else(|| text(&config["defaultConfig"]["meshId"]));
    settings(&config, mesh);
    Ok(true)
}

/// The injector's values: the key `values`, JSON. Whether there are any.
fn by_values(data: &BTreeMap<String, String>, mesh: &mut Mesh) -> Result<bool, String> {
    let Some(text_of_it) = data.get("values") else {
        return Ok(false);
    };
    let values: Value = serde_json::from_str(text_of_it)
        .map_err(|error| format!("the values of its injector are no JSON: {error}"))?;
    let global = &values["global"];
    mesh.mesh_id = mesh.mesh_id.take().or_else(|| text(&global["meshID"]));
    mesh.network = mesh.network.take().or_else(|| text(&global["network"]));
    let cluster = text(&global["multiCluster"]["clusterName"]);
    mesh.cluster_id = mesh.cluster_id.take().or(cluster);
    Ok(true)
}

fn settings(config: &Value, mesh: &mut Mesh) {
    mesh.root_namespace = text(&config["rootNamespace"]).or_else(|| mesh.root_namespace.take());
    for (key, value) in config.as_object().into_iter().flatten() {
        match (key.as_str(), value) {
            ("discoverySelectors", Value::Array(selectors)) => {
                let parsed = selectors
                    .iter()
                    .filter_map(|it| serde_json::from_value::<LabelSelector>(it.clone()).ok());
                mesh.discovery = parsed.map(|it| selector(Some(&it))).collect();
            }
            ("trustDomainAliases", Value::Array(names)) => {
                mesh.aliases = names.iter().filter_map(text).collect();
                mesh.settings.insert(key.clone(), value.to_string());
            }
            ("defaultConfig", Value::Object(inner)) => {
                for (name, value) in inner {
                    mesh.settings.insert(format!("defaultConfig.{name}"), value.to_string());
                }
            }
            _ => {
                mesh.settings.insert(key.clone(), value.to_string());
            }
        }
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|it| !it.is_empty()).map(str::to_owned)
}
