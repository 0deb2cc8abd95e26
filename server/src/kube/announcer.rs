//! Announcements as Kubernetes Events: best effort, one at a time, and never in anybody's way.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, PostParams};
use kube::{Client, Error};
use revshift_core::announcement::{Announcement, Subject};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tracing::{debug, warn};

/// So many announcements may wait; what comes on top is not told.
const WAITING: usize = 1024;
/// Where Events about objects without a namespace belong.
const DEFAULT_NAMESPACE: &str = "default";
/// Who tells.
const COMPONENT: &str = "revshift";

/// Takes announcements; never waits.
#[derive(Clone, Debug)]
pub struct Announcer {
    sender: mpsc::Sender<(Announcement, String, Timestamp)>,
}

/// Tells what was taken, until nobody can take anything any more.
pub struct Telling {
    client: Client,
    receiver: mpsc::Receiver<(Announcement, String, Timestamp)>,
}

impl std::fmt::Debug for Telling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telling").finish_non_exhaustive()
    }
}

/// Both ends.
pub fn announcer(client: Client) -> (Announcer, Telling) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Announcer { sender }, Telling { client, receiver })
}

impl Announcer {
    /// Tells it as soon as may be. `uid` is that of the migration or retirement, where it is about one.
    pub fn tell(&self, announcement: Announcement, uid: &str, at: Timestamp) {
        if let Err(error) = self.sender.try_send((announcement, uid.to_owned(), at)) {
            debug!(%error, "an Event is not told");
        }
    }
}

impl Telling {
    /// Runs until every announcer is gone.
    pub async fn run(mut self) {
        while let Some((announcement, uid, at)) = self.receiver.recv().await {
            let event = event(announcement, uid, at);
            let namespace = event.metadata.namespace.clone().unwrap_or_default();
            let api = Api::<Event>::namespaced(self.client.clone(), &namespace);
            match api.create(&PostParams::default(), &event).await {
                Ok(_) => {}
                // Told before, or its namespace is being deleted.
                Err(Error::Api(status)) if [404, 409].contains(&status.code) => {}
                Err(error) => warn!(namespace, %error, "cannot tell an Event"),
            }
        }
    }
}

/// What revshift stores itself.
fn own(kind: &str, id: String, uid: String) -> ObjectReference {
    ObjectReference {
        api_version: Some("revshift.dev/v1alpha1".to_owned()),
        kind: Some(kind.to_owned()),
        name: Some(id),
        uid: Some(uid),
        ..ObjectReference::default()
    }
}

/// An Event about a namespace is kept in it, where those see it who own it; the API server would take
/// it in `default` as well.
fn event(announcement: Announcement, uid: String, at: Timestamp) -> Event {
    let Announcement { subject, warning, reason, message, key } = announcement;
    let (namespace, involved_object) = match subject {
        Subject::Namespace { name, uid } => {
            let about = ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Namespace".to_owned()),
                name: Some(name.clone()),
                namespace: Some(name.clone()),
                uid: Some(uid),
                ..ObjectReference::default()
            };
            (name, about)
        }
        Subject::Migration { id } => (DEFAULT_NAMESPACE.to_owned(), own("Migration", id, uid)),
        Subject::Retirement { id } => (DEFAULT_NAMESPACE.to_owned(), own("Retirement", id, uid)),
    };
    let about = involved_object.name.clone().unwrap_or_default();
    let digest = Sha256::digest(key.as_bytes());
    let number = digest.iter().take(6).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{about}.{number:012x}")),
            namespace: Some(namespace),
            ..ObjectMeta::default()
        },
        involved_object,
        type_: Some(if warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(message.chars().take(1024).collect()),
        source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: None }),
        count: Some(1),
        first_timestamp: Some(Time(at)),
        last_timestamp: Some(Time(at)),
        ..Event::default()
    }
}
