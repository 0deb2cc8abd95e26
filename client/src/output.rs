//! Where the program writes: data to stdout, all else to stderr.
//!
//! The only module that writes. Both sinks are given by the caller, so nothing here knows of the
//! process's own streams but [`Io::process`].

pub(crate) mod account;
pub(crate) mod bars;
pub(crate) mod document;
pub(crate) mod findings;
pub(crate) mod lines;
pub(crate) mod plan;
pub(crate) mod report;
pub(crate) mod retirement;
pub(crate) mod style;
pub(crate) mod table;
pub(crate) mod wording;

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader};

use crate::failure::Failure;

const DEFAULT_SIZE: (u16, u16) = (80, 24);

/// The program's streams.
pub struct Io {
    /// Data.
    pub stdout: Sink,
    /// Everything else.
    pub stderr: Sink,
    /// Answers to questions; none when there is nobody to ask.
    pub input: Option<Box<dyn AsyncBufRead + Send + Unpin>>,
}

impl Io {
    /// The process's own streams. Questions need a terminal on both sides.
    pub fn process() -> Self {
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let (out, err) = (stdout.is_terminal(), stderr.is_terminal());
        let asks = err && io::stdin().is_terminal();
        Self {
            stdout: Sink::new(stdout, out),
            stderr: Sink::new(stderr, err).size(process_size),
            input: asks.then(|| Box::new(BufReader::new(tokio::io::stdin())) as _),
        }
    }

    pub(crate) async fn ask(&mut self, question: &str) -> io::Result<String> {
        let mut answer = String::new();
        if let Some(input) = &mut self.input {
            self.stderr.write(question)?;
            input.read_line(&mut answer).await?;
        }
        Ok(answer)
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stdout, stderr, input } = self;
        f.debug_struct("Io")
            .field("stdout", stdout)
            .field("stderr", stderr)
            .field("input", &input.is_some())
            .finish()
    }
}

fn process_size() -> (u16, u16) {
    terminal_size::terminal_size_of(io::stderr())
        .map_or(DEFAULT_SIZE, |(columns, lines)| (columns.0, lines.0))
}

/// A stream that is written to. Clones write to the same.
#[derive(Clone)]
pub struct Sink {
    writer: Arc<Mutex<dyn Write + Send>>,
    terminal: bool,
    colored: bool,
    size: Arc<dyn Fn() -> (u16, u16) + Send + Sync>,
}

impl Sink {
    /// A sink, and whether people read it on a terminal.
    pub fn new(writer: impl Write + Send + 'static, terminal: bool) -> Self {
        let size = Arc::new(|| DEFAULT_SIZE);
        Self { writer: Arc::new(Mutex::new(writer)), terminal, colored: false, size }
    }

    /// The same with a terminal whose columns and lines the function tells, now and after it was
    /// resized; 80 and 24 unless told.
    #[must_use]
    pub fn size(mut self, size: impl Fn() -> (u16, u16) + Send + Sync + 'static) -> Self {
        self.size = Arc::new(size);
        self
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    pub(crate) fn is_colored(&self) -> bool {
        self.colored
    }

    pub(crate) fn color(&mut self, colored: bool) {
        self.colored = colored;
    }

    /// Writes data; that it cannot be written is a failure.
    pub(crate) fn print(&self, text: &str) -> Result<(), Failure> {
        self.write(text).map_err(Failure::Output)
    }

    /// Writes a line for people; that it cannot be written changes nothing.
    pub(crate) fn say(&self, line: &str) {
        let _ = self.write(&format!("{line}\n"));
    }

    fn write(&self, text: &str) -> io::Result<()> {
        // A writer that panicked once is as good as before.
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.write_all(text.as_bytes())?;
        writer.flush()
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").field("terminal", &self.terminal).finish_non_exhaustive()
    }
}
