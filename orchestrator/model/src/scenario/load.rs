//! Decoding of a text to [`Scenario`], or to all of its mistakes at once.

use super::{Promise, Scenario, Size, check, schema};
use crate::diagnostic::Diagnostics;
use crate::json_schema::{self, Format, Schema};
use serde::{Deserialize, Deserializer};
use std::sync::LazyLock;

static SCHEMA: LazyLock<serde_json::Value> = LazyLock::new(schema::value);

const FORMATS: [Format; 4] = [
    Format { name: "name", what: "a name", number: false, check: check::name },
    Format {
        name: "promise",
        what: "a promise like I1",
        number: false,
        check: |text| Promise::try_from(text.to_owned()).map(drop),
    },
    Format {
        name: "seed",
        what: "a seed like 7",
        number: true,
        check: |text| match text.parse::<u32>() {
            Ok(_) => Ok(()),
            Err(_) => Err(format!("`{text}` is not a seed; a seed is a number from 0 to {}", u32::MAX)),
        },
    },
    Format {
        name: "size",
        what: "a size like 16M",
        number: true,
        check: |text| Size::try_from(text.to_owned()).map(drop),
    },
];

/// Reads the scenario file `file`, whose content is `text`. The name `file` is shown, and its stem
/// must be the scenario's name. No file is opened.
///
/// # Errors
/// All mistakes of the file, in its order.
pub fn load(file: &str, text: &str) -> Result<Scenario, Diagnostics> {
    let schema = Schema { json: &SCHEMA, formats: &FORMATS };
    json_schema::read(file, text, &schema, |root, sink| check::check(file, root, sink))
}

/// One `T`, or a list of them.
pub(super) fn one_or_many<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany<T> {
        One(T),
        Many(Vec<T>),
    }
    Ok(match OneOrMany::deserialize(from)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}
