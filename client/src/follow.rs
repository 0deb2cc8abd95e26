//! Follows a migration's stream to its end, over broken streams and lost servers.
//!
//! The folding of messages is in `fold`; what is shown is the views'. Here are the connection, its
//! resumption, and when following ends.

pub(crate) mod fold;
pub(crate) mod retirement;

use std::time::Duration;

use revshift_proto::v1::{self as proto, ErrorReason};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::{Status, Streaming};

use self::fold::{Changed, Followed};
use crate::{
    ExitStatus,
    connect::{self, Backoff, Cause},
    context::Context,
    failure::{self, Failure},
    output::{bars::Bars, document, lines::Lines, report},
};

/// For how long a server is looked for before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(30);
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// A stream that stood for so long worked, whether or not there was anything to say.
const STOOD: Duration = Duration::from_secs(5);

/// How long a pause must last to be believed: a replica may not know yet of a `resume` that another
/// has just accepted.
const LAG: Duration = Duration::from_secs(3);

/// How progress is shown.
enum View {
    /// Every message as it is, for programs.
    Messages,
    /// The last state as a document, once it ends.
    Silent,
    Lines(Lines),
    Bars(Bars),
}

/// What the document formats show of a migration that is followed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Document {
    /// Every message of the stream.
    Messages,
    /// The migration at the end.
    Result,
}

/// Follows a migration until it ends, or pauses where nobody could resume it.
///
/// `known` says that a server has answered for this migration before: then an outage is waited out
/// from the start.
pub(crate) async fn follow(
    context: &mut Context<'_>,
    id: &str,
    document: Document,
    known: bool,
) -> Result<ExitStatus, Failure> {
    context.on_interrupt = vec![
        format!("detached: migration {id} goes on"),
        format!("re-attach: {}", context.command(&format!("watch {id}"))),
    ];
    let mut follower = Follower {
        id: id.to_owned(),
        followed: Followed::default(),
        view: view(context, document),
        silent_since: None,
        pause: Backoff::default(),
        known,
        advised: false,
    };
    follower.run(context).await?;
    let Follower { followed, view, .. } = follower;
    // The bars leave the terminal before the last words.
    drop(view);
    report::end(context, id, &followed, document == Document::Result)
}

fn view(context: &Context<'_>, document: Document) -> View {
    match document {
        Document::Messages if context.structured() => View::Messages,
        Document::Result if context.structured() => View::Silent,
        Document::Messages | Document::Result if context.animated => {
            View::Bars(Bars::new(&context.io.stderr))
        }
        Document::Messages | Document::Result => View::Lines(Lines::default()),
    }
}

struct Follower {
    id: String,
    followed: Followed,
    view: View,
    silent_since: Option<Instant>,
    pause: Backoff,
    known: bool,
    /// Whether it was said what to do about the present pause.
    advised: bool,
}

impl Follower {
    async fn run(&mut self, context: &mut Context<'_>) -> Result<(), Failure> {
        let mut lost = Vec::new();
        loop {
            let cause = match self.open(context).await {
                Ok(stream) => {
                    let opened = Instant::now();
                    match self.read(context, stream).await? {
                        None => return Ok(()),
                        Some(cause) => {
                            if opened.elapsed() >= STOOD {
                                self.answered();
                            }
                            cause
                        }
                    }
                }
                Err(cause) => cause,
            };
            let why = match cause {
                Cause::Refused(status) => self.refused(status)?,
                Cause::NotNow(status) => {
                    // It lives, and will be ready.
                    self.known = true;
                    status.message().to_owned()
                }
                Cause::Silent(why) => why,
            };
            lost.push((context.servers.name().to_owned(), why));
            self.turn(context, &mut lost).await?;
        }
    }

    async fn open(
        &self,
        context: &mut Context<'_>,
    ) -> Result<Streaming<proto::WatchMigrationResponse>, Cause> {
        let channel = context.servers.channel().await?;
        let request = proto::WatchMigrationRequest {
            id: self.id.clone(),
            resume_token: self.followed.resume_token.clone(),
        };
        match timeout(OPEN_TIMEOUT, connect::migrations(channel).watch_migration(request)).await {
            Ok(answer) => answer.map(tonic::Response::into_inner).map_err(Cause::of),
            Err(_) => Err(Cause::Silent(format!("no answer in {OPEN_TIMEOUT:?}"))),
        }
    }

