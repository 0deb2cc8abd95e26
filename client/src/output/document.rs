//! The API's objects as JSON and YAML, in the field names of proto3's JSON.

use serde::Serialize;

use crate::{args::Format, failure::Failure};

/// A list, as an object so that it can grow.
#[derive(Serialize)]
pub(crate) struct Items<'a, T> {
    pub(crate) items: &'a [T],
}

/// A whole document, with a line end.
pub(crate) fn render(format: Format, object: &impl Serialize) -> Result<String, Failure> {
    if format == Format::Yaml {
        return serde_norway::to_string(object).map_err(|error| broken(&error));
    }
    let text = serde_json::to_string_pretty(object).map_err(|error| broken(&error))?;
    Ok(text + "\n")
}

/// One of a stream of documents: a line of JSON, or a YAML document.
pub(crate) fn render_part(format: Format, object: &impl Serialize) -> Result<String, Failure> {
    if format == Format::Yaml {
        let text = serde_norway::to_string(object).map_err(|error| broken(&error))?;
        return Ok(format!("---\n{text}"));
    }
    let text = serde_json::to_string(object).map_err(|error| broken(&error))?;
    Ok(text + "\n")
}

/// Objects of the API fail to serialise only by an enum value that this client does not know.
fn broken(error: &dyn std::error::Error) -> Failure {
    Failure::Broken(format!("the server's answer cannot be shown: {error}"))
}
