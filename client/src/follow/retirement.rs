//! Follows a retirement's stream to its end, over broken streams and lost servers.

use revshift_proto::v1::{self as proto, retirement::State};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::Streaming;

use super::{LAG, OPEN_TIMEOUT, PATIENCE};
use crate::{
    ExitStatus,
    args::Format,
    connect::{self, Backoff, Cause},
    context::Context,
    failure::Failure,
    output::{
        document, retirement as output,
        style::{self, Tone},
    },
};

/// Whether nothing follows any more.
pub(crate) fn is_final(state: State) -> bool {
    matches!(state, State::Retired | State::Cancelled)
}

/// Follows a retirement until it ends, or is blocked where nobody sees that.
pub(crate) async fn follow(context: &mut Context<'_>, id: &str) -> Result<ExitStatus, Failure> {
    let mut follower =
        Follower { id: id.to_owned(), last: None, said: Vec::new(), heard: Instant::now() };
    let mut pause = Backoff::default();
    let mut lost = Vec::new();
    loop {
        let cause = match follower.open(context).await {
            Ok(stream) => match follower.read(context, stream).await? {
                None => break,
                Some(cause) => {
                    lost.clear();
                    pause = Backoff::default();
                    cause
                }
            },
            Err(cause) => cause,
        };
        let why = match cause {
            Cause::Refused(status) => return Err(Failure::Refused(status)),
            Cause::NotNow(status) => status.message().to_owned(),
            Cause::Silent(why) => why,
        };
        lost.push((context.servers.name().to_owned(), why));
        context.servers.turn();
        if follower.heard.elapsed() >= PATIENCE {
            return Err(Failure::Unreachable(lost));
        }
        sleep(pause.next()).await;
    }
    follower.end(context)
}

struct Follower {
    id: String,
    last: Option<proto::Retirement>,
    said: Vec<String>,
    /// When a server was heard last.
    heard: Instant,
}

impl Follower {
    async fn open(
        &self,
        context: &mut Context<'_>,
    ) -> Result<Streaming<proto::WatchRetirementResponse>, Cause> {
        let channel = context.servers.channel().await?;
        let request = proto::WatchRetirementRequest { id: self.id.clone() };
        match timeout(OPEN_TIMEOUT, connect::retirements(channel).watch_retirement(request)).await {
            Ok(answer) => answer.map(tonic::Response::into_inner).map_err(Cause::of),
            Err(_) => Err(Cause::Silent(format!("no answer in {OPEN_TIMEOUT:?}"))),
        }
    }

    /// Reads until following is over (none) or the stream breaks (why).
    async fn read(
        &mut self,
        context: &mut Context<'_>,
        mut stream: Streaming<proto::WatchRetirementResponse>,
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
                Ok(Ok(None)) if self.state().is_some_and(is_final) => return Ok(None),
                Ok(Ok(None)) => {
                    return Ok(Some(Cause::Silent("the stream ended too early".to_owned())));
                }
                Ok(Err(status)) => return Ok(Some(Cause::of(status))),
            };
            self.heard = Instant::now();
            let retirement = connect::present(message.retirement.clone())?;
            self.show(context, &message, &retirement)?;
            self.last = Some(retirement);
            // Nobody is there to mend it, so waiting would be for ever.
            let blocked = self.state() == Some(State::Blocked);
            if context.io.stderr.is_terminal() || !blocked {
                give_up = None;
            } else {
                give_up.get_or_insert_with(|| Instant::now() + LAG);
            }
        }
    }

    fn state(&self) -> Option<State> {
        self.last.as_ref().map(proto::Retirement::state)
    }

    fn show(
        &mut self,
        context: &mut Context<'_>,
        message: &proto::WatchRetirementResponse,
        retirement: &proto::Retirement,
    ) -> Result<(), Failure> {
        let plane = &retirement.revision;
        context.on_interrupt = vec![
            format!("detached: retirement {} goes on", self.id),
            format!("re-attach: {}", context.command(&format!("retire {plane} --watch"))),
        ];
        if context.structured() {
            let text = document::render_part(context.format, message)?;
            return context.print(&text);
        }
        let mut lines = vec![output::line(retirement)];
        if retirement.state() == State::Blocked {
            lines.extend(output::findings(retirement));
        }
        if lines != self.said {
            for line in &lines {
                context.say(line);
            }
            self.said = lines;
        }
        Ok(())
    }

    fn end(self, context: &mut Context<'_>) -> Result<ExitStatus, Failure> {
        let Some(retirement) = self.last else {
            return Err(Failure::Broken("the stream ended without the retirement".to_owned()));
        };
        let (color, id) = (context.io.stderr.is_colored(), &retirement.id);
        if context.format == Format::Name {
            context.names(std::iter::once(id.as_str()))?;
        }
        let plane = &retirement.revision;
        if retirement.state() == State::Retired {
            let done = style::paint("done:", Tone::Good, color);
            context.say(&format!("{done} {plane} is retired"));
            return Ok(ExitStatus::Done);
        }
        let (state, _) = output::state(retirement.state);
        let label = style::paint("error:", Tone::Bad, color);
        context.say(&format!("{label} retirement {id} is {state}; {plane} is not retired"));
        if retirement.state() == State::Blocked {
            context.next("follow it again", &format!("retire {plane} --watch"));
            context.next("give it up", &format!("retire {plane} --cancel"));
        }
        Ok(ExitStatus::Failed)
    }
}
