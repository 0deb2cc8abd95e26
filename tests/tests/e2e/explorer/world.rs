//! One run: a cluster, replicas that somebody keeps running, and a client that follows a migration.

use super::client::{Client, Stream};
use super::leadership::{self, Write};
use super::schedule::{Event, Schedule};
use super::{client, oracle, story};
use crate::simulated::{self, SimulatedBed, SimulatedReplica};
use anyhow::{Result, anyhow};
use http::Request;
use revshift_sandbox::{Change, Exchange, Sandbox, Verdict, fixtures};
use revshift_tests::{NEW, OLD};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

/// Namespaces that are moved.
pub(crate) const NAMESPACES: [&str; 3] = ["a", "b", "c"];
/// A namespace that nobody may touch.
pub(crate) const BYSTANDER: &str = "bystander";
/// So long a replica stays frozen, which is twice as long as its lease.
const FREEZE: Duration = Duration::from_secs(30);
/// From the end of a replica to its next start.
const RESTART: Duration = Duration::from_millis(500);

/// A cluster and the replicas that run on it.
pub(crate) struct World {
    pub(crate) bed: SimulatedBed,
    replicas: RefCell<Vec<Option<SimulatedReplica>>>,
}

/// A run that has ended well.
pub(crate) struct Run {
    /// The servers' requests, in order: whether each writes.
    pub(crate) requests: Vec<bool>,
    /// The end, by what must not depend on the schedule.
    pub(crate) end: BTreeMap<String, String>,
    exchanges: Vec<Exchange>,
    changes: Vec<Change>,
    messages: Vec<String>,
}

/// What is left of a run.
pub(crate) struct Evidence {
    pub(crate) world: Rc<World>,
    /// The migration, as a client holds it.
    pub(crate) stream: Stream,
    /// Everything that was stored.
    pub(crate) changes: Vec<Change>,
    /// Every request that wrote.
    pub(crate) writes: Vec<Write>,
    messages: Vec<String>,
}

impl Run {
    /// Everything that was sent, stored and told, in order.
    pub(crate) fn log(&self) -> String {
        let mut log = String::new();
        for exchange in &self.exchanges {
            let _ = writeln!(log, "{exchange:?}");
        }
        for Change { version, time, change, reference, manager, object, .. } in &self.changes {
            let _ = writeln!(log, "{version} {time} {change:?} {reference:?} {manager} {object}");
        }
        for message in &self.messages {
            let _ = writeln!(log, "{message}");
        }
        log
    }
}

/// Runs a schedule in virtual time, and looks at everything afterwards.
pub(crate) fn run(schedule: &Schedule) -> Result<Run> {
    simulated::in_virtual_time(LocalSet::new().run_until(explore(schedule)))
}

async fn explore(schedule: &Schedule) -> Result<Run> {
    let witnessed = witness(schedule).await?;
    let end = witnessed.judge(schedule)?;
    let Evidence { world, changes, messages, .. } = witnessed;
    let exchanges = world.bed.sandbox.requests();
    let sent = exchanges.iter().filter(|exchange| is_servers(&exchange.tag));
    let requests = sent.map(Exchange::writes).collect();
    Ok(Run { requests, end, exchanges, changes, messages })
}

/// Runs a schedule to its end; what is left of it is not judged yet.
pub(crate) async fn witness(schedule: &Schedule) -> Result<Evidence> {
    let world = Rc::new(World::begin(schedule.replicas).await);
    let sandbox = &world.bed.sandbox;
    let beginning = sandbox.version();
    let (events, happening) = mpsc::unbounded_channel();
    let writes = Arc::default();
    sandbox.intercept(world.judge(schedule, events, Arc::clone(&writes)));
    let (order, orders) = mpsc::unbounded_channel();
    spawn_local(happen(Rc::clone(&world), happening, order));
    for slot in 0..schedule.replicas {
        spawn_local(keep(Rc::clone(&world), slot));
    }
    let client = Client::new(&world);
    let told = async {
        if schedule.is_story() {
            story::tell(&client, schedule, orders).await
        } else {
            client::tell(&client).await
        }
    };
    let told = timeout(Duration::from_hours(1), told).await;
    // It holds the sandbox that it belongs to.
    sandbox.clear_intercept();
    let stream = told.map_err(|_| anyhow!("no end within an hour: {}", client.trouble()))??;
    let changes = sandbox.changes_after(beginning);
    let writes = std::mem::take(&mut *writes.lock().unwrap_or_else(PoisonError::into_inner));
    let messages = client.messages();
    Ok(Evidence { world, stream, changes, writes, messages })
}

impl Evidence {
    /// Asks every oracle; answers the end by what must not depend on the schedule.
    pub(crate) fn judge(&self, schedule: &Schedule) -> Result<BTreeMap<String, String>> {
        let sandbox = &self.world.bed.sandbox;
        let end = oracle::check(sandbox, schedule, &self.stream, &self.changes)?;
        leadership::check(&self.changes, &self.writes)?;
        Ok(end)
    }
}

