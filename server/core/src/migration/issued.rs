//! What was commanded: by whom, when, and about what.

use super::{Approval, Control};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// So many commands are kept, the latest ones.
pub const MOST_COMMANDS: usize = 100;
/// So many namespaces of one command are named.
const MOST_NAMES: usize = 20;

/// A command that changed something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// What was commanded.
    pub verb: Verb,
    /// By whom.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// The wave that was approved, or whose checks were accepted or are made again; none for any other
    /// command.
    pub wave: Option<u32>,
    /// The namespaces that it names, the first ones where they are many.
    pub namespaces: Vec<String>,
    /// How many namespaces it names.
    pub named: u32,
    /// Whether a retry was told to delete broken pods.
    pub force: bool,
}

/// The kinds of commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Start nothing new.
    Pause,
    /// Go on.
    Resume,
    /// Start nothing any more.
    Cancel,
    /// Try moves again.
    Retry,
    /// Leave namespaces out.
    Skip,
    /// Let a wave start.
    Approve,
    /// Go on whatever the checks after a wave say.
    Accept,
    /// Take further namespaces in.
    Extend,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 8] = [
        Self::Pause,
        Self::Resume,
        Self::Cancel,
        Self::Retry,
        Self::Skip,
        Self::Approve,
        Self::Accept,
        Self::Extend,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "PAUSE",
            Self::Resume => "RESUME",
            Self::Cancel => "CANCEL",
            Self::Retry => "RETRY",
            Self::Skip => "SKIP",
            Self::Approve => "APPROVE",
            Self::Accept => "ACCEPT",
            Self::Extend => "EXTEND",
        }
    }

    /// The one of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.as_str() == text)
    }
}

impl Issued {
    /// A command by somebody about these namespaces.
    pub(crate) fn of(verb: Verb, by: &str, at: Timestamp, named: &[String]) -> Self {
        Self {
            verb,
            by: by.to_owned(),
            at,
            wave: None,
            namespaces: named.iter().take(MOST_NAMES).cloned().collect(),
            named: u32::try_from(named.len()).unwrap_or(u32::MAX),
            force: false,
        }
    }
}

impl Control {
    /// Notes that somebody has had these namespaces taken in.
    pub fn note_extension(&mut self, by: &str, at: Timestamp, namespaces: &[String]) {
        self.keep(Issued::of(Verb::Extend, by, at, namespaces));
    }

    /// Keeps it among the latest ones.
    pub(crate) fn keep(&mut self, issued: Issued) {
        self.commands.push(issued);
        let over = self.commands.len().saturating_sub(MOST_COMMANDS);
        self.commands.drain(..over);
    }

    /// The wave that the change from `before` is about.
    pub(crate) fn wave_of(&self, before: &Self) -> Option<u32> {
        let new = |now: &BTreeMap<u32, Approval>, before: &BTreeMap<u32, Approval>| {
            now.keys().find(|wave| !before.contains_key(wave)).copied()
        };
        let reruns = self.reruns.iter();
        let rerun = reruns.filter(|(wave, rerun)| before.reruns.get(wave) != Some(*rerun));
        new(&self.approved, &before.approved)
            .or_else(|| new(&self.accepted, &before.accepted))
            .or_else(|| rerun.map(|(wave, _)| *wave).next())
    }
}
