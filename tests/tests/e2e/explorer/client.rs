//! A client that makes a migration under one request id, and follows it over every break, at any
//! replica.

use super::world::{NAMESPACES, World};
use anyhow::{Context, Result, ensure};
use revshift_proto::v1 as proto;
use revshift_proto::v1::migration_service_client::MigrationServiceClient;
use revshift_tests::{NEW, OLD};
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tonic::Code;
use tonic::transport::Channel;

/// The id of the only migration that most runs make.
pub(crate) const REQUEST: &str = "7d3c0a52-6a53-4b35-9d0c-0b6f2f4d8a11";
/// Who says nothing for so long is left for another replica.
const SILENCE: Duration = Duration::from_secs(20);

/// Speaks to whichever replica answers.
pub(crate) struct Client<'a> {
    pub(crate) world: &'a World,
    turn: Cell<usize>,
    trouble: RefCell<String>,
    messages: RefCell<Vec<String>>,
}

/// A migration, as a client that applied its stream holds it.
#[derive(Default)]
pub(crate) struct Stream {
    pub(crate) id: String,
    pub(crate) held: BTreeMap<String, proto::Move>,
    token: String,
    last: u64,
}

type Connection = MigrationServiceClient<Channel>;

/// Makes the migration and follows it to its end.
pub(crate) async fn tell(client: &Client<'_>) -> Result<Stream> {
    let id = client.create(REQUEST, &NAMESPACES, None).await?;
    let mut stream = Stream::of(id);
    client.follow(&mut stream).await?;
    Ok(stream)
}

