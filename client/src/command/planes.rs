//! `revshift planes`: the control planes, as kubectl shows Calisti's, and what is attached to them.

use jiff::Timestamp;
use revshift_proto::v1 as proto;
use tonic::Response;

use crate::{
    ExitStatus, connect,
    context::Context,
    failure::Failure,
    output::{
        style::{self, Tone},
        table::{Cell, Row},
        wording,
    },
};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

impl Args {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Result<ExitStatus, Failure> {
        let planes = context
            .servers
            .pages(async |channel, page_size, page_token| {
                let request = proto::ListControlPlanesRequest { page_size, page_token };
                let mut client = connect::control_planes(channel);
                let page = client.list_control_planes(request).await.map(Response::into_inner)?;
                Ok((page.control_planes, page.next_page_token))
            })
            .await?;
        context.list(&planes, "no control planes found")?;
        for plane in planes.iter().filter(|plane| !plane.connected_unknown.is_empty()) {
            let why = style::one_line(&plane.connected_unknown);
            context.say(&format!("who is connected to {} is unknown: {why}", plane.revision));
        }
        Ok(ExitStatus::Done)
    }
}

impl Row for proto::ControlPlane {
    const COLUMNS: &[&str] = &[
        "NAME",
        "MODE",
        "NETWORK",
        "STATUS",
        "MESH EXPANSION",
        "EXPANSION GW IPS",
        "ERROR",
        "AGE",
        "REVISION",
        "VERSION",
        "NAMESPACES",
        "PODS",
        "CONNECTED",
        "TAGS",
        "DEFAULT",
    ];
    const WIDE: &[&str] = &["SOURCE", "NAMESPACE"];

    fn key(&self) -> &str {
        &self.revision
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        let tone = if self.available { Tone::Good } else { Tone::Warn };
        vec![
            Cell::new(&self.name),
            Cell::new(&self.mode),
            Cell::new(&self.network),
            Cell::new(&self.status).tone(tone),
            Cell::new(self.mesh_expansion.map(|on| on.to_string()).unwrap_or_default()),
            Cell::new(addresses(&self.expansion_gateway_ips)),
            Cell::new(&self.error).tone(Tone::Bad),
            Cell::new(wording::age(self.create_time.as_ref(), now)),
            Cell::new(&self.revision),
            Cell::new(&self.version),
            self.namespaces.into(),
            self.pods.into(),
            match self.connected_proxies {
                Some(proxies) => proxies.into(),
                None => Cell::new("?").tone(Tone::Warn),
            },
            Cell::new(self.tags.join(",")),
            Cell::new(wording::default_by(self.default_by)),
        ]
    }

    fn wide(&self) -> Vec<Cell> {
        vec![Cell::new(wording::source(self.source)), Cell::new(&self.namespace)]
    }
}

/// As a list in JSON, which is how kubectl prints the resource's field.
fn addresses(addresses: &[String]) -> String {
    match addresses {
        [] => String::new(),
        addresses => format!("[\"{}\"]", addresses.join("\",\"")),
    }
}
