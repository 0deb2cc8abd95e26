//! Shards: how a plan becomes some, and which of them count for a migration.

use crate::kube::crd::{
    FINALIZER, MIGRATION_LABEL, MOVES_PER_SHARD, Migration, MigrationShard, MigrationShardSpec,
    PlannedMove,
};
use crate::kube::record;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};
use revshift_core::plan::Plan;
use std::collections::BTreeMap;
use std::ops::Range;

/// The shards of a plan whose first move has this position, of an extension where one is named.
pub(super) fn shards_of(
    migration: &Migration,
    plan: &Plan,
    position: u32,
    extension: Option<&str>,
) -> Vec<MigrationShard> {
    let id = migration.name_any();
    let hash = plan.hash();
    let prefix = extension.map_or_else(|| id.clone(), |it| prefix(&id, it, position, &hash));
    let owner: OwnerReference = migration.controller_owner_ref(&()).unwrap_or_default();
    plan.entries
        .chunks(MOVES_PER_SHARD)
        .enumerate()
        .map(|(index, entries)| {
            let first = u32::try_from(index * MOVES_PER_SHARD).unwrap_or(u32::MAX);
            let first = first.saturating_add(position);
            let moves = entries.iter().map(|entry| PlannedMove {
                namespace: entry.namespace.clone(),
                uid: entry.uid.clone(),
                wave: entry.wave,
                before: record::label_record(&entry.before),
                after: record::label_record(&entry.after),
            });
            let spec = MigrationShardSpec {
                migration: id.clone(),
                first,
                extension: extension.map(str::to_owned),
                moves: moves.collect(),
            };
            let mut shard = MigrationShard::new(&format!("{prefix}-{index}"), spec);
            shard.metadata.labels =
                Some(BTreeMap::from([(MIGRATION_LABEL.to_owned(), id.clone())]));
            shard.metadata.owner_references = Some(vec![owner.clone()]);
            shard.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
            shard
        })
        .collect()
}

/// Whether a shard is one of this very migration, and not of another that had the same name, nor of an
/// extension that was never finished.
pub fn is_of(shard: &MigrationShard, migration: &Migration) -> bool {
    let Some(extension) = &shard.spec.extension else {
        return belongs_to(shard, migration);
    };
    let (id, name) = (migration.name_any(), shard.name_any());
    let mut finished = migration.spec.extensions.iter();
    let finished = finished.any(|it| {
        let own = prefix(&id, &it.id, it.first, &it.plan_hash);
        let rest = name.strip_prefix(&own);
        it.id == *extension && rest.is_some_and(|rest| rest.starts_with('-'))
    });
    finished && belongs_to(shard, migration)
}

/// What the names of an extension's shards begin with. One of another plan, or from another position, has
/// another name: neither can be taken for the other, nor removed in its place.
fn prefix(id: &str, extension: &str, position: u32, plan_hash: &str) -> String {
    let plan = plan_hash.get(..8).unwrap_or(plan_hash);
    format!("{id}-{extension}-{position}-{plan}")
}

/// Whether a shard was made for this very migration.
pub(super) fn belongs_to(shard: &MigrationShard, migration: &Migration) -> bool {
    let uid = migration.metadata.uid.as_ref();
    shard.spec.migration == migration.name_any()
        && shard.owner_references().iter().any(|owner| Some(&owner.uid) == uid)
}

/// The places in the plan of a shard's moves.
pub fn range(shard: &MigrationShard) -> Range<usize> {
    let first = usize::try_from(shard.spec.first).unwrap_or(usize::MAX);
    first..first.saturating_add(shard.spec.moves.len())
}
