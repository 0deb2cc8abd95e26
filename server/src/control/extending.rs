//! Extensions: further namespaces for a migration that has not ended.

use super::{Caller, Control, Planned, TRIES, Ticket, refuse_changed, understood};
use crate::failure::Failure;
use crate::kube::store::Extension;
use crate::published::Stored;
use revshift_core::plan::extension::{self, Request};
use revshift_core::plan::{self, Plan};
use revshift_core::refusal::Refusal;

impl Control {
    /// The plan of what migration `id` would take in; stores nothing.
    pub async fn plan_extension(&self, id: &str, request: &Request) -> Result<Planned, Failure> {
        self.installed()?;
        let live = self.read(id).await?;
        understood(&live)?;
        let stored = self.stored(&live)?;
        let plan = self.extension(&stored, request)?;
        let planned = self.planned(&*self.ready()?, plan);
        self.checked(planned).await
    }

    /// Has migration `id` take that in, if the plan still has the hash on the ticket; durable when it
    /// returns.
    pub async fn extend(
        &self,
        id: &str,
        request: &Request,
        ticket: &Ticket,
        caller: &Caller,
    ) -> Result<Stored, Failure> {
        self.storable()?;
        let new = plan::extension_id(&caller.0, &ticket.request_id);
        for _ in 0..TRIES {
            let live = self.read(id).await?;
            understood(&live)?;
            let stored = self.stored(&live)?;
            let mut made = live.object.spec.extensions.iter();
            match made.find(|it| it.id == new) {
                Some(made) if made.plan_hash == ticket.plan_hash => return Ok(stored),
                Some(_) => return Err(Refusal::RequestIdReused(id.to_owned()).into()),
                None => {}
            }
            let plan = self.extension(&stored, request)?;
            refuse_changed(&plan, ticket)?;
            let planned = self.planned(&*self.ready()?, plan);
            let plan = self.checked(planned).await?.plan;
            Self::refuse_forbidden(&plan)?;
            let names: Vec<String> = plan.entries.iter().map(|it| it.namespace.clone()).collect();
            let mut control = stored.migration.control.clone();
            let now = self.clock.now();
            control.note_extension(&caller.0, now, &names);
            let extension = Extension { id: &new, plan: &plan, control: &control, now };
            if let Some(live) = self.store.extend(&live, extension).await? {
                return Ok(self.seen(self.stored(&live)?).await);
            }
        }
        Err(Failure::ConcurrentWrite(id.to_owned()))
    }

    fn extension(&self, stored: &Stored, request: &Request) -> Result<Plan, Failure> {
        let state = self.ready()?;
        let (cluster, all) = (&state.cluster, &state.migrations);
        Ok(extension::extension(cluster, &stored.migration, all, request)?)
    }
}
