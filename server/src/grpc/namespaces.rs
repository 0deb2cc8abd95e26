//! NamespaceService: how namespaces are attached, from what is published.

use super::Face;
use super::convert::explain::explanation;
use super::convert::namespace::namespace;
use super::convert::request::Fields;
use super::page::Page;
use super::status;
use crate::failure::Failure;
use crate::published::State;
use revshift_core::attachment::attachment;
use revshift_core::injection::Injection;
use revshift_core::migration::{Migration, MoveState};
use revshift_core::tag;
use revshift_proto::v1 as proto;
use revshift_proto::v1::namespace_service_server::NamespaceService;
use std::collections::BTreeMap;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl NamespaceService for Face {
    async fn list_namespaces(
        &self,
        request: Request<proto::ListNamespacesRequest>,
    ) -> Result<Response<proto::ListNamespacesResponse>, Status> {
        self.read(|state| list(state, request.get_ref()))
    }

    async fn explain_namespace(
        &self,
        request: Request<proto::ExplainNamespaceRequest>,
    ) -> Result<Response<proto::ExplainNamespaceResponse>, Status> {
        let proto::ExplainNamespaceRequest { namespace, target } = request.get_ref();
        let mut fields = Fields::default();
        fields.namespace("namespace", namespace);
        fields.finish().map_err(|refusal| status::status(refusal.into()))?;
        let found = self.control.explain(namespace, target).await.map_err(status::status)?;
        Ok(Response::new(explanation(namespace, found)))
    }
}

fn list(
    state: &State,
    request: &proto::ListNamespacesRequest,
) -> Result<proto::ListNamespacesResponse, Failure> {
    let proto::ListNamespacesRequest { page_size, page_token, revision } = request;
    let page = Page::parse("ListNamespaces", revision, *page_size, page_token, Fields::default())?;
    let cluster = &state.cluster;
    let wanted = match revision.as_str() {
        "" => None,
        name => Some(Injection::By(tag::named(cluster, name)?.plane.revision.clone())),
    };
    let holders = holders(&state.migrations);
    let rows = cluster.namespaces().map(|(name, meta, content)| (name, (name, meta, content)));
    let (namespaces, next_page_token) = page.fill(rows, |(name, meta, content)| {
        let attachment = attachment(cluster, meta, content);
        let shown = wanted.as_ref().is_none_or(|wanted| attachment.desired == *wanted);
        shown.then(|| namespace(name, meta, attachment, holders.get(name).copied()))
    });
    Ok(proto::ListNamespacesResponse { namespaces, next_page_token })
}

/// The unfinished migration that holds each namespace: the oldest that names it.
fn holders(migrations: &BTreeMap<String, Migration>) -> BTreeMap<&str, &str> {
    let mut unfinished: Vec<&Migration> =
        migrations.values().filter(|migration| migration.ended.is_none()).collect();
    unfinished.sort_by_key(|migration| (migration.spec.created, &migration.id));
    let mut holders = BTreeMap::new();
    for migration in unfinished {
        for m in migration.moves.iter().filter(|m| m.state != MoveState::Superseded) {
            holders.entry(m.namespace.as_str()).or_insert(migration.id.as_str());
        }
    }
    holders
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::sample;
    use revshift_core::cluster::{Change, Key, Kind, NamespaceMeta, Object};
    use revshift_core::injection::Injector;
    use revshift_core::label::{Labels, Operator, REVISION, Requirement, Selector};
    use revshift_core::migration::{MigrationState, Skip};
    use revshift_core::plane::Revision;

    fn labelled(revision: &str) -> Labels {
        Labels::from([(REVISION.to_owned(), revision.to_owned())])
    }

    fn injector(revision: &str) -> Injector {
        let operator = Operator::In(vec![revision.to_owned()]);
        let requirements = vec![Requirement { key: REVISION.to_owned(), operator }];
        Injector {
            configuration: format!("istio-sidecar-injector-{revision}"),
            webhook: "rev.namespace.sidecar-injector.istio.io".to_owned(),
            revision: Revision(revision.to_owned()),
            tag: None,
            namespace: "istio-system".to_owned(),
            trusted: true,
            namespace_selector: Selector { requirements },
            object_selector: Selector::default(),
        }
    }

    fn state() -> State {
        let mut state = State::default();
        let mut set = |kind, name: &str, object| {
            let key = Key { namespace: String::new(), name: name.to_owned() };
            state.cluster.apply(Change::Set(kind, key, object));
        };
        for (name, revision) in [("a", "1-30"), ("b", "1-31"), ("c", "1-30"), ("d", "gone")] {
            let meta = NamespaceMeta {
                order: 0,
                uid: String::new(),
                resource_version: String::new(),
                labels: labelled(revision),
                lock: None,
                terminating: false,
                skip: false,
                label_manager: None,
                label_owner: None,
            };
            set(Kind::Namespace, name, Object::Namespace(meta));
        }
        for revision in ["1-30", "1-31"] {
            set(Kind::Injector, revision, Object::Injectors(vec![injector(revision)]));
        }
        state
    }

    fn names(state: &State, revision: &str) -> Result<Vec<String>, String> {
        let revision = revision.to_owned();
        let request = proto::ListNamespacesRequest { revision, ..Default::default() };
        let found = list(state, &request).map_err(|failure| failure.to_string())?;
        Ok(found.namespaces.into_iter().map(|namespace| namespace.name).collect())
    }

    #[test]
    fn namespaces_are_listed_by_the_plane_that_would_inject_them() {
        let state = state();
        assert_eq!(names(&state, "").unwrap(), ["a", "b", "c", "d"]);
        assert_eq!(names(&state, "1-30").unwrap(), ["a", "c"]);
        assert!(names(&state, "gone").is_err());
        let all = list(&state, &proto::ListNamespacesRequest::default()).unwrap();
        assert_eq!(all.namespaces[3].state(), proto::namespace::State::Dangling);
        assert_eq!(all.namespaces[0].label, "istio.io/rev=1-30");
    }

    #[test]
    fn the_oldest_unfinished_migration_holds_a_namespace() {
        let mut state = state();
        let mut put = |id: &str, age: u64, moves| {
            let mut migration = sample::migration(id, moves);
            migration.spec.created = sample::TIME + std::time::Duration::from_secs(age);
            state.migrations.insert(id.to_owned(), migration);
        };
        let m = |name, state| sample::movement(name, 1, state);
        put(
            "m-old",
            2,
            vec![m("a", MoveState::Skipped(Skip::Unneeded)), m("b", MoveState::Superseded)],
        );
        put("m-new", 3, vec![m("a", MoveState::Pending), m("b", MoveState::Pending)]);
        put("m-over", 1, vec![m("a", MoveState::Skipped(Skip::Unneeded))]);
        if let Some(over) = state.migrations.get_mut("m-over") {
            over.ended = Some(sample::ended(MigrationState::Succeeded, 1));
        }
        let found = list(&state, &proto::ListNamespacesRequest::default()).unwrap();
        let held: Vec<&str> = found.namespaces.iter().map(|one| one.migration.as_str()).collect();
        assert_eq!(held, ["m-old", "m-new", "", ""]);
    }
}
