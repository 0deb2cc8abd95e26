//! I10, looked for in the log: who leads, who writes, and whether a stored plan calls for it.

use anyhow::{Context, Result, ensure};
use revshift_sandbox::{Change, ChangeKind};
use serde_json::Value;
use std::collections::BTreeMap;

/// A request that wrote, or tried to.
#[derive(Debug)]
pub(crate) struct Write {
    /// The tag of the replica; another one for what was sent after a thaw.
    pub(crate) by: String,
    /// The newest version when it was carried out.
    pub(crate) after: u64,
}

/// What is stored, while the log is read from its beginning.
#[derive(Default)]
struct Stored<'a> {
    /// Who holds the Lease.
    holder: String,
    /// Its epoch.
    epoch: u64,
    /// Who held each epoch.
    holders: BTreeMap<u64, String>,
    shards: BTreeMap<&'a str, &'a Value>,
}

/// Every epoch has one leader, commits are numbered by rising epochs, only the holder of the Lease
/// acts, and whatever was written to namespaces and workloads, by a stale leader too, is what
/// the records called for at that moment.
pub(crate) fn check(changes: &[Change], writes: &[Write]) -> Result<()> {
    let mut stored = Stored::default();
    for change in changes {
        let object = &*change.object;
        let deleted = change.change == ChangeKind::Deleted;
        let ours = change.manager == "revshift" && !deleted;
        match change.kind.as_str() {
            "Lease" => stored.take_lease(object)?,
            "MigrationShard" => {
                if ours && object["status"] != previous(change)["status"] {
                    stored.check_commit(change, writes)?;
                }
                stored.shards.insert(&change.reference.name, object);
            }
            "Migration" if ours && object["status"] != previous(change)["status"] => {
                stored.acts(change, writes)?;
            }
            "Namespace" if ours && change.reference.name != "revshift-system" => {
                stored.acts(change, writes)?;
                stored.check_relabelling(&change.reference.name, object)?;
            }
            "Deployment" if ours => {
                stored.acts(change, writes)?;
                stored.check_restart(&change.reference.namespace, object)?;
            }
            _ => {}
        }
    }
    Ok(())
}

impl<'a> Stored<'a> {
    fn take_lease(&mut self, lease: &Value) -> Result<()> {
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default().clone_into(&mut self.holder);
        self.epoch = lease["spec"]["leaseTransitions"].as_u64().unwrap_or_default();
        if !self.holder.is_empty() {
            let first = self.holders.entry(self.epoch).or_insert_with(|| self.holder.clone());
            ensure!(
                *first == self.holder,
                "I10: {first} and {} both led in epoch {}",
                self.holder,
                self.epoch
            );
        }
        Ok(())
    }

    /// Requires that whoever wrote holds the Lease, unless it is a write of old that comes late.
    fn acts(&self, change: &Change, writes: &[Write]) -> Result<()> {
        let by = writer(change, writes)?;
        ensure!(
            by == self.holder || by.starts_with("late-"),
            "I10: {by} wrote {:?} while {} held the lease",
            change.reference,
            self.holder
        );
        Ok(())
    }

    fn check_commit(&self, change: &Change, writes: &[Write]) -> Result<()> {
        self.acts(change, writes)?;
        let epoch = |shard: &Value| shard["status"]["epoch"].as_u64().unwrap_or_default();
        let (before, after) = (epoch(previous(change)), epoch(&change.object));
        ensure!(before <= after, "I10: a commit of epoch {after} came after {before}");
        let by = writer(change, writes)?;
        let leader = self.holders.get(&after).map(String::as_str).unwrap_or_default();
        ensure!(
            by.trim_start_matches("late-") == leader,
            "I10: {by} committed in epoch {after}, which was {leader}'s"
        );
        Ok(())
    }

    fn check_relabelling(&self, namespace: &str, object: &Value) -> Result<()> {
        let lock = object["metadata"]["annotations"]["revshift.dev/migration"].as_str();
        let lock: Value = serde_json::from_str(lock.context("I10: relabelled without a lock")?)?;
        let migration = lock["migration"].as_str().unwrap_or_default();
        let (planned, record) = self.find(migration, namespace)?;
        let after = &planned["after"]["revision"];
        ensure!(
            record["state"] == "RELABELING"
                && record["attempt"] == lock["attempt"]
                && object["metadata"]["labels"]["istio.io/rev"] == *after,
            "I10: {namespace} was relabelled while {record} was stored"
        );
        Ok(())
    }

    fn check_restart(&self, namespace: &str, object: &Value) -> Result<()> {
        let annotations = &object["spec"]["template"]["metadata"]["annotations"];
        let restart = annotations["revshift.dev/restart"].as_str().unwrap_or_default();
        let (migration, attempt) = restart.rsplit_once('.').unwrap_or_default();
        let (_, record) = self.find(migration, namespace)?;
        ensure!(
            record["state"] == "RESTARTING"
                && attempt.parse() == Ok(record["attempt"].as_u64().unwrap_or_default()),
            "I10: restart {restart} in {namespace} while {record} was stored"
        );
        Ok(())
    }

    /// The plan and the record of a namespace in a migration.
    fn find(&self, migration: &str, namespace: &str) -> Result<(&'a Value, &'a Value)> {
        let shard = self.shards.get(format!("{migration}-0").as_str());
        let shard = shard.with_context(|| format!("I10: nothing is stored of `{migration}`"))?;
        let planned = shard["spec"]["moves"].as_array().into_iter().flatten();
        let records = shard["status"]["moves"].as_array().into_iter().flatten();
        let mut both = planned.zip(records);
        let found = both.find(|(planned, _)| planned["namespace"] == namespace);
        found.with_context(|| format!("I10: {namespace} is not in migration {migration}"))
    }
}

fn writer<'w>(change: &Change, writes: &'w [Write]) -> Result<&'w str> {
    // Of several that began at one version, those before the last were refused.
    let begun = writes.iter().rfind(|write| write.after + 1 == change.version);
    Ok(&begun.with_context(|| format!("nobody wrote {:?}", change.reference))?.by)
}

fn previous(change: &Change) -> &Value {
    change.previous.as_deref().unwrap_or(&Value::Null)
}