impl<'a> Client<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        let (turn, trouble, messages) = <_>::default();
        Self { world, turn, trouble, messages }
    }

    /// What went wrong last.
    pub(crate) fn trouble(&self) -> String {
        self.trouble.borrow().clone()
    }

    /// Everything that it was told.
    pub(crate) fn messages(&self) -> Vec<String> {
        self.messages.borrow().clone()
    }

    /// Makes the migration of that request, at most once.
    pub(crate) async fn create(
        &self,
        request: &str,
        namespaces: &[&str],
        rollout_timeout: Option<i64>,
    ) -> Result<String> {
        let spec = proto::MigrationSpec {
            source: OLD.to_owned(),
            target: NEW.to_owned(),
            namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
            rollout_timeout: rollout_timeout
                .map(|seconds| pbjson_types::Duration { seconds, nanos: 0 }),
            ..proto::MigrationSpec::default()
        };
        // Once it was sent, one request is repeated as it is: its plan may have been stored.
        let sent = RefCell::new(None);
        self.insist(&[Code::InvalidArgument, Code::NotFound], async |mut server| {
            let repeated: Option<proto::CreateMigrationRequest> = sent.borrow().clone();
            if let Some(wanted) = repeated {
                let answer = server.create_migration(wanted).await;
                if answer.as_ref().is_err_and(|status| status.code() == Code::Aborted) {
                    // It was not stored, and its plan does not hold any more.
                    sent.take();
                }
                let migration = answer?.into_inner().migration;
                self.note(&migration);
                return Ok(migration.context("no migration")?.id);
            }
            let planned = proto::PlanMigrationRequest { spec: Some(spec.clone()) };
            let mut plan = server.plan_migration(planned).await?.into_inner();
            let mut hash = None;
            while let Some(part) = plan.message().await? {
                if let Some(proto::plan_migration_response::Part::Header(header)) = part.part {
                    hash = Some(header.plan_hash);
                }
            }
            let wanted = proto::CreateMigrationRequest {
                spec: Some(spec.clone()),
                plan_hash: hash.context("a plan without header")?,
                request_id: request.to_owned(),
            };
            sent.replace(Some(wanted.clone()));
            let migration = server.create_migration(wanted).await?.into_inner().migration;
            self.note(&migration);
            Ok(migration.context("no migration")?.id)
        })
        .await
    }

    /// Follows a migration to its end.
    pub(crate) async fn follow(&self, stream: &mut Stream) -> Result<()> {
        // Attempts are made one after the other, each on the stream as the one before left it.
        let stream = tokio::sync::Mutex::new(stream);
        // What was answered with OK must survive whatever happens.
        self.insist(&[Code::NotFound, Code::InvalidArgument, Code::DataLoss], async |server| {
            let mut stream = stream.lock().await;
            self.watch(server, *stream).await
        })
        .await
        .context("I6, I8: the migration is lost")
    }

    /// Tries until it is done, or refused with one of these codes.
    pub(crate) async fn insist<T>(
        &self,
        definite: &[Code],
        attempt: impl AsyncFn(Connection) -> Result<T>,
    ) -> Result<T> {
        loop {
            match self.attempt(&attempt).await {
                Ok(done) => return Ok(done),
                Err(error) => {
                    let code = error.downcast_ref::<tonic::Status>().map(tonic::Status::code);
                    let broken = error.downcast_ref::<Broken>().is_some();
                    if broken || code.is_some_and(|code| definite.contains(&code)) {
                        return Err(error);
                    }
                    self.trouble.replace(format!("{error:#}"));
                    self.turn.set(self.turn.get() + 1);
                    sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    async fn attempt<T>(&self, attempt: &impl AsyncFn(Connection) -> Result<T>) -> Result<T> {
        let address = self.world.address(self.turn.get()).context("that replica does not run")?;
        let channel = timeout(SILENCE, self.world.bed.connect(&address)).await??;
        attempt(MigrationServiceClient::new(channel)).await
    }

    async fn watch(&self, mut server: Connection, stream: &mut Stream) -> Result<()> {
        let (id, resume_token) = (stream.id.clone(), stream.token.clone());
        let request = proto::WatchMigrationRequest { id, resume_token };
        let mut messages = timeout(SILENCE, server.watch_migration(request)).await??.into_inner();
        while let Some(message) = timeout(SILENCE, messages.message()).await?? {
            self.note(&message);
            stream.apply(message, self.world).map_err(|error| Broken(format!("{error:#}")))?;
        }
        Ok(())
    }

    fn note(&self, message: &impl serde::Serialize) {
        // As a value, whose maps are in order.
        let message = serde_json::to_value(message).unwrap_or_default();
        self.messages.borrow_mut().push(message.to_string());
    }
}

/// A promise of the stream that was broken; no repetition mends that.
#[derive(Debug)]
struct Broken(String);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

impl Stream {
    /// Nothing held yet.
    pub(crate) fn of(id: String) -> Self {
        Self { id, ..Self::default() }
    }

    /// I8: nothing comes twice or out of order, and at every synced message the records held are
    /// those stored, up to the number that it ends with.
    pub(crate) fn apply(
        &mut self,
        message: proto::WatchMigrationResponse,
        world: &World,
    ) -> Result<()> {
        ensure!(!message.resync, "I8: the stream of one migration began anew");
        for m in message.moves {
            ensure!(m.sequence > self.last, "I8: record {} after {}", m.sequence, self.last);
            self.last = m.sequence;
            self.held.insert(m.namespace.clone(), m);
        }
        self.token = message.resume_token;
        if message.synced {
            for (namespace, stored) in stored(world, &self.id)? {
                let number = stored["sequence"].as_u64().unwrap_or_default();
                let held = self.held.get(&namespace).map(|m| m.sequence);
                ensure!(
                    number > self.last || held.unwrap_or_default() == number,
                    "I8: {namespace} is held at {held:?} and stored at {number}"
                );
            }
        }
        Ok(())
    }
}

/// The stored records of a migration, by namespace.
pub(crate) fn stored(world: &World, id: &str) -> Result<Vec<(String, Value)>> {
    let path = format!("/apis/revshift.dev/v1alpha1/migrationshards/{id}-0");
    let shard = world.bed.sandbox.object(&path).context("the shard is not stored")?;
    Ok(records(&shard))
}

/// The records in a shard, by namespace.
pub(crate) fn records(shard: &Value) -> Vec<(String, Value)> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let names = list(&shard["spec"]["moves"]);
    let names = names.iter().map(|m| m["namespace"].as_str().unwrap_or_default().to_owned());
    names.zip(list(&shard["status"]["moves"])).collect()
}
