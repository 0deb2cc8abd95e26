//! What the whole specification of workloads tells, and what watches over them.

use super::{Reading, pages};
use crate::kube::observe::{self, selector};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use revshift_core::check::surroundings::{Autoscaler, DisruptionBudget, WorkloadDetail};
use serde_json::Value;
use std::collections::BTreeSet;

/// A pod template and whose it is.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) namespace: String,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) pod: Value,
}

/// Budgets and autoscalers, those of istiods too.
pub(super) async fn around(reading: &mut Reading<'_>, homes: &BTreeSet<&str>) {
    let mut budgets = Vec::new();
    let take = |object: PodDisruptionBudget| budgets.push(budget(&object));
    reading.each::<PodDisruptionBudget>("PodDisruptionBudgets", take).await;
    reading.around.budgets = budgets;
    let mut autoscalers = Vec::new();
    let take = |object: HorizontalPodAutoscaler| autoscalers.push(autoscaler(&object));
    reading.each::<HorizontalPodAutoscaler>("HorizontalPodAutoscalers", take).await;
    for home in homes.iter().filter(|it| !reading.namespaces.contains(**it)) {
        let api = Api::<HorizontalPodAutoscaler>::namespaced(reading.client.clone(), home);
        let take = |object: HorizontalPodAutoscaler| autoscalers.push(autoscaler(&object));
        let read = pages(&api, ListParams::default(), take).await;
        reading.noted("autoscalers of istiods", read);
    }
    reading.around.autoscalers = autoscalers;
}

/// Workloads of the namespaces: their details are noted, their templates given back, at most so many.
pub(super) async fn templates(reading: &mut Reading<'_>, most: usize) -> (Vec<Template>, usize) {
    let (mut details, mut templates, mut all) = (Vec::new(), Vec::new(), 0);
    let mut take = |detail: WorkloadDetail, template: Value| {
        all += 1;
        if templates.len() < most {
            let WorkloadDetail { namespace, kind, name, .. } = detail.clone();
            templates.push(Template { namespace, kind, name, pod: template });
        }
        details.push(detail);
    };
    reading
        .each::<Deployment>("Deployments", |object| {
            let spec = object.spec.clone().unwrap_or_default();
            let strategy = spec.strategy.unwrap_or_default();
            let rolling = strategy.rolling_update.as_ref();
            let limits = rolling.map(|it| (it.max_unavailable.as_ref(), it.max_surge.as_ref()));
            let (labels, annotations) = marks(&spec.template);
            let detail = WorkloadDetail {
                namespace: object.namespace().unwrap_or_default(),
                kind: "Deployment".to_owned(),
                name: object.name_any(),
                labels,
                annotations,
                recreates: strategy.type_.as_deref() == Some("Recreate"),
                rigid: limits.is_some_and(|(less, more)| none(less) && none(more)),
            };
            take(detail, value(&spec.template));
        })
        .await;
    reading
        .each::<StatefulSet>("StatefulSets", |object| {
            let template = object.spec.clone().unwrap_or_default().template;
            take(plain("StatefulSet", &object, &template), value(&template));
        })
        .await;
    reading
        .each::<DaemonSet>("DaemonSets", |object| {
            let template = object.spec.clone().unwrap_or_default().template;
            take(plain("DaemonSet", &object, &template), value(&template));
        })
        .await;
    reading
        .each::<CronJob>("CronJobs", |object| {
            let spec = object.spec.clone().unwrap_or_default();
            let template = spec.job_template.spec.unwrap_or_default().template;
            take(plain("CronJob", &object, &template), value(&template));
        })
        .await;
    let (namespaces, mut rollouts) = (reading.namespaces, false);
    reading
        .each_dynamic("Rollouts", &observe::rollouts(), namespaces, |object| {
            rollouts = true;
            let spec = &object.data["spec"];
            // One that refers to another workload's template is tried as that.
            let Ok(template) = serde_json::from_value::<PodTemplateSpec>(spec["template"].clone())
            else {
                return;
            };
            let canary = &spec["strategy"]["canary"];
            let zero =
                |name: &str| ["0", "\"0\"", "\"0%\""].contains(&canary[name].to_string().as_str());
            let rigid = zero("maxUnavailable") && zero("maxSurge");
            take(
                WorkloadDetail { rigid, ..plain("Rollout", &object, &template) },
                value(&template),
            );
        })
        .await;
    reading.rollouts = rollouts;
    reading.around.workloads = details;
    (templates, all)
}

fn plain(kind: &str, object: &impl kube::Resource, template: &PodTemplateSpec) -> WorkloadDetail {
    let meta = object.meta();
    let (labels, annotations) = marks(template);
    WorkloadDetail {
        namespace: meta.namespace.clone().unwrap_or_default(),
        kind: kind.to_owned(),
        name: meta.name.clone().unwrap_or_default(),
        labels,
        annotations,
        recreates: false,
        rigid: false,
    }
}

type Marks = std::collections::BTreeMap<String, String>;

fn marks(template: &PodTemplateSpec) -> (Marks, Marks) {
    let meta = template.metadata.clone().unwrap_or_default();
    (meta.labels.unwrap_or_default(), meta.annotations.unwrap_or_default())
}

fn value(template: &PodTemplateSpec) -> Value {
    serde_json::to_value(template).unwrap_or_default()
}

fn none(limit: Option<&IntOrString>) -> bool {
    match limit {
        Some(IntOrString::Int(number)) => *number == 0,
        Some(IntOrString::String(share)) => share == "0%" || share == "0",
        None => false,
    }
}

fn budget(object: &PodDisruptionBudget) -> DisruptionBudget {
    let status = object.status.clone().unwrap_or_default();
    let count = |number: i32| u32::try_from(number).unwrap_or_default();
    DisruptionBudget {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        selector: selector(object.spec.as_ref().and_then(|spec| spec.selector.as_ref())),
        allowed: count(status.disruptions_allowed),
        pods: count(status.expected_pods),
    }
}

fn autoscaler(object: &HorizontalPodAutoscaler) -> Autoscaler {
    let count = |number: Option<i32>| u32::try_from(number.unwrap_or_default()).unwrap_or_default();
    let spec = object.spec.as_ref();
    let target = spec.map(|spec| &spec.scale_target_ref);
    Autoscaler {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        target: target.map(|it| format!("{}/{}", it.kind, it.name)).unwrap_or_default(),
        current: count(object.status.as_ref().and_then(|status| status.current_replicas)),
        most: count(spec.map(|spec| spec.max_replicas)),
    }
}
