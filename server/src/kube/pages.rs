//! Lists, page by page.

use kube::Error;
use kube::api::{Api, ListParams};
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// Gives each object of a list to `take`, a page of `params` at a time.
pub(super) async fn pages<K>(
    api: &Api<K>,
    mut params: ListParams,
    mut take: impl FnMut(K),
) -> Result<(), Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    loop {
        let page = api.list(&params).await?;
        page.items.into_iter().for_each(&mut take);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(()),
        }
    }
}
