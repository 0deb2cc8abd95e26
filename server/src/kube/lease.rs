//! The Lease: reads and writes it as core's election decides, and publishes who leads.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use kube::{Client, Error};
use revshift_core::election::{Candidacy, LeaseRecord, Observation, Terms};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::Clock;

/// The name of the Lease in revshift's namespace.
pub const LEASE: &str = "revshift-server";

/// What the holder of the Lease knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// How often the Lease has changed hands: rises with every leader.
    pub epoch: u32,
    /// Until when the holder may begin to act.
    pub valid_until: Instant,
    /// Before then nobody else can hold the Lease.
    pub lease_until: Instant,
}

/// Who holds the Lease, as far as this replica knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder(pub Option<String>);

/// Whether a replica may lead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Eligibility {
    /// It knows the whole cluster, and the rules of every unfinished plan.
    pub able: bool,
    /// The highest epoch that was ever stored; a Lease that was deleted begins above it.
    pub floor: u32,
    /// How many restored backups what it knows takes account of.
    pub restored: u64,
}

/// What a candidate tells, and what it is told.
#[derive(Debug)]
pub struct Ends {
    /// Whether this replica leads.
    pub leadership: watch::Sender<Option<Leadership>>,
    /// Who leads.
    pub holder: watch::Sender<Holder>,
    /// Whether this replica may lead, and what its epoch must exceed.
    pub eligible: watch::Receiver<Eligibility>,
    /// How often versions were seen to go back, as where etcd is restored from a backup.
    pub restored: watch::Sender<u64>,
}

/// A candidate for the Lease.
#[derive(Debug)]
pub struct Elector {
    api: Api<Lease>,
    identity: String,
    terms: Terms,
    clock: Clock,
    start: Instant,
    leadership: watch::Sender<Option<Leadership>>,
    holder: watch::Sender<Holder>,
    eligible: watch::Receiver<Eligibility>,
    restored: watch::Sender<u64>,
}

impl Elector {
    /// A candidate named `identity` for the Lease in `namespace`.
    pub fn new(
        client: &Client,
        namespace: &str,
        identity: &str,
        terms: Terms,
        clock: Clock,
        ends: Ends,
    ) -> Self {
        let api = Api::namespaced(client.clone(), namespace);
        let identity = identity.to_owned();
        let Ends { leadership, holder, eligible, restored } = ends;
        let start = Instant::now();
        Self { api, identity, terms, clock, start, leadership, holder, eligible, restored }
    }

    /// Stands for election until `resigned`, then gives the Lease back.
    pub async fn run(mut self, resigned: CancellationToken) {
        let mut observation = Observation::default();
        loop {
            self.eligible.mark_unchanged();
            if !self.is_able() {
                // Writes may be in flight: the lease runs out rather than being given back.
                self.lose("this replica is not able to lead");
            }
            let pause = tokio::select! {
                biased;
                () = resigned.cancelled() => break,
                pause = self.attempt(&mut observation) => pause,
            };
            self.expire();
            tokio::select! {
                biased;
                () = resigned.cancelled() => break,
                _ = self.eligible.changed() => {}
                () = sleep(pause) => {}
            }
            self.expire();
        }
        self.release().await;
    }

    /// Whether it may lead, as far as it knows the cluster that there is now.
    fn is_able(&self) -> bool {
        let eligible = *self.eligible.borrow();
        eligible.able && eligible.restored == *self.restored.borrow()
    }

    /// One look, and one write where it is due; answers how long to wait for the next.
    async fn attempt(&self, observation: &mut Observation) -> Duration {
        let deadline = self.terms.retry.max(Duration::from_millis(500)) * 2;
        match timeout(deadline, self.look(observation)).await {
            Ok(Ok(pause)) => pause,
            Ok(Err(Error::Api(status))) if status.is_conflict() => Duration::ZERO,
            Ok(Err(error)) => {
                warn!(error = %error, lease = LEASE, "cannot use the lease");
                self.terms.retry
            }
            Err(_) => {
                warn!(lease = LEASE, "no answer about the lease in time");
                self.terms.retry
            }
        }
    }

