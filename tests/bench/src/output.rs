//! What is printed: the table to standard output, everything else to standard error.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is where printing is done")]

/// A line of what goes on.
pub(crate) fn line(text: &str) {
    eprintln!("{text}");
}

/// What went wrong.
pub(crate) fn error(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}

/// The result.
pub(crate) fn data(text: &str) {
    print!("{text}");
}
