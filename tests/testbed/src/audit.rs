//! The API server's audit log, from a mark on: who asked for what, and what came of it. It judges
//! what revshift did by what Kubernetes was asked, not by what revshift says.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    path::PathBuf,
};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::Value;

/// What was asked since the mark.
#[derive(Clone, Debug)]
pub struct Audit {
    log: PathBuf,
    mark: u64,
}

/// One request that was answered.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// `get`, `create`, `patch` and the like.
    pub verb: String,
    /// Who asked.
    #[serde(default)]
    pub user: User,
    /// What the caller calls itself.
    #[serde(default)]
    pub user_agent: String,
    /// When it arrived, in RFC 3339 with microseconds.
    #[serde(default, rename = "requestReceivedTimestamp")]
    pub received: String,
    /// What it was about; requests for no resource have none.
    #[serde(default, rename = "objectRef")]
    pub object: Object,
    /// The body, of patches to namespaces and workloads only.
    #[serde(default, rename = "requestObject")]
    pub body: Value,
    #[serde(default)]
    response_status: Answer,
}

/// Who asked.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct User {
    /// By the certificate or token that was shown.
    #[serde(default)]
    pub username: String,
}

/// What a request was about.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Object {
    /// Plural name of the kind.
    pub resource: String,
    /// Such as `status`; empty for the object itself.
    pub subresource: String,
    /// Namespace; empty for kinds without one, except namespaces themselves.
    pub namespace: String,
    /// Name; empty where the API server was to choose it.
    pub name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Answer {
    #[serde(default)]
    code: u16,
}

impl Audit {
    /// Marks the log's present end.
    pub(crate) fn of(log: PathBuf) -> Result<Self> {
        let mark = fs::metadata(&log).context("no audit log")?.len();
        Ok(Self { log, mark })
    }

    /// The requests since the mark, in the order in which they were answered.
    pub fn requests(&self) -> Result<Vec<Request>> {
        let mut file = File::open(&self.log)?;
        file.seek(SeekFrom::Start(self.mark))?;
        let mut log = Vec::new();
        file.read_to_end(&mut log)?;
        // What follows the last line's end may still be written.
        let mut lines: Vec<&[u8]> = log.split(|byte| *byte == b'\n').collect();
        lines.pop();
        let requests = lines.into_iter().map(serde_json::from_slice);
        requests.collect::<Result<_, _>>().context("the audit log is not one request a line")
    }

    /// How many pods of a namespace were created since the mark.
    pub fn pods_created(&self, namespace: &str) -> Result<usize> {
        let is_pod = |it: &Request| it.is("create", "pods") && it.object.namespace == namespace;
        Ok(self.requests()?.iter().filter(|it| is_pod(it)).count())
    }
}

impl Request {
    /// Whether this verb succeeded on objects of this kind themselves.
    pub fn is(&self, verb: &str, resource: &str) -> bool {
        let object = &self.object;
        self.verb == verb
            && object.resource == resource
            && object.subresource.is_empty()
            && self.succeeded()
    }

    /// Whether it was carried out, by its answer. One whose client was killed before the answer is
    /// carried out all the same, and logged without success.
    pub fn succeeded(&self) -> bool {
        (200..300).contains(&self.response_status.code)
    }

    /// Whether it was to change something.
    pub fn writes(&self) -> bool {
        !["get", "list", "watch"].contains(&self.verb.as_str())
    }

    /// Whether revshift's server asked.
    pub fn is_revshifts(&self) -> bool {
        self.user_agent.starts_with("revshift-server/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_since_the_mark_are_read_and_half_a_line_waits() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let pod = r#"{"verb":"create","userAgent":"x","objectRef":{"resource":"pods","namespace":"a"},"responseStatus":{"code":201}}"#;
        fs::write(file.path(), format!("{pod}\n")).unwrap();
        let audit = Audit::of(file.path().to_owned()).unwrap();
        let refused = pod.replace("201", "500");
        let bare = r#"{"verb":"get","requestURI":"/healthz"}"#;
        fs::write(file.path(), format!("{pod}\n{pod}\n{refused}\n{bare}\n{{\"verb\"")).unwrap();
        assert_eq!(audit.requests().unwrap().len(), 3);
        assert_eq!(audit.pods_created("a").unwrap(), 1);
        assert_eq!(audit.pods_created("b").unwrap(), 0);
    }
}
