//! Tables: objects as kubectl prints them, one row each under the columns of their kind.
//!
//! The columns of built-in kinds are in `columns`, those that definitions add in `printed`.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Shape;
use crate::kind::Kind;
use crate::object;
use crate::route::Request;

mod age;
mod columns;
mod pod;
mod printed;

use columns::Column;

/// A table that a client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Table {
    object: Shown,
}

/// What of its object a row carries besides its cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Nothing,
    Metadata,
    Whole,
}

impl Table {
    /// None if the client wants objects.
    pub(crate) fn asked(request: &Request) -> Option<Self> {
        request.header(http::header::ACCEPT).contains("as=Table").then(|| Self {
            object: match request.parameter("includeObject") {
                "None" => Shown::Nothing,
                "Object" => Shown::Whole,
                _ => Shown::Metadata,
            },
        })
    }

    /// Objects of one kind. Further events of a watch go without the columns' definitions.
    pub(crate) fn of<'a>(
        self,
        kind: &Kind,
        objects: impl IntoIterator<Item = &'a Value>,
        version: &str,
        now: Timestamp,
        headed: bool,
    ) -> Value {
        let columns = columns::of(kind);
        let rows: Vec<_> =
            objects.into_iter().map(|object| self.row(kind, columns, object, now)).collect();
        let mut table = json!({
            "kind": "Table",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": { "resourceVersion": version },
            "columnDefinitions": null,
            "rows": rows,
        });
        if headed {
            let definitions: Vec<_> = match columns {
                Some(columns) => columns.iter().map(Column::definition).collect(),
                None => printed::definitions(kind),
            };
            object::set(&mut table, "/columnDefinitions", definitions);
        }
        table
    }

    fn row(self, kind: &Kind, columns: Option<&[Column]>, object: &Value, now: Timestamp) -> Value {
        let cells: Vec<_> = match columns {
            Some(columns) => columns.iter().map(|column| column.cell(object, now)).collect(),
            None => printed::cells(kind, object, now),
        };
        let mut row = json!({ "cells": cells });
        match self.object {
            Shown::Nothing => {}
            Shown::Metadata => row["object"] = json!(Shape::Metadata.of(object)),
            Shown::Whole => row["object"] = object.clone(),
        }
        row
    }
}

/// One column as a client is told of it.
fn definition(name: &str, of: &str, format: &str, priority: i64) -> Value {
    json!({ "name": name, "type": of, "format": format, "description": "", "priority": priority })
}
