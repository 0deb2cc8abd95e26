//! The API as any gRPC client meets it: answers, refusals with their details, and the stream.

use crate::bed::{Bed, Replica};
use anyhow::{Context, Result, bail, ensure};
use revshift_proto::ERROR_DOMAIN;
use revshift_proto::v1 as proto;
use revshift_proto::v1::migration_service_client::MigrationServiceClient;
use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};

pub(crate) use proto::migration::State as MigrationState;
pub(crate) use proto::r#move::State as MoveState;

/// A plan as it was streamed.
pub(crate) struct Plan {
    pub(crate) header: proto::PlanHeader,
    pub(crate) findings: Vec<proto::Finding>,
    pub(crate) entries: Vec<proto::PlanEntry>,
}

/// Moves from the old plane to the new.
pub(crate) fn spec(namespaces: &[&str]) -> proto::MigrationSpec {
    proto::MigrationSpec {
        source: "cp-v113x".to_owned(),
        target: "cp-v115x".to_owned(),
        namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
        rollout_timeout: None,
        allow_downtime: false,
    }
}

/// A request id that nobody has used.
pub(crate) fn request_id() -> String {
    // A hasher's keys are the random numbers that the standard library has.
    let [a, b] = [RandomState::new(), RandomState::new()].map(|keys| keys.build_hasher().finish());
    let hex = format!("{a:016x}{b:016x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// The plan for `spec`.
pub(crate) async fn plan(
    client: &mut MigrationServiceClient<Channel>,
    spec: proto::MigrationSpec,
) -> Result<Plan, Status> {
    use proto::plan_migration_response::Part;
    let request = proto::PlanMigrationRequest { spec: Some(spec) };
    let mut stream = client.plan_migration(request).await?.into_inner();
    let (mut header, mut findings, mut entries) = (None, Vec::new(), Vec::new());
    while let Some(message) = stream.message().await? {
        match message.part {
            Some(Part::Header(part)) => header = Some(part),
            Some(Part::Finding(part)) => findings.push(part),
            Some(Part::Entry(part)) => entries.push(part),
            None => return Err(Status::data_loss("a message without a part")),
        }
    }
    let header = header.ok_or_else(|| Status::data_loss("a plan without a header"))?;
    Ok(Plan { header, findings, entries })
}

/// Requires that a call was refused so, with everything that every refusal carries.
pub(crate) fn refused<T>(
    answer: Result<T, Status>,
    code: Code,
    reason: &str,
) -> Result<ErrorDetails> {
    let Err(status) = answer else { bail!("the call was not refused with {reason}") };
    let details = status.get_error_details();
    let info = details.error_info().with_context(|| format!("no ErrorInfo in {status:?}"))?;
    ensure!(
        status.code() == code && info.reason == reason && info.domain == ERROR_DOMAIN,
        "refused with {:?} {} of {}, not with {code:?} {reason}: {}",
        status.code(),
        info.reason,
        info.domain,
        status.message()
    );
    ensure!(info.metadata.contains_key("remedy"), "{reason} has no remedy: {info:?}");
    ensure!(!status.message().is_empty(), "{reason} has no message");
    Ok(details)
}

/// A migration as its stream tells it.
pub(crate) struct Follower<'a> {
    bed: &'a dyn Bed,
    id: String,
    stream: Streaming<proto::WatchMigrationResponse>,
    /// The migration, as last sent.
    pub(crate) migration: proto::Migration,
    /// Its moves, as last sent.
    pub(crate) moves: BTreeMap<String, proto::Move>,
    /// Where to resume.
    pub(crate) token: String,
    /// The number of the last record.
    sequence: u64,
}

impl<'a> Follower<'a> {
    /// Watches from the start.
    pub(crate) async fn start(bed: &'a dyn Bed, replica: &dyn Replica, id: &str) -> Result<Self> {
        let stream = open(replica, id, "").await?;
        Ok(Self {
            bed,
            id: id.to_owned(),
            stream,
            migration: proto::Migration::default(),
            moves: BTreeMap::new(),
            token: String::new(),
            sequence: 0,
        })
    }

    /// Goes on at another replica, from the last token.
    pub(crate) async fn resume(&mut self, replica: &dyn Replica) -> Result<()> {
        self.stream = open(replica, &self.id, &self.token).await?;
        Ok(())
    }

    /// Where the move of a namespace stands.
    pub(crate) fn state(&self, namespace: &str) -> MoveState {
        self.moves.get(namespace).map(proto::Move::state).unwrap_or_default()
    }

    /// Reads until `holds`.
    pub(crate) async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) -> Result<()> {
        while !holds(self) {
            let message = timeout(self.bed.patience(), self.stream.message());
            let message = message.await.with_context(|| format!("no message until {what}"))??;
            let message = message
                .with_context(|| format!("the stream ended before {what}: {:?}", self.moves))?;
            self.apply(message)?;
        }
        Ok(())
    }

    /// Reads to the end of the stream, which is that of the migration.
    pub(crate) async fn read_out(&mut self) -> Result<()> {
        loop {
            let message = timeout(self.bed.patience(), self.stream.message());
            match message.await.context("no message before the end")?? {
                Some(message) => self.apply(message)?,
                None => break,
            }
        }
        let last = self.migration.final_sequence;
        ensure!(self.sequence == last, "{} was the last record, not {last}", self.sequence);
        Ok(())
    }

    fn apply(&mut self, message: proto::WatchMigrationResponse) -> Result<()> {
        ensure!(!message.resync, "the stream began anew");
        for m in message.moves {
            ensure!(m.sequence > self.sequence, "{} came after {}", m.sequence, self.sequence);
            self.sequence = m.sequence;
            self.moves.insert(m.namespace.clone(), m);
        }
        self.migration = message.migration.unwrap_or_else(|| std::mem::take(&mut self.migration));
        self.token = message.resume_token;
        Ok(())
    }
}

async fn open(
    replica: &dyn Replica,
    id: &str,
    token: &str,
) -> Result<Streaming<proto::WatchMigrationResponse>> {
    let mut client = MigrationServiceClient::new(replica.channel().await?);
    let request =
        proto::WatchMigrationRequest { id: id.to_owned(), resume_token: token.to_owned() };
    Ok(client.watch_migration(request).await.map(Response::into_inner)?)
}
