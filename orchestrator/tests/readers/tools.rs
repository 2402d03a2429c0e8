//! xmllint and jq themselves: they read a document, and refuse one that is wrong.

use crate::{Check, document, refused};
use readers::{Jq, XmlLint};

pub(crate) const XMLLINT: [Check<XmlLint>; 2] =
    [("a_document_is_held_against_its_schema", schema), ("a_broken_schema_is_not_a_refusal", broken_schema)];

pub(crate) const JQ: [Check<Jq>; 2] =
    [("a_filter_finds_its_value", filter), ("a_broken_filter_is_not_a_refusal", broken_filter)];

const SCHEMA: &str = "<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema'><xs:element name='run'><xs:complexType>\
     <xs:attribute name='tests' type='xs:nonNegativeInteger' use='required'/></xs:complexType></xs:element></xs:schema>";

fn schema(xmllint: &XmlLint) {
    let (folder, schema) = document("schema.xsd", SCHEMA);
    let validate = |text: &str| {
        let file = folder.path().join("document.xml");
        std::fs::write(&file, text).unwrap();
        xmllint.validate(&file, &schema)
    };
    validate("<run tests='3'/>").unwrap();
    for (wrong, why) in [
        ("<run tests='-3'/>", "-3"),
        ("<run/>", "tests"),
        ("<run tests='3' other='4'/>", "other"),
        ("<ran tests='3'/>", "ran"),
        ("<run tests='3'>", "document.xml:1"),
    ] {
        refused(validate(wrong), why);
    }
}

fn broken_schema(xmllint: &XmlLint) {
    let (_folder, schema) = document("schema.xsd", &SCHEMA.replace("xs:nonNegativeInteger", "xs:missing"));
    let (_other, file) = document("document.xml", "<run tests='3'/>");
    assert!(!xmllint.validate(&file, &schema).unwrap_err().is_refusal());
}

fn filter(jq: &Jq) {
    let (_folder, file) = document("document.json", "{\"cells\": [{\"key\": \"a\"}, {\"key\": \"b\"}]}");
    assert_eq!(jq.ask(&file, ".cells[].key").unwrap(), "\"a\"\n\"b\"");
    refused(jq.ask(&file, ".cells.key"), "Cannot index array");
    let (_folder, file) = document("document.json", "{\"cells\": [");
    refused(jq.ask(&file, "."), "Unfinished JSON term");
}

fn broken_filter(jq: &Jq) {
    let (_folder, file) = document("document.json", "{}");
    assert!(!jq.ask(&file, ".cells[").unwrap_err().is_refusal());
}
