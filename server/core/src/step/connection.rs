//! Live connections, where a migration wants them: what is injected must be connected, too, and take
//! its configuration.

use super::passage::{Step, block};
use super::{ASK_AGAIN, Next, Scratch};
use crate::connection::{Connections, Heard, Stand};
use crate::diagnosis::Inspection;
use crate::migration::Verification;
use crate::problem::Code;
use crate::rollout::Goal;
use std::collections::BTreeMap;

/// So many pods are named in a message.
const NAMED: usize = 3;

/// What is amiss with the connections of a namespace; the worse, the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lack {
    Rejected,
    OnSource,
    Absent,
    Pending,
}

impl<'a> Step<'a> {
    /// What to do as long as pods of a look, ready and on the target, are not known to be connected there
    /// with all of their configuration. None when they are, and where nobody has asked for it.
    pub(super) fn unconnected(&self, goal: &Goal<'a>, scratch: &mut Scratch) -> Option<Next> {
        if self.order.spec.verification != Verification::Connected {
            return None;
        }
        let look = scratch.inspection.as_ref()?;
        let pods = wanted(goal, look);
        if pods.is_empty() {
            return None;
        }
        let now = self.facts.elapsed;
        let late = |scratch: &Scratch| {
            scratch.unconnected_from.map(|from| from + self.order.spec.rollout_timeout)
        };
        let Some(heard) = scratch.heard.as_ref().filter(|heard| heard.at >= look.at) else {
            let source = late(scratch).is_some_and(|late| now >= late);
            return Some(self.ask(source));
        };
        let lacks = self.lacks(&pods, heard);
        if lacks.is_empty() {
            return None;
        }
        let from = *scratch.unconnected_from.get_or_insert(now);
        let deadline = from + self.order.spec.rollout_timeout;
        // The verdict is about what was asked after the deadline: then the source was, too.
        if heard.at >= deadline && heard.source.is_some() {
            return Some(self.unproved(&lacks, pods.len(), heard));
        }
        let again = (heard.at + ASK_AGAIN).min(deadline);
        if now < again {
            return Some(Next::Wait(Some(again)));
        }
        // Pods come and go meanwhile, so they are looked at anew, too.
        scratch.inspection = None;
        Some(self.inspect(scratch))
    }

    fn ask(&self, source: bool) -> Next {
        let spec = self.order.spec;
        let source = source.then(|| spec.source.clone());
        Next::Ask { target: spec.target.clone(), source }
    }

    /// The pods that lack something, with what is said of it.
    fn lacks(&self, pods: &[&str], heard: &Heard) -> BTreeMap<Lack, Vec<(String, Option<Stand>)>> {
        let mut lacks: BTreeMap<Lack, Vec<(String, Option<Stand>)>> = BTreeMap::new();
        for pod in pods {
            let of = |told: &Connections| told.proxy(&self.m.namespace, pod).cloned();
            let (lack, stand) = match of(&heard.target).map(|proxy| proxy.stand) {
                Some(Stand::Synced) => continue,
                Some(stand @ Stand::Rejected(..)) => (Lack::Rejected, Some(stand)),
                Some(stand) => (Lack::Pending, Some(stand)),
                None if heard.source.as_ref().and_then(of).is_some() => (Lack::OnSource, None),
                None => (Lack::Absent, None),
            };
            lacks.entry(lack).or_default().push(((*pod).to_owned(), stand));
        }
        lacks
    }

    /// The end of a move whose pods are not known to be connected.
    fn unproved(
        &self,
        lacks: &BTreeMap<Lack, Vec<(String, Option<Stand>)>>,
        of: usize,
        heard: &Heard,
    ) -> Next {
        let target = &self.order.spec.target;
        let Some((lack, pods)) = lacks.first_key_value() else {
            return Next::Wait(None);
        };
        let (first, stand) = match pods.first() {
            Some((first, stand)) => (first.as_str(), stand.as_ref()),
            None => ("", None),
        };
        let names: Vec<&str> = pods.iter().take(NAMED).map(|(name, _)| name.as_str()).collect();
        let more = if pods.len() > NAMED { ", …" } else { "" };
        let count = format!("{} of {of} pods ({}{more})", pods.len(), names.join(", "));
        if *lack == Lack::Absent
            && let Some(why) = heard.target.incomplete()
        {
            let message =
                format!("whether {count} are connected to `{target}` cannot be told: {why}");
            let object = format!("ControlPlane/{target}");
            return block(self.m, self.facts, Code::IstiodUnreachable, object, message, None);
        }
        let (code, message) = match lack {
            Lack::Absent => {
                let unknown = heard.source.as_ref().and_then(Connections::incomplete);
                let unknown = unknown.map(|why| {
                    let source = &self.order.spec.source;
                    format!("; `{source}` cannot be asked: {why}")
                });
                let unknown = unknown.unwrap_or_default();
                let message = format!("{count} are not connected to `{target}`{unknown}");
                (Code::ProxyNotConnected, message)
            }
            Lack::OnSource => {
                let source = &self.order.spec.source;
                let message = format!("{count} are connected to `{source}` still");
                (Code::ProxyOnSource, message)
            }
            Lack::Rejected => {
                let error = match stand {
                    Some(Stand::Rejected(kind, error)) if error.is_empty() => {
                        format!("{kind}; its istiod does not tell why")
                    }
                    Some(Stand::Rejected(kind, error)) => format!("{kind}: {error}"),
                    _ => String::new(),
                };
                let message = format!("{count} reject what `{target}` has for them: {error}");
                (Code::ConfigurationRejected, message)
            }
            Lack::Pending => {
                let kinds = match stand {
                    Some(Stand::Stale(kinds)) => format!(": {}", kinds.join(", ")),
                    _ => "; nothing was sent yet".to_owned(),
                };
                let message =
                    format!("{count} have not acknowledged what `{target}` has for them{kinds}");
                (Code::ConfigurationPending, message)
            }
        };
        self.fail(code, self.within(&format!("Pod/{first}")), message)
    }
}

/// The pods that have to be connected.
fn wanted<'l>(goal: &Goal<'_>, look: &'l Inspection) -> Vec<&'l str> {
    let pods = look.pods.iter().filter(|pod| pod.ready && !pod.pod.terminating);
    pods.filter(|pod| goal.on_target(&pod.pod)).map(|pod| pod.pod.name.as_str()).collect()
}
