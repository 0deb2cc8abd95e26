//! Progress on a terminal: a bar for each namespace that runs, and one for the whole.
//!
//! What ended, failed or paused is also said in a line above the bars, which stays.

use std::{collections::BTreeMap, io};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use jiff::Timestamp;
use revshift_proto::v1 as proto;

use super::{Sink, lines::Lines, wording};
use crate::follow::fold::{self, Changed, Followed};

const REDRAWS_A_SECOND: u8 = 10;

/// The bars. Dropping them clears them from the terminal.
#[derive(Debug)]
pub(crate) struct Bars {
    group: MultiProgress,
    whole: ProgressBar,
    running: BTreeMap<String, ProgressBar>,
    lines: Lines,
}

impl Bars {
    pub(crate) fn new(sink: &Sink) -> Self {
        let terminal = Box::new(Terminal(sink.clone()));
        let target = ProgressDrawTarget::term_like_with_hz(terminal, REDRAWS_A_SECOND);
        let group = MultiProgress::with_draw_target(target);
        let whole = group.add(ProgressBar::new(0));
        whole.set_style(style("[{bar:30}] {pos}/{len} namespaces, {msg}"));
        Self { group, whole, running: BTreeMap::new(), lines: Lines::default() }
    }

    pub(crate) fn show(&mut self, followed: &Followed, changed: &Changed, now: Timestamp) {
        if let Some(line) = self.lines.of_migration(followed, now) {
            self.say(&line);
        }
        for namespace in &changed.namespaces {
            self.show_move(followed, namespace);
        }
        if let Some(migration) = &followed.migration {
            self.whole.set_length(migration.moves_total.into());
            self.whole.set_position(migration.counts.unwrap_or_default().moved.into());
            self.whole.set_message(wording::migration_stand(migration));
        }
        // The draws above may have been too many for the rate; this one shows how it stands.
        self.whole.force_draw();
    }

    /// A line above the bars.
    pub(crate) fn say(&self, line: &str) {
        let _ = self.group.println(line);
    }

    fn show_move(&mut self, followed: &Followed, namespace: &str) {
        let Some(it) = followed.moves.get(namespace) else { return };
        if !fold::is_active(it.state()) {
            if let Some(bar) = self.running.remove(namespace) {
                bar.finish_and_clear();
                self.group.remove(&bar);
            }
            if let Some(line) = self.lines.of_move(followed, namespace) {
                self.say(&line);
            }
            return;
        }
        let live = followed.live.get(namespace);
        let bar = self.running.entry(namespace.to_owned()).or_insert_with(|| {
            let bar = self.group.insert_before(&self.whole, ProgressBar::new(0));
            bar.set_style(style("{prefix} {msg}"));
            bar.set_prefix(namespace.to_owned());
            bar
        });
        // Nothing out of nothing would be drawn as a full bar.
        if let Some(live) = live.filter(|live| live.pods_total > 0) {
            bar.set_style(style("{prefix} [{bar:20}] {pos}/{len} pods, {msg}"));
            bar.set_length(live.pods_total.into());
            bar.set_position(live.pods_on_target.into());
        }
        bar.set_message(message(it, live));
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        let _ = self.group.clear();
    }
}

fn message(it: &proto::Move, live: Option<&proto::MoveProgress>) -> String {
    let state = wording::move_state(it.state).0.to_ascii_lowercase();
    match live {
        Some(live) if !live.waiting_for.is_empty() => {
            format!("{state}, waiting for {}", live.waiting_for)
        }
        _ => state,
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// A sink as indicatif wants a terminal to be.
#[derive(Debug)]
struct Terminal(Sink);

impl Terminal {
    fn steer(&self, count: usize, direction: char) -> io::Result<()> {
        if count == 0 { Ok(()) } else { self.0.write(&format!("\x1b[{count}{direction}")) }
    }
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        (self.0.size)().0
    }

    fn height(&self) -> u16 {
        (self.0.size)().1
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.steer(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.steer(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.steer(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.steer(n, 'D')
    }

    fn write_line(&self, s: &str) -> io::Result<()> {
        self.0.write(&format!("{s}\n"))
    }

    fn write_str(&self, s: &str) -> io::Result<()> {
        self.0.write(s)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.0.write("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}
