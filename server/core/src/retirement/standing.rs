//! Whether a plane may be deleted at all, whoever uses it.

use super::Finding;
use super::census::{Cordon, Keeper};
use super::users::Judge;
use crate::plane::{Revision, Source};
use crate::problem::Code;

impl Judge<'_> {
    /// Whether it is a plane that can be retired at all.
    pub(super) fn standing(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        let planes = self.census.cluster.planes();
        let (object, revision) = (self.object(), self.revision());
        if planes.get(revision).is_some_and(|plane| plane.mode == "PASSIVE") {
            found.push(Finding::blocker(
                Code::PlaneProtected,
                &object,
                "it is PASSIVE: its istiod runs in another cluster",
            ));
        }
        let runs_here = self.census.cluster.istiods_of(revision).next().is_some();
        if self.plane.source == Source::Istio && !runs_here && !self.census.deleting {
            found.push(Finding::blocker(
                Code::PlaneProtected,
                &object,
                "it is external: no istiod of it runs in this cluster",
            ));
        }
        // Of two planes that are retired at the same time, neither is what the other leaves behind.
        let leaving = |other: &Revision| {
            self.census.retiring.contains(other) || self.census.unanswered.contains(other)
        };
        // What nobody's webhook calls takes nothing over, whatever runs.
        let injects = |other: &Revision| self.census.cluster.injectors_of(other).next().is_some();
        let stays = |other: &Revision| other != revision && !leaving(other) && injects(other);
        if !planes.values().any(|other| other.available && stays(&other.revision)) {
            let what = "no other plane is Available that answers and is not retired, too";
            found.push(Finding::blocker(Code::PlaneLast, &object, what));
        }
        if let Some(parent) = &self.census.kept_by {
            let what = format!("it is the active revision of {parent}, which would make it anew");
            found.push(Finding::blocker(Code::PlaneActive, &object, what));
        }
        found.extend(self.keeper());
        found
    }

    /// What manages the plane from outside: GitOps makes anew what it misses, Helm only lists it.
    fn keeper(&self) -> Option<Finding> {
        let found = match self.census.keeper.as_ref()? {
            Keeper::GitOps(keeper) => {
                let what = format!("{keeper} manages it, and may make it anew");
                Finding::blocker(Code::PlaneKept, self.object(), what)
            }
            Keeper::Helm(release) => {
                let what = format!("Helm's release {release} goes on to list what is deleted");
                let home = &self.plane.namespace;
                let told = Finding::blocker(Code::HelmRelease, self.object(), what);
                let told =
                    told.mended_by(format!("afterwards: helm -n {home} uninstall {release}"));
                Finding { blocks: false, ..told }
            }
        };
        Some(found)
    }

    pub(super) fn cni(&self) -> Vec<Finding> {
        // Of the others the CNI is an installation of its own, whatever revision its chart writes there.
        if self.plane.source != Source::Calisti {
            return Vec::new();
        }
        let mine =
            |it: &&super::census::Cni| it.revision.as_deref() == Some(self.revision().as_str());
        let cnis = &self.census.cnis;
        let others = self.census.cluster.planes().keys().any(|it| it != self.revision());
        // Whoever may create a DaemonSet can have it look like one; to run it on nodes is a privilege.
        let nodes = cnis.iter().filter(mine).map(|cni| cni.nodes).max().unwrap_or_default();
        let serves = |cni: &super::census::Cni| cni.ready && cni.nodes > 0 && cni.nodes >= nodes;
        if cnis.iter().any(|cni| !mine(&cni) && serves(cni)) || !others {
            return Vec::new();
        }
        let mine = cnis.iter().filter(mine);
        mine.map(|cni| {
            let object = format!("DaemonSet/{}/{}", cni.namespace, cni.name);
            let what =
                "it is the only CNI that is ready on all its nodes, and goes with the plane; new pods of others may need it";
            Finding::blocker(Code::UsedAsCni, object, what)
        })
        .collect()
    }

    pub(super) fn rights(&self) -> Vec<Finding> {
        let forbidden = self.census.forbidden.iter();
        forbidden
            .map(|(target, why)| Finding::blocker(Code::DeletionForbidden, target.object(), why))
            .collect()
    }

    pub(super) fn cordon(&self) -> Option<Finding> {
        let Some(Cordon::Missing(why)) = &self.census.cordon else {
            return None;
        };
        if self.census.leads_elsewhere(self.revision()) {
            return None;
        }
        let what =
            format!("somebody may begin to use the plane while it is being proved unused: {why}");
        let blocker = Finding::blocker(Code::CordonMissing, self.object(), what);
        Some(Finding { blocks: false, ..blocker })
    }
}
