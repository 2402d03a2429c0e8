//! The JSON schema of `images/kernels.yaml`, from its types: for editors, and for the loader itself.

use super::Kernels;
use crate::shape::forget_empty_defaults;
use schemars::{Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde_json::{Value, json};

/// The JSON schema (draft 7) of lists of kernels, as committed in `images/schema.json`.
pub fn schema() -> String {
    format!("{:#}\n", value())
}

/// The same as a value.
pub(super) fn value() -> Value {
    let mut value = SchemaSettings::draft07().into_generator().into_root_schema_for::<Kernels>().to_value();
    forget_empty_defaults(&mut value);
    // serde_json keeps the order of insertion if any crate of the build asks for it; the file must not depend on that.
    value.sort_all_objects();
    value
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
