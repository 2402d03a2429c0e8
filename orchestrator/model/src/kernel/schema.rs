//! The JSON schema of `images/kernels.yaml`, made from its types, for editors and for the loader.

use super::Kernels;
use crate::json_schema::schema_of;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// Returns the JSON schema (draft 7) of kernel lists, as committed in `images/schema.json`.
pub fn schema() -> String {
    format!("{:#}\n", value())
}

/// Returns the same schema as a value.
pub(super) fn value() -> Value {
    schema_of::<Kernels>()
}

pub(super) fn names() -> Value {
    json!({"type": "string", "format": "kernel"})
}

pub(super) fn suites(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {"type": "string", "format": "suite"},
        "minItems": 1,
        "uniqueItems": true,
    })
}

pub(super) fn paths(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {"type": "string", "format": "path"},
        "minItems": 1,
        "uniqueItems": true,
    })
}