impl World {
    /// A cluster with its applications on the old plane, and room for replicas.
    async fn begin(replicas: usize) -> Self {
        let bed = SimulatedBed::new();
        let sandbox = &bed.sandbox;
        let all = || NAMESPACES.iter().chain([&BYSTANDER]);
        all().for_each(|name| sandbox.apply(fixtures::namespace(name, &[("istio.io/rev", OLD)])));
        // Admission sees new namespaces late.
        sleep(Duration::from_secs(1)).await;
        all().for_each(|namespace| sandbox.apply(fixtures::deployment(namespace, "web", 2)));
        let pods = || sandbox.objects("/api/v1/pods");
        while pods().iter().filter(|pod| oracle::ready(pod)).count() < 8 {
            sleep(Duration::from_millis(250)).await;
        }
        let replicas = RefCell::new((0..replicas).map(|_| None).collect());
        Self { bed, replicas }
    }

    /// The address of the replica whose turn it is, if it runs.
    pub(crate) fn address(&self, turn: usize) -> Option<String> {
        let replicas = self.replicas.borrow();
        let replica = replicas.get(turn % replicas.len())?.as_ref()?;
        Some(format!("{}:7878", replica.host()))
    }

    /// Decides on every request, and tells of what happens at it.
    fn judge(
        &self,
        schedule: &Schedule,
        happening: mpsc::UnboundedSender<(Event, Exchange)>,
        writes: Arc<Mutex<Vec<Write>>>,
    ) -> impl FnMut(&Exchange) -> Verdict + Send + 'static {
        let (events, sandbox) = (schedule.events.clone(), self.bed.sandbox.clone());
        let gates = self.bed.gates();
        let mut number = 0;
        move |exchange| {
            if exchange.writes() {
                let mut writes = writes.lock().unwrap_or_else(PoisonError::into_inner);
                writes.push(Write { by: exchange.tag.clone(), after: sandbox.version() });
            }
            if !is_servers(&exchange.tag) {
                return Verdict::Pass;
            }
            let mut verdict = Verdict::Pass;
            for (_, event) in events.iter().filter(|(at, _)| *at == number) {
                let gate = gates.of(&exchange.tag);
                match event {
                    Event::CrashBefore | Event::CrashAfter => gate.kill(),
                    Event::FreezeBefore | Event::FreezeAfter => gate.freeze(),
                    _ => {}
                }
                let _ = happening.send((*event, exchange.clone()));
                if event.verdict() != Verdict::Pass {
                    verdict = event.verdict();
                }
            }
            number += 1;
            verdict
        }
    }
}

/// Whether a request was sent by a replica that ran.
fn is_servers(tag: &str) -> bool {
    tag.starts_with("replica-")
}

/// Keeps one replica running, whatever becomes of it.
async fn keep(world: Rc<World>, slot: usize) {
    loop {
        let replica = world.bed.launch();
        world.replicas.borrow_mut()[slot] = Some(replica);
        let ended =
            || world.replicas.borrow()[slot].as_ref().is_none_or(SimulatedReplica::has_ended);
        while !ended() {
            sleep(Duration::from_millis(200)).await;
        }
        world.replicas.borrow_mut()[slot] = None;
        sleep(RESTART).await;
    }
}

/// Lets happen what is no matter of one request alone.
async fn happen(
    world: Rc<World>,
    mut happening: mpsc::UnboundedReceiver<(Event, Exchange)>,
    order: mpsc::UnboundedSender<Event>,
) {
    while let Some((event, exchange)) = happening.recv().await {
        let sandbox = &world.bed.sandbox;
        match event {
            Event::CrashBefore | Event::CrashAfter => {
                for replica in world.replicas.borrow_mut().iter_mut() {
                    // Dropping a replica drops its future.
                    replica.take_if(|replica| replica.host() == exchange.tag);
                }
            }
            Event::FreezeBefore | Event::FreezeAfter => {
                let late = event == Event::FreezeBefore && exchange.writes();
                let gate = world.bed.gates().of(&exchange.tag);
                let sandbox = sandbox.clone();
                spawn_local(async move {
                    sleep(FREEZE).await;
                    if late {
                        spawn_local(send_late(sandbox, exchange));
                        // It is on its way before anything else that the replica does.
                        tokio::task::yield_now().await;
                    }
                    gate.thaw();
                });
            }
            Event::InjectorDown => sandbox.set_injector_down(NEW, true),
            Event::InjectorUp => sandbox.set_injector_down(NEW, false),
            _ => {}
        }
        let _ = order.send(event);
    }
}

/// Sends a request that a frozen replica was about to send.
async fn send_late(sandbox: Sandbox, exchange: Exchange) {
    let method = match exchange.verb {
        "create" => "POST",
        "update" => "PUT",
        "patch" => "PATCH",
        _ => "DELETE",
    };
    let request = Request::builder()
        .method(method)
        .uri(format!("{}?{}", exchange.path, exchange.query))
        .header("content-type", exchange.content_type)
        .body(http_body_util::Full::new(exchange.body));
    let request = request.expect("it was sent like this");
    let service = sandbox.service(&format!("late-{}", exchange.tag));
    let _ = service.oneshot(request).await;
}
