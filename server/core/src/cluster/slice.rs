//! What an EndpointSlice lists.

/// A part of a Service's endpoints, as one EndpointSlice lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The Service.
    pub service: String,
    /// The kind of address: a Service of two families has every pod in a slice of each.
    pub family: Family,
    /// Ready endpoints.
    pub ready: u32,
}

/// A kind of address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
    /// Names.
    Name,
}
