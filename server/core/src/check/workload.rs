//! Workloads that a restart may hurt.

use super::Checks;
use super::surroundings::DisruptionBudget;
use crate::plan::Severity;
use crate::problem::Code;
use crate::workload::{Workload, WorkloadKind};
use std::collections::BTreeMap;

impl Checks<'_> {
    pub(super) fn workloads(&mut self) {
        let Self { cluster, scope, around, .. } = *self;
        for name in &scope.namespaces {
            let Some((_, namespace)) = cluster.namespace(name) else {
                continue;
            };
            for workload in namespace.workloads.values().filter(|it| !it.skipped()) {
                // Only what has sidecars is restarted.
                if self.sidecars.get(name.as_str()).and_then(|it| it.get(&workload.key))
                    == Some(&true)
                {
                    self.at_risk(name, workload);
                }
            }
        }
        let mut budgets: BTreeMap<&str, Vec<&DisruptionBudget>> = BTreeMap::new();
        for budget in &around.budgets {
            budgets.entry(&budget.namespace).or_default().push(budget);
        }
        for detail in around.workloads.iter().filter(|it| scope.namespaces.contains(&it.namespace))
        {
            let object = format!("{}/{}/{}", detail.kind, detail.namespace, detail.name);
            if detail.recreates {
                let message = "its strategy is Recreate: all its pods go before new ones come";
                self.warn(Code::WorkloadRecreates, &object, message);
            }
            if detail.rigid {
                let message = "its strategy allows neither a pod less nor a pod more, so its rollout cannot begin";
                self.warn(Code::WorkloadRigid, &object, message);
            }
            let budgets = budgets.get(detail.namespace.as_str()).into_iter().flatten();
            for budget in budgets.filter(|it| it.selector.matches(&detail.labels)) {
                if budget.allowed == 0 && budget.pods > 0 {
                    let message = format!(
                        "the PodDisruptionBudget {} of its {} pods allows no disruption now: evictions would wait",
                        budget.name, budget.pods
                    );
                    self.warn(Code::BudgetExhausted, &object, message);
                }
            }
        }
        for it in around.autoscalers.iter().filter(|it| scope.namespaces.contains(&it.namespace)) {
            if it.most > 0 && it.current >= it.most {
                let object = format!("HorizontalPodAutoscaler/{}/{}", it.namespace, it.name);
                let message = format!(
                    "{} has {} replicas, which is its most: load that a restart adds is not taken up",
                    it.target, it.current
                );
                self.warn(Code::AutoscalerAtLimit, object, message);
            }
        }
    }

    fn at_risk(&mut self, namespace: &str, workload: &Workload) {
        let object = format!("{}/{namespace}/{}", workload.key.kind.as_str(), workload.key.name);
        if workload.desired == 1 && workload.key.kind != WorkloadKind::DaemonSet {
            let severity = match workload.key.kind {
                // Its pod goes before the next one comes.
                WorkloadKind::StatefulSet => Severity::Warning,
                _ => Severity::Info,
            };
            let message = "it has one replica: a restart leaves it without spare, and a StatefulSet without any";
            self.find(severity, Code::WorkloadSingle, &object, message);
        }
        if workload.available < workload.desired {
            let message = format!(
                "{} of {} pods are available before anything is done",
                workload.available, workload.desired
            );
            self.warn(Code::WorkloadUnhealthy, &object, message);
        }
    }
}