    async fn look(&self, observation: &mut Observation) -> Result<Duration, Error> {
        let floor = self.eligible.borrow().floor;
        let Some(lease) = self.api.get_opt(LEASE).await? else {
            if !self.is_able() {
                return Ok(self.terms.retry);
            }
            let sent = Instant::now();
            let epoch = observation.next(floor.saturating_add(1));
            let lease = self.lease(None, epoch);
            let made = self.api.create(&PostParams::default(), &lease).await?;
            self.won(observation, &made, sent, epoch);
            return Ok(self.terms.retry);
        };
        let record = record(&lease);
        self.holder.send_if_modified(|holder| {
            let now = Holder(Some(record.holder.clone()).filter(|holder| !holder.is_empty()));
            let changed = *holder != now;
            *holder = now;
            changed
        });
        self.look_back(observation, &record);
        if !self.is_able() {
            return Ok(self.terms.retry);
        }
        let elapsed = self.start.elapsed();
        match observation.observe(&record, &self.identity, self.terms, elapsed) {
            Candidacy::Wait(pause) => {
                self.lose("another replica holds the lease");
                Ok(pause.max(Duration::from_millis(10)))
            }
            Candidacy::Take { transitions } | Candidacy::Renew { transitions } => {
                // Its own records are no newer than a leader; those of another one are.
                let passed = transitions < floor;
                let transitions = if passed { floor.saturating_add(1) } else { transitions };
                let sent = Instant::now();
                let wanted = self.lease(Some(&lease), transitions);
                let written = self.api.replace(LEASE, &PostParams::default(), &wanted).await?;
                self.won(observation, &written, sent, transitions);
                Ok(self.terms.retry)
            }
        }
    }

    /// Tells when versions have gone back; what is known of the cluster is of no use then.
    fn look_back(&self, observation: &mut Observation, record: &LeaseRecord) -> bool {
        let gone_back = observation.has_gone_back(record);
        if gone_back {
            warn!("etcd was restored from a backup: everything is looked at anew");
            self.lose("what it knows is not so any more");
            self.restored.send_modify(|times| *times += 1);
        }
        gone_back
    }

    fn won(&self, observation: &mut Observation, lease: &Lease, sent: Instant, epoch: u32) {
        let record = record(lease);
        if self.look_back(observation, &record) {
            return;
        }
        observation.observe(&record, &self.identity, self.terms, self.start.elapsed());
        self.holder.send_replace(Holder(Some(self.identity.clone())));
        let leadership = Leadership {
            epoch,
            valid_until: sent + self.terms.renew,
            lease_until: sent + self.terms.lease,
        };
        let before = self.leadership.send_replace(Some(leadership));
        if before.is_none_or(|before| before.epoch != epoch) {
            info!(identity = %self.identity, epoch, "this replica leads");
        }
    }

    /// Stops acting when the last renewal is too old, whatever became of the next one.
    fn expire(&self) {
        let now = Instant::now();
        let over = self.leadership.borrow().as_ref().is_some_and(|l| l.valid_until <= now);
        if over {
            self.lose("the lease could not be renewed in time");
        }
    }

    fn lose(&self, why: &str) {
        if self.leadership.send_if_modified(|leadership| leadership.take().is_some()) {
            warn!(identity = %self.identity, why, "this replica leads no more");
        }
    }

    /// Gives the Lease back, so that another replica need not wait for its end.
    async fn release(&self) {
        let held = self.leadership.send_replace(None);
        let Some(held) = held.filter(|held| Instant::now() < held.lease_until) else {
            return;
        };
        let released = timeout(self.terms.retry.max(Duration::from_secs(2)), async {
            let mut lease = self.api.get(LEASE).await?;
            if record(&lease).holder != self.identity {
                return Ok(());
            }
            let spec = lease.spec.get_or_insert_default();
            spec.holder_identity = None;
            spec.lease_transitions = i32::try_from(held.epoch).ok();
            self.api.replace(LEASE, &PostParams::default(), &lease).await.map(|_| ())
        });
        match released.await {
            Ok(Ok(())) => info!(identity = %self.identity, "gave the lease back"),
            Ok(Err(error)) => warn!(error = %error, "could not give the lease back"),
            Err(_) => warn!("could not give the lease back in time"),
        }
    }

    fn lease(&self, old: Option<&Lease>, transitions: u32) -> Lease {
        let now = MicroTime(self.clock.now());
        let before = old.and_then(|lease| lease.spec.as_ref());
        let same = before.and_then(|spec| spec.holder_identity.as_ref()) == Some(&self.identity);
        let acquired = before.filter(|_| same).and_then(|spec| spec.acquire_time.clone());
        let seconds = i32::try_from(self.terms.lease.as_secs().max(1)).unwrap_or(i32::MAX);
        Lease {
            metadata: ObjectMeta {
                name: Some(LEASE.to_owned()),
                resource_version: old.and_then(|lease| lease.metadata.resource_version.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: Some(seconds),
                acquire_time: acquired.or_else(|| Some(now.clone())),
                renew_time: Some(now),
                lease_transitions: i32::try_from(transitions).ok(),
                ..LeaseSpec::default()
            }),
        }
    }
}

fn record(lease: &Lease) -> LeaseRecord {
    let spec = lease.spec.clone().unwrap_or_default();
    LeaseRecord {
        holder: spec.holder_identity.unwrap_or_default(),
        transitions: u32::try_from(spec.lease_transitions.unwrap_or_default()).unwrap_or_default(),
        resource_version: lease.metadata.resource_version.clone().unwrap_or_default(),
    }
}