    /// Reads until following is over (none) or the stream breaks (why).
    async fn read(
        &mut self,
        context: &mut Context<'_>,
        mut stream: Streaming<proto::WatchMigrationResponse>,
    ) -> Result<Option<Cause>, Failure> {
        let mut give_up = None;
        loop {
            let next = match give_up {
                Some(then) => timeout_at(then, stream.message()).await,
                None => Ok(stream.message().await),
            };
            let message = match next {
                Err(_) => return Ok(None),
                Ok(Ok(Some(message))) => message,
                Ok(Ok(None)) if self.followed.state().is_some_and(fold::is_final) => {
                    return Ok(None);
                }
                Ok(Ok(None)) => {
                    return Ok(Some(Cause::Silent("the stream ended too early".to_owned())));
                }
                Ok(Err(status)) => return Ok(Some(Cause::of(status))),
            };
            self.answered();
            self.show(context, message)?;
            // Nobody is there to resume it, so waiting would be for ever.
            let paused = self.followed.state().is_some_and(fold::needs_somebody);
            if context.io.stderr.is_terminal() || !paused {
                give_up = None;
            } else if self.followed.synced {
                give_up.get_or_insert_with(|| Instant::now() + LAG);
            }
        }
    }

    fn answered(&mut self) {
        self.known = true;
        self.silent_since = None;
        self.pause = Backoff::default();
    }

    fn show(
        &mut self,
        context: &mut Context<'_>,
        message: proto::WatchMigrationResponse,
    ) -> Result<(), Failure> {
        if let View::Messages = self.view {
            let text = document::render_part(context.format, &message)?;
            context.print(&text)?;
        }
        let changed: Changed = self.followed.apply(message);
        match &mut self.view {
            View::Messages | View::Silent => {}
            View::Lines(lines) => {
                for line in lines.of(&self.followed, &changed, context.now()) {
                    context.say(&line);
                }
            }
            View::Bars(bars) => {
                bars.show(&self.followed, &changed, context.now());
                let paused = self.followed.state().is_some_and(fold::needs_somebody);
                let advice = self
                    .followed
                    .migration
                    .as_ref()
                    .filter(|_| paused && self.followed.synced && !self.advised);
                if let Some(migration) = advice {
                    let moves = self.followed.moves.values();
                    for line in report::pause_advice(context, migration, moves) {
                        bars.say(&line);
                    }
                }
                self.advised = paused && (self.advised || self.followed.synced);
            }
        }
        Ok(())
    }

    /// A refused token is of another server's making: the whole state serves as well.
    fn refused(&mut self, status: Box<Status>) -> Result<String, Failure> {
        let token = failure::reason(&status) == Some(ErrorReason::ResumeTokenInvalid);
        if token && !self.followed.resume_token.is_empty() {
            self.followed = Followed::default();
            return Ok(status.message().to_owned());
        }
        Err(Failure::Refused(status))
    }

    /// Turns to the next server, after a pause once all were tried, while there is patience.
    async fn turn(
        &mut self,
        context: &mut Context<'_>,
        lost: &mut Vec<(String, String)>,
    ) -> Result<(), Failure> {
        let now = Instant::now();
        let first = self.silent_since.is_none();
        let since = *self.silent_since.get_or_insert(now);
        context.servers.turn();
        if first {
            lost.drain(..lost.len() - 1);
            if self.known {
                let line = format!(
                    "lost {}; migration {} goes on, looking for a server",
                    lost[0].0, self.id
                );
                match &self.view {
                    View::Bars(bars) => bars.say(&line),
                    View::Messages | View::Silent | View::Lines(_) => context.say(&line),
                }
            }
        }
        let tried_all = lost.len() >= context.servers.count();
        if now - since >= PATIENCE || (tried_all && !self.known) {
            lost.drain(..lost.len().saturating_sub(context.servers.count()));
            return Err(Failure::Unreachable(std::mem::take(lost)));
        }
        if !first || context.servers.count() == 1 {
            sleep(self.pause.next()).await;
        }
        Ok(())
    }
}
