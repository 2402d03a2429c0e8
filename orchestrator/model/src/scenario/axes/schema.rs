//! The JSON schema of axes.

use super::{MAX_AXES, MAX_VALUES};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// A value of an axis that stands in keys as it is written.
pub(super) fn value() -> Value {
    json!({"type": ["string", "integer"], "format": "axis-value", "pattern": "^[A-Za-z0-9][A-Za-z0-9.-]*$"})
}

/// A path.
fn path() -> Value {
    json!({"type": "string", "format": "path", "pattern": "^(host|guests|steps)(\\.[^.]+)*$"})
}

/// A mapping from paths to axes.
pub(in crate::scenario) fn axes(_: &mut SchemaGenerator) -> Schema {
    let list = json!({
        "description": "The values, in order.",
        "type": "array", "items": value(), "minItems": 1, "maxItems": MAX_VALUES, "uniqueItems": true,
    });
    let named = json!({
        "description": "The values by their names in keys. A named value may be anything.",
        "type": "object", "propertyNames": value(), "additionalProperties": {}, "minProperties": 1,
        "maxProperties": MAX_VALUES,
    });
    let also = json!({
        "description": "Further paths that get the same value.",
        "type": "array", "items": path(), "minItems": 1, "uniqueItems": true,
    });
    let described = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["values"],
        "properties": {
            "as": {"type": "string", "description": "Its name in keys, in place of the last part of the path."},
            "values": {"description": "The values: a list, or a mapping from names to values.", "anyOf": [named, list]},
            "also": also,
        },
    });
    json_schema!({
        "type": "object",
        "propertyNames": path(),
        "additionalProperties": {"anyOf": [described, list]},
        "minProperties": 1,
        "maxProperties": MAX_AXES,
    })
}
