//! Colour, and text that is safe to print on one line.

use anstyle::{AnsiColor, Style};

/// What a colour says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Warn,
    Bad,
    Note,
}

pub(crate) fn paint(text: &str, tone: Tone, color: bool) -> String {
    let style = match tone {
        Tone::Plain => return text.to_owned(),
        Tone::Good => Style::new().fg_color(Some(AnsiColor::Green.into())),
        Tone::Warn => Style::new().fg_color(Some(AnsiColor::Yellow.into())),
        Tone::Bad => Style::new().fg_color(Some(AnsiColor::Red.into())).bold(),
        Tone::Note => Style::new().fg_color(Some(AnsiColor::Cyan.into())),
    };
    if color && !text.is_empty() { format!("{style}{text}{style:#}") } else { text.to_owned() }
}

/// The text on one line: texts of others must neither break a table nor steer the terminal.
pub(crate) fn one_line(text: &str) -> String {
    text.split(char::is_control).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}
