//! What a command works with: the terminal, the servers, the format and the clock.
//!
//! Says things the same way for every command: notes, next commands, questions, data.

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    ExitStatus,
    args::{Format, Globals},
    connect::Servers,
    failure::Failure,
    output::{
        Io,
        document::{self, Items},
        table::{Row, Table},
    },
    settings::{Clock, Settings},
};

/// Everything that a running command may use.
pub(crate) struct Context<'a> {
    pub(crate) io: &'a mut Io,
    pub(crate) servers: Servers,
    pub(crate) format: Format,
    /// Whether bars may be drawn on stderr.
    pub(crate) animated: bool,
    /// Said when the command is interrupted where it stands now.
    pub(crate) on_interrupt: Vec<String>,
    headers: bool,
    clock: Clock,
    server_flag: Option<String>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(
        io: &'a mut Io,
        globals: &Globals,
        servers: Servers,
        settings: &Settings,
    ) -> Self {
        Self {
            animated: io.stderr.is_terminal() && !settings.dumb,
            io,
            servers,
            format: globals.output,
            on_interrupt: vec!["interrupted".to_owned()],
            headers: !globals.no_headers,
            clock: settings.clock.clone(),
            server_flag: globals.server.clone(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A line for people, on stderr.
    pub(crate) fn say(&mut self, line: &str) {
        self.io.stderr.say(line);
    }

    /// Data, on stdout.
    pub(crate) fn print(&mut self, text: &str) -> Result<(), Failure> {
        self.io.stdout.print(text)
    }

    /// A command as it can be typed again, against the same servers.
    pub(crate) fn command(&self, rest: &str) -> String {
        match &self.server_flag {
            Some(servers) => format!("revshift {rest} --server {servers}"),
            None => format!("revshift {rest}"),
        }
    }

    /// Suggests what to do next.
    pub(crate) fn next(&mut self, what: &str, rest: &str) {
        let command = self.command(rest);
        self.say(&format!("next: {what}: {command}"));
    }

    /// Whether the format is one for programs, which get the API's objects.
    pub(crate) fn structured(&self) -> bool {
        matches!(self.format, Format::Json | Format::Yaml)
    }

    /// Prints an object of the API as JSON or YAML.
    pub(crate) fn document(&mut self, object: &impl Serialize) -> Result<(), Failure> {
        let text = document::render(self.format, object)?;
        self.print(&text)
    }

    /// Prints a list in whatever format was asked for. `nothing` is said when it is empty.
    pub(crate) fn list<T: Row + Serialize>(
        &mut self,
        items: &[T],
        nothing: &str,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Json | Format::Yaml => self.document(&Items { items }),
            Format::Name => self.names(items.iter().map(Row::key)),
            Format::Table | Format::Wide if items.is_empty() => {
                self.say(nothing);
                Ok(())
            }
            Format::Table | Format::Wide => {
                let table = Table::of(items, self.format == Format::Wide, self.now());
                self.table(&table)
            }
        }
    }

    pub(crate) fn names<'n>(
        &mut self,
        names: impl Iterator<Item = &'n str>,
    ) -> Result<(), Failure> {
        let text: String = names.flat_map(|name| [name, "\n"]).collect();
        self.print(&text)
    }

    pub(crate) fn table(&mut self, table: &Table) -> Result<(), Failure> {
        let text = table.render(self.headers, self.io.stdout.is_colored());
        self.print(&text)
    }

    /// Fails unless the command may go on without a question or there is somebody to ask.
    pub(crate) fn need_consent(&self, command: &str, yes: bool) -> Result<(), Failure> {
        if yes || self.io.input.is_some() {
            return Ok(());
        }
        Err(Failure::Usage(format!(
            "`revshift {command}` asks before it changes anything, and there is no terminal to ask \
             on; nothing was done. With --yes it goes on without asking."
        )))
    }

    /// Asks a question on the terminal; anything but yes is a no.
    pub(crate) async fn ask(&mut self, question: &str) -> Result<bool, Failure> {
        let answer = self.io.ask(&format!("{question} [y/N] ")).await.map_err(Failure::Output)?;
        let agreed = matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes");
        if !agreed {
            self.say("nothing was changed");
        }
        Ok(agreed)
    }

    /// Asks for one of these names to be typed; anything else is a no.
    pub(crate) async fn ask_name(&mut self, why: &str, names: &[&str]) -> Result<bool, Failure> {
        let question = format!("{why} Type `{}` to go on: ", names.join("` or `"));
        let answer = self.io.ask(&question).await.map_err(Failure::Output)?;
        let agreed = names.contains(&answer.trim());
        if !agreed {
            self.say("nothing was changed");
        }
        Ok(agreed)
    }

    pub(crate) fn interrupted(&mut self) -> ExitStatus {
        for line in std::mem::take(&mut self.on_interrupt) {
            self.say(&line);
        }
        ExitStatus::Interrupted
    }
}
