//! The JSON schema of scenarios, made from their types, for editors and for the loader.

use super::{MemoryType, Scenario};
use crate::json_schema::schema_of;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// Returns the JSON schema (draft 7) of scenario files, as committed in `scenarios/schema.json`.
pub fn schema() -> String {
    format!("{:#}\n", value())
}

/// Returns the same schema as a value.
pub(super) fn value() -> Value {
    schema_of::<Scenario>()
}

/// `propertyNames` of maps from names.
pub(super) fn names() -> Value {
    json!({"type": "string", "format": "name", "pattern": s2lab_protocol::NAME_PATTERN})
}

/// [`s2lab_protocol::MapKind`]; the agents' crate has no schemas.
pub(crate) fn map_kind(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"oneOf": [
        {"const": "wc", "description": "Through `resourceN_wc`: Normal-NC at the guest's stage 1."},
        {"const": "device", "description": "Through `resourceN`: Device-nGnRE at the guest's stage 1."},
    ]})
}

/// Names of memory types.
pub(super) fn memory_type(_: &mut SchemaGenerator) -> Schema {
    let names: Vec<Value> = MemoryType::ALL.iter().map(|t| json!(t)).collect();
    json_schema!({"type": "string", "enum": names})
}

/// Widths of accesses.
pub(crate) fn widths(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {"type": "integer", "enum": super::check::WIDTHS},
        "minItems": 1,
        "uniqueItems": true,
    })
}

/// Words for a kernel's command line.
pub(super) fn arguments(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {"type": "string", "minLength": 1, "maxLength": super::arguments::MAX_LENGTH},
        "maxItems": super::arguments::MAX_COUNT,
    })
}

/// One `T`, or a list of them.
pub(super) fn one_or_many<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let one = generator.subschema_for::<T>();
    json_schema!({"anyOf": [one, {"type": "array", "items": one, "minItems": 1, "uniqueItems": true}]})
}

#[cfg(test)]
mod tests {
    use super::*;
    use s2lab_protocol::MapKind;

    /// The words of the schema are written by hand, because the agents' crate has no schemas.
    #[test]
    fn ways_to_map_are_those_of_the_agents() {
        let schema = value();
        let words: Vec<MapKind> = schema["definitions"]["StoreStep"]["properties"]["map"]["oneOf"]
            .as_array()
            .unwrap()
            .iter()
            .map(|word| serde_json::from_value(word["const"].clone()).unwrap())
            .collect();
        assert_eq!(words, [MapKind::Wc, MapKind::Device]);
    }
}
