//! What the target's injector makes of pod templates, beside what runs.

use super::Checks;
use super::surroundings::{Redirection, Sidecar, Trial};
use crate::problem::Code;
use crate::workload::{Workload, WorkloadKey, WorkloadKind};

impl Checks<'_> {
    pub(super) fn trials(&mut self) {
        let around = self.around;
        if let Some(why) = &around.untried {
            let message = format!("what its injector makes of the pods is not all known: {why}");
            self.warn(Code::TrialImpossible, super::plane(&self.scope.target), message);
        }
        if let Some(why) = &around.uncompared {
            self.note(Code::TrialImpossible, super::plane(&self.scope.target), why);
        }
        for trial in &around.trials {
            if !self.spared(trial) {
                self.trial(trial);
            }
        }
    }

    /// Whether its owner wants the workload left alone.
    fn spared(&self, trial: &Trial) -> bool {
        let known = self.cluster.namespace(&trial.namespace).zip(key(trial));
        let workload = known.and_then(|((_, content), key)| content.workloads.get(&key));
        workload.is_some_and(Workload::skipped)
    }

    fn trial(&mut self, trial: &Trial) {
        let Trial { outcome, running, .. } = trial;
        let workload = &trial.workload();
        let target = &self.scope.target;
        let has = running.as_ref().map(Option::is_some).or_else(|| self.injected(trial));
        match (outcome, has) {
            (Err(why), _) => {
                let message = format!("the injector of `{target}` refuses its pod template: {why}");
                self.error(Code::TrialRefused, workload, message);
            }
            (Ok(None), Some(true)) => {
                let message = format!(
                    "its pods have a sidecar, and the injector of `{target}` would give them none"
                );
                self.error(Code::TrialWithoutSidecar, workload, message);
            }
            (Ok(Some(_)), Some(false)) => {
                let message = format!("its pods have no sidecar, and get one of `{target}`");
                self.warn(Code::TrialNewSidecar, workload, message);
            }
            (Ok(Some(new)), Some(true)) => {
                if let Some(Some(old)) = running {
                    self.differences(workload, old, new);
                }
            }
            (Ok(None), Some(false)) | (Ok(_), None) => {}
        }
    }

    /// Whether the pods of a workload that run have a sidecar, by the view; none where none runs.
    fn injected(&self, trial: &Trial) -> Option<bool> {
        let key = key(trial)?;
        self.sidecars.get(trial.namespace.as_str())?.get(&key).copied()
    }

    fn differences(&mut self, workload: &str, old: &Sidecar, new: &Sidecar) {
        if old.image != new.image {
            let message = format!("its sidecar becomes {}, from {}", new.image, old.image);
            self.note(Code::SidecarImage, workload, message);
        }
        if old.native != new.native {
            let message = if new.native {
                "its sidecar becomes an init container that keeps running (a native sidecar)"
            } else {
                "its sidecar becomes an ordinary container (it was a native sidecar)"
            };
            self.warn(Code::SidecarNative, workload, message);
        }
        if old.ports != new.ports {
            let message = format!(
                "its sidecar's ports become {}, from {}",
                list(&new.ports),
                list(&old.ports)
            );
            self.warn(Code::SidecarPorts, workload, message);
        }
        if old.resources != new.resources {
            let message = format!(
                "its sidecar's resources become {}, from {}",
                list(&new.resources),
                list(&old.resources)
            );
            self.warn(Code::SidecarResources, workload, message);
        }
        if old.redirection != new.redirection {
            let (before, after) = (by(old.redirection), by(new.redirection));
            let message =
                format!("its traffic is redirected by {after}, before it was by {before}");
            self.warn(Code::SidecarRedirection, workload, message);
        }
    }
}

fn key(trial: &Trial) -> Option<WorkloadKey> {
    let kind = WorkloadKind::of(&trial.kind)?;
    Some(WorkloadKey { kind, name: trial.name.clone() })
}

fn by(redirection: Redirection) -> &'static str {
    match redirection {
        Redirection::Init => "an init container",
        Redirection::Cni => "the CNI plugin",
        Redirection::None => "nothing",
    }
}

fn list(items: &[String]) -> String {
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}
