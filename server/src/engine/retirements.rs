//! Stored retirements as this replica holds them.

use crate::engine::acting::Told;
use crate::kube::crd::Retirement;
use crate::kube::record::retirement as record;
use crate::kube::retirements::has_ended;
use crate::kube::watch::Records as Change;
use crate::published::State;
use kube::ResourceExt;
use revshift_core::cluster::older;
use revshift_core::plan::PLAN_VERSION;
use std::collections::BTreeMap;
use tracing::warn;

/// Stored retirements by name.
#[derive(Debug, Default)]
pub(crate) struct Retirements {
    objects: BTreeMap<String, Retirement>,
}

impl Retirements {
    /// The object of a retirement.
    pub(crate) fn object(&self, id: &str) -> Option<&Retirement> {
        self.objects.get(id)
    }

    /// The highest epoch that any was written in.
    pub(crate) fn epoch(&self) -> u32 {
        let statuses = self.objects.values().filter_map(|object| object.status.as_ref());
        statuses.map(|status| status.epoch).max().unwrap_or_default()
    }

    /// Whether this version knows the rules of all that are unfinished; one that does not must not lead.
    pub(crate) fn understood(&self) -> bool {
        let mut unfinished = self.objects.values().filter(|object| !has_ended(object));
        unfinished.all(|object| object.spec.plan_version <= PLAN_VERSION)
    }

    /// Takes in what was learnt.
    pub(crate) fn take(&mut self, state: &mut State, change: Change<Retirement>) {
        match change {
            Change::Listed(objects) => {
                self.objects.clear();
                state.retirements.clear();
                for object in objects {
                    self.set(state, object);
                }
            }
            Change::Set(object) => self.set(state, *object),
            Change::Gone(name) => {
                self.objects.remove(&name);
                state.retirements.remove(&name);
            }
        }
    }

    /// Takes in what a call for a retirement has shown of its object.
    pub(crate) fn told(&mut self, state: &mut State, id: String, told: Told) {
        match told {
            Told::Stored(Some(object), _) => self.set(state, *object),
            Told::Gone => self.take(state, Change::Gone(id)),
            Told::Stored(None, _)
            | Told::Census(_)
            | Told::Cordon(..)
            | Told::Look(_)
            | Told::Deleted(_) => {}
        }
    }

    fn set(&mut self, state: &mut State, object: Retirement) {
        let name = object.name_any();
        let version = |object: &Retirement| object.resource_version().unwrap_or_default();
        let known = self.objects.get(&name).filter(|known| known.uid() == object.uid());
        if known.is_some_and(|known| older(&version(&object), &version(known))) {
            return;
        }
        match record::retirement(&object) {
            Ok(retirement) => _ = state.retirements.insert(name.clone(), retirement),
            Err(error) => {
                warn!(retirement = name, %error, "a stored retirement is malformed and left alone");
                state.retirements.remove(&name);
            }
        }
        self.objects.insert(name, object);
    }
}
