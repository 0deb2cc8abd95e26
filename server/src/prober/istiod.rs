//! What the target's istiods say of a wave: whether all that was moved is connected, and whether more is
//! rejected than before.

use super::{Prober, Result as Checked, Subject};
use crate::config::IstiodConfig;
use revshift_core::connection::{Connections, Stand};
use revshift_core::gate::{Baseline, Outcome};
use revshift_core::plane::Revision;

/// So many pods are named.
const NAMED: usize = 3;

impl Prober {
    /// How often proxies have rejected what the target has for them.
    pub(super) async fn rejects(&self, subject: &Subject) -> Result<String, String> {
        let rejects = self.proxies.rejects(&Revision(subject.target.clone())).await?;
        Ok(rejects.to_string())
    }

    /// Whether what was moved is connected to the target, and no more is rejected than `question` has
    /// counted before.
    pub(super) async fn served(
        &self,
        config: &IstiodConfig,
        subject: &Subject,
        question: &str,
        baseline: Option<&Baseline>,
    ) -> Checked {
        let target = Revision(subject.target.clone());
        let told = self.proxies.connections(&target).await;
        // Pods come and go: those that are there now count.
        let pods = self.pods(&target, &subject.namespaces);
        if let Some(amiss) = amiss(&pods, &told, &target) {
            return amiss;
        }
        let now = match self.proxies.rejects(&target).await {
            Ok(now) => now,
            Err(why) => return (Outcome::Inconclusive, why),
        };
        let connected = format!("all {} pods are connected to `{target}`", pods.len());
        let before = match baseline {
            Some(Baseline { question: asked, value: Some(value), .. }) if asked == question => {
                value.parse::<u64>().ok()
            }
            _ => None,
        };
        let Some(before) = before else {
            let why = baseline.map(|baseline| baseline.message.as_str()).unwrap_or_default();
            let why = format!("{connected}; rejects were not counted before the wave {why}");
            return (Outcome::Inconclusive, why.trim_end().to_owned());
        };
        let Some(more) = now.checked_sub(before) else {
            let why = format!(
                "{connected}; an istiod has started anew and counts its rejects from nothing: {now}, \
                 where {before} were before the wave"
            );
            return (Outcome::Inconclusive, why);
        };
        if more > config.rejects {
            let most = config.rejects;
            let why = format!(
                "proxies have rejected what `{target}` has for them {more} times since before the wave, \
                 and may {most} times"
            );
            return (Outcome::Fail, why);
        }
        (Outcome::Pass, format!("{connected}; {more} rejects since before the wave"))
    }

    /// The pods that a plane has injected, by namespace and name.
    fn pods(&self, target: &Revision, namespaces: &[String]) -> Vec<(String, String)> {
        let state = self.published.read();
        let mut pods = Vec::new();
        for name in namespaces {
            let Some((_, namespace)) = state.cluster.namespace(name) else { continue };
            let injected = namespace
                .pods
                .values()
                .filter(|pod| !pod.terminating && pod.make.injected.revision() == Some(target));
            pods.extend(injected.map(|pod| (name.clone(), pod.name.clone())));
        }
        pods
    }
}

/// What is amiss with the connections of pods; none where nothing is.
fn amiss(pods: &[(String, String)], told: &Connections, target: &Revision) -> Option<Checked> {
    let (mut absent, mut rejecting, mut pending) = (Vec::new(), Vec::new(), Vec::new());
    let mut error = String::new();
    for (namespace, pod) in pods {
        let name = format!("{namespace}/{pod}");
        match told.proxy(namespace, pod).map(|proxy| &proxy.stand) {
            Some(Stand::Synced) => {}
            Some(Stand::Rejected(kind, why)) => {
                if rejecting.is_empty() {
                    error = format!("{kind}: {why}");
                }
                rejecting.push(name);
            }
            Some(Stand::Stale(_) | Stand::NotSent) => pending.push(name),
            None => absent.push(name),
        }
    }
    let of = pods.len();
    let count = |names: &[String]| {
        let named: Vec<&str> = names.iter().take(NAMED).map(String::as_str).collect();
        let more = if names.len() > NAMED { ", …" } else { "" };
        format!("{} of {of} pods ({}{more})", names.len(), named.join(", "))
    };
    if !rejecting.is_empty() {
        let count = count(&rejecting);
        let why = format!("{count} reject what `{target}` has for them: {error}");
        return Some((Outcome::Fail, why));
    }
    if !absent.is_empty() {
        let count = count(&absent);
        return Some(match told.incomplete() {
            Some(why) => {
                let why =
                    format!("whether {count} are connected to `{target}` cannot be told: {why}");
                (Outcome::Inconclusive, why)
            }
            None => (Outcome::Fail, format!("{count} are not connected to `{target}`")),
        });
    }
    if !pending.is_empty() {
        let count = count(&pending);
        let why = format!("{count} have not acknowledged what `{target}` has for them");
        return Some((Outcome::Fail, why));
    }
    None
}
