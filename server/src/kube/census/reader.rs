//! Lists from the API server's store: paged, never from a cache; what fails is noted, and not in silence
//! taken for nothing.

use crate::kube::pages::pages;
use crate::kube::served::served;
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::PartialObjectMeta;
use kube::{Client, Error, Resource};
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// Objects of one page.
const PAGE: u32 = 500;
/// The same of objects that carry pod templates: who writes them decides how large they are.
const PAGE_OF_TEMPLATES: u32 = 50;

/// Reads lists, and keeps what could not be read.
pub(super) struct Reader<'a> {
    pub(super) client: &'a Client,
    /// What could not be read, and why.
    pub(super) unread: Vec<(String, String)>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(client: &'a Client) -> Self {
        Self { client, unread: Vec::new() }
    }

    /// All objects of a kind that every cluster has.
    pub(super) async fn list<K>(&mut self, params: ListParams) -> Vec<K>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let api = Api::<K>::all(self.client.clone());
        match all(&api, params).await {
            Ok(objects) => objects,
            Err(error) => self.missed(&K::plural(&()), &error),
        }
    }

    /// The same of kinds with pod templates, each given to `take`, and not kept.
    pub(super) async fn each<K>(&mut self, take: impl FnMut(K))
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let api = Api::<K>::all(self.client.clone());
        let params = ListParams::default().limit(PAGE_OF_TEMPLATES);
        if let Err(error) = pages(&api, params, take).await {
            self.missed::<()>(&K::plural(&()), &error);
        }
    }

    /// The same in one namespace.
    pub(super) async fn each_in<K>(&mut self, namespace: &str, take: impl FnMut(K))
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + DeserializeOwned + Debug,
    {
        let api = Api::<K>::namespaced(self.client.clone(), namespace);
        let params = ListParams::default().limit(PAGE_OF_TEMPLATES);
        if let Err(error) = pages(&api, params, take).await {
            self.missed::<()>(&format!("{} of {namespace}", K::plural(&())), &error);
        }
    }

    /// The metadata of all objects of a kind, each given to `take`, and not kept.
    pub(super) async fn marks<K>(&mut self, mut take: impl FnMut(PartialObjectMeta<K>))
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let api = Api::<K>::all(self.client.clone());
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let page = match api.list_metadata(&params).await {
                Ok(page) => page,
                Err(error) => {
                    self.missed::<()>(&K::plural(&()), &error);
                    return;
                }
            };
            page.items.into_iter().for_each(&mut take);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return,
            }
        }
    }

    /// All objects of a kind that a cluster may have.
    pub(super) async fn optional(&mut self, resource: &ApiResource) -> Vec<DynamicObject> {
        self.selected(resource, ListParams::default()).await
    }

    /// All objects of a kind that a cluster may have in one of several versions.
    pub(super) async fn in_any_version(&mut self, group: &str, kind: &str) -> Vec<DynamicObject> {
        match served(self.client, group, kind).await {
            Ok(Some(resource)) => self.optional(&resource).await,
            Ok(None) => Vec::new(),
            Err(error) => self.missed(&format!("{kind}.{group}"), &error),
        }
    }

    /// Of them those that `params` select.
    pub(super) async fn selected(
        &mut self,
        resource: &ApiResource,
        params: ListParams,
    ) -> Vec<DynamicObject> {
        let api = Api::<DynamicObject>::all_with(self.client.clone(), resource);
        match all(&api, params).await {
            Ok(objects) => objects,
            Err(Error::Api(status)) if status.code == 404 => Vec::new(),
            Err(error) => {
                let what = format!("{}.{}", resource.plural, resource.group);
                self.missed(what.trim_end_matches('.'), &error)
            }
        }
    }

    /// Notes that something could not be read.
    pub(super) fn missed<T>(&mut self, what: &str, error: &Error) -> Vec<T> {
        let why = match error {
            Error::Api(status) => format!("it cannot be listed: {}", status.message),
            error => format!("it cannot be listed: {error}"),
        };
        self.unread.push((what.to_owned(), why));
        Vec::new()
    }
}

/// Every page of a list. No resourceVersion: it is read from the store itself.
pub(super) async fn all<K>(api: &Api<K>, params: ListParams) -> Result<Vec<K>, Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let mut objects = Vec::new();
    pages(api, params.limit(PAGE), |object| objects.push(object)).await?;
    Ok(objects)
}
