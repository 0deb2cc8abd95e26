//! Namespaces: what injects their pods now and after, and what else moves with them.

use super::Checks;
use super::surroundings::{Cni, Redirection};
use crate::cluster::Namespace;
use crate::injection::{self, Injection};
use crate::label::{self, InjectionLabels, Labels};
use crate::pod::InjectionWish;
use crate::problem::Code;
use crate::rollout;
use crate::workload::{Role, Workload};

impl Checks<'_> {
    pub(super) fn namespaces(&mut self) {
        let Self { cluster, scope, .. } = *self;
        for name in &scope.namespaces {
            let Some((meta, namespace)) = cluster.namespace(name) else {
                continue;
            };
            let mut after = meta.labels.clone();
            scope.labels.replace(&mut after);
            self.resolution(name, &meta.labels, &after);
            for workload in namespace.workloads.values() {
                self.pinned(name, workload, &after);
            }
            let relabelled = InjectionLabels::among(&meta.labels) != scope.labels;
            self.gateways(name, namespace, relabelled);
        }
        self.cni();
    }

    fn resolution(&mut self, name: &str, before: &Labels, after: &Labels) {
        let injectors = self.cluster.injectors();
        let now = injection::resolve(injectors, before, &InjectionWish::default(), false);
        let then = injection::resolve(injectors, after, &InjectionWish::default(), false);
        let object = format!("Namespace/{name}");
        match now {
            Injection::Dangling(label) => {
                let message = format!(
                    "its label names `{label}`, which no webhook serves: new pods get no sidecar now"
                );
                self.warn(Code::LabelDangling, &object, message);
            }
            Injection::Conflict(_) => {
                let message = format!("new pods would be {} now", rollout::describe(&now));
                self.warn(Code::InjectorsConflict, &object, message);
            }
            Injection::By(_) | Injection::None => {}
        }
        if then != Injection::By(self.scope.target.clone()) {
            let message =
                format!("with its new label, new pods would be {}", rollout::describe(&then));
            self.error(Code::InjectorMismatch, &object, message);
        }
    }

    /// A pod's own labels and the node's network.
    fn pinned(&mut self, name: &str, workload: &Workload, after: &Labels) {
        let object = format!("{}/{name}/{}", workload.key.kind.as_str(), workload.key.name);
        if workload.host_network {
            self.note(
                Code::HostNetwork,
                &object,
                "its pods use the node's network, so they get no sidecar",
            );
            return;
        }
        if let Some(own) = workload.wish.labels.get(label::REVISION) {
            let message = format!(
                "its pod template is labelled istio.io/rev={own}, which the namespace's label hides: the \
                 pods move with the namespace"
            );
            self.note(Code::PodLabelHidden, &object, message);
        }
        let then = self.cluster.injection(after, workload);
        match then {
            Injection::None => {
                let message =
                    "its pods forbid injection, or no webhook selects them: they have no sidecar";
                self.note(Code::WorkloadOptedOut, &object, message);
            }
            Injection::Dangling(_) | Injection::Conflict(_) => {
                let message = format!("its new pods would be {}", rollout::describe(&then));
                self.error(Code::InjectorMismatch, &object, message);
            }
            Injection::By(_) => {}
        }
    }

    fn gateways(&mut self, name: &str, namespace: &Namespace, relabelled: bool) {
        for workload in namespace.workloads.values().filter(|it| it.role == Role::Gateway) {
            let object = format!("{}/{name}/{}", workload.key.kind.as_str(), workload.key.name);
            let message = "it is a gateway, and traffic of many applications may pass it: its namespace \
                           moves last, alone in its wave";
            self.warn(Code::GatewayMoves, object, message);
        }
        let around = self.around;
        for gateway in around.gateways.iter().filter(|it| it.namespace == name) {
            let object = format!("{}/{name}/{}", gateway.kind, gateway.name);
            let what = if gateway.waypoint { "waypoint" } else { "gateway" };
            match (gateway.kind.as_str(), &gateway.revision) {
                ("IstioMeshGateway", plane) => {
                    let plane = plane.as_deref().unwrap_or("its plane");
                    let message = format!(
                        "it stays on `{plane}`, and is never switched: a change of spec.istioControlPlane \
                         makes the operator delete its Deployment"
                    );
                    self.warn(Code::MeshGatewayStays, object, message);
                }
                (_, Some(revision)) => {
                    let message = format!("this {what} names `{revision}` itself, and stays there");
                    self.warn(Code::GatewayPinned, object, message);
                }
                // Where its label stays, nothing tells istiod to.
                (_, None) if relabelled => {
                    let message = format!(
                        "istiod rolls this {what} by itself as soon as the namespace's label changes, \
                         before any workload is restarted"
                    );
                    self.warn(Code::GatewayRollsAtOnce, object, message);
                }
                (_, None) => {}
            }
        }
    }

    /// Pods whose traffic no init container redirects need the CNI plugin.
    fn cni(&mut self) {
        let around = self.around;
        let needed = around
            .trials
            .iter()
            .find(|it| matches!(&it.outcome, Ok(Some(sidecar)) if sidecar.redirection == Redirection::Cni));
        let owned = |it: &&Cni| it.revision.as_deref() == Some(self.scope.source.as_str());
        let of_source: Vec<_> = around.cni.iter().filter(owned).collect();
        let other = around.cni.iter().any(|it| !owned(&it));
        if let Some(trial) = needed {
            if around.cni.is_empty() && !around.unread.iter().any(|it| it.what == "CNI DaemonSets")
            {
                let message = "the target leaves it to Istio's CNI plugin to redirect traffic, and there \
                               is no DaemonSet of that plugin";
                self.error(Code::CniMissing, trial.workload(), message);
            }
            for cni in around.cni.iter().filter(|it| it.ready < it.desired) {
                let message = format!(
                    "it is ready on {} of {} nodes: pods that start elsewhere fail",
                    cni.ready, cni.desired
                );
                self.warn(
                    Code::CniDegraded,
                    format!("DaemonSet/{}/{}", cni.namespace, cni.name),
                    message,
                );
            }
        }
        if !other {
            for cni in of_source {
                let message = format!(
                    "it belongs to `{}`, and there is no other: when that plane is deleted, no pod with a \
                     sidecar can start",
                    self.scope.source
                );
                self.warn(
                    Code::CniOwned,
                    format!("DaemonSet/{}/{}", cni.namespace, cni.name),
                    message,
                );
            }
        }
    }
}
