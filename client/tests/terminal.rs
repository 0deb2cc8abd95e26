//! Runs the program in memory: its arguments, servers, terminal and interrupt are a test's.

use std::{
    ffi::OsString,
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;
use revshift::{Clock, Connector, ExitStatus, Io, Settings, Sink};

use crate::fake::Fake;

/// What time it is in every test.
pub(crate) fn now() -> Timestamp {
    "2023-03-01T12:00:00Z".parse().unwrap()
}

pub(crate) fn ago(seconds: i64) -> pbjson_types::Timestamp {
    pbjson_types::Timestamp { seconds: now().as_second() - seconds, nanos: 0 }
}

/// One run of the program.
pub(crate) struct Run {
    args: Vec<OsString>,
    servers: Vec<(String, Fake)>,
    settings: Settings,
    terminal: bool,
    input: Option<&'static str>,
    interrupt: Option<Duration>,
    closed: bool,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// `revshift` with these arguments, which are separated by spaces.
pub(crate) fn revshift(args: &str) -> Run {
    Run {
        args: format!("revshift {args}").split(' ').map(OsString::from).collect(),
        servers: Vec::new(),
        settings: Settings { clock: Clock::new(now), ..Settings::default() },
        terminal: false,
        input: None,
        interrupt: None,
        closed: false,
    }
}

impl Run {
    pub(crate) fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.into());
        self
    }

    /// The server at the default address.
    pub(crate) fn at(self, server: &Fake) -> Self {
        self.with("127.0.0.1:7878", server)
    }

    pub(crate) fn with(mut self, address: &str, server: &Fake) -> Self {
        self.servers.push((address.to_owned(), server.clone()));
        self
    }

    pub(crate) fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// On a terminal, where somebody types this.
    pub(crate) fn typing(mut self, input: &'static str) -> Self {
        (self.terminal, self.input) = (true, Some(input));
        self
    }

    pub(crate) fn interrupted_after(mut self, time: Duration) -> Self {
        self.interrupt = Some(time);
        self
    }

    /// Nobody reads stdout any more.
    pub(crate) fn closed(mut self) -> Self {
        self.closed = true;
        self
    }

    pub(crate) async fn run(self) -> End {
        let Self { args, servers, settings, terminal, input, interrupt, closed } = self;
        let connector = Connector::new(move |uri| {
            let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
            match servers.iter().find(|(address, _)| *address == authority) {
                Some((_, server)) => server.connect(uri),
                None => Box::pin(async { Err("connection refused".into()) }),
            }
        });
        let (out, err) = (Buffer::default(), Buffer::default());
        let mut io = Io {
            stdout: if closed {
                Sink::new(Closed, terminal)
            } else {
                Sink::new(out.clone(), terminal)
            },
            stderr: Sink::new(err.clone(), terminal),
            input: input.map(|input| Box::new(input.as_bytes()) as _),
        };
        let interrupt = async move {
            match interrupt {
                Some(time) => tokio::time::sleep(time).await,
                None => std::future::pending().await,
            }
        };
        // Spawned, so that it does not compile unless the whole program may move between threads.
        let run = tokio::spawn(async move {
            revshift::run(args, settings, &mut io, connector, interrupt).await
        });
        let status = run.await.unwrap();
        End { status, out: out.text(), err: err.text() }
    }
}

impl End {
    #[track_caller]
    pub(crate) fn is(&self, status: ExitStatus) -> &Self {
        assert_eq!(self.status, status, "out:\n{}\nerr:\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub(crate) fn printed(&self, out: &str) -> &Self {
        assert_eq!(self.out, unindent(out), "out:\n{}\nerr:\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub(crate) fn said(&self, err: &str) -> &Self {
        assert_eq!(self.err, unindent(err), "out:\n{}\nerr:\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub(crate) fn mentions(&self, text: &str) -> &Self {
        assert!(self.err.contains(text), "`{text}` is not in\n{}", self.err);
        self
    }
}

/// Removes the first line end and the indentation of the first line from every line.
fn unindent(text: &str) -> String {
    let text = text.strip_prefix('\n').unwrap_or(text).trim_end_matches(' ');
    let indent = text.len() - text.trim_start_matches(' ').len();
    text.split_inclusive('\n').map(|line| line.get(indent..).unwrap_or("\n")).collect()
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
