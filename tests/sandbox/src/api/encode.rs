//! Objects as they are sent: written as they are, without a copy.

use std::io::Write;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::Value;

/// How much of an object a client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Whole,
    /// As an item of a list that says the type of all.
    Untyped,
    Metadata,
}

/// An object in a shape.
pub(crate) struct Shaped<'a>(Shape, &'a Value);

impl Shape {
    pub(crate) fn of(self, object: &Value) -> Shaped<'_> {
        Shaped(self, object)
    }

    /// Writes an object as JSON.
    pub(crate) fn write(self, object: &Value, json: &mut Vec<u8>) {
        write(&self.of(object), json);
    }
}

impl Serialize for Shaped<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(shape, object) = self;
        match (shape, object) {
            (Shape::Metadata, object) => {
                let mut map = serializer.serialize_map(Some(3))?;
                map.serialize_entry("kind", "PartialObjectMetadata")?;
                map.serialize_entry("apiVersion", "meta.k8s.io/v1")?;
                map.serialize_entry("metadata", &object.get("metadata"))?;
                map.end()
            }
            (Shape::Untyped, Value::Object(fields)) => {
                let typed =
                    |(key, _): &(&String, &Value)| !["apiVersion", "kind"].contains(&key.as_str());
                serializer.collect_map(fields.iter().filter(typed))
            }
            (Shape::Whole | Shape::Untyped, object) => object.serialize(serializer),
        }
    }
}

/// Writes a value as JSON; what the sandbox sends has no keys that are not strings.
pub(crate) fn write(value: &impl Serialize, json: &mut Vec<u8>) {
    if let Err(error) = serde_json::to_writer(&mut *json, value) {
        // A client reports what it cannot read.
        let _ = write!(json, "{error}");
    }
}
