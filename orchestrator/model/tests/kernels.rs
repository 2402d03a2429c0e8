//! The list of kernels: the committed file, its schema and its documents.

#![cfg(test)]

use s2lab_model::kernel::{Kernels, Provider, load, schema};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap()
}

fn committed() -> Kernels {
    load("kernels.yaml", &read("images/kernels.yaml")).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn what_the_committed_list_names_is_there() {
    let mut named = BTreeSet::new();
    for entry in committed().entries.into_values() {
        if let Provider::Source(source) = entry.provider {
            named.extend(source.config.into_iter().chain(source.patches));
        }
    }
    assert!(named.len() > 5);
    named.retain(|path| !repository().join("images").join(path).exists());
    assert!(named.is_empty(), "{named:?}");
    assert!(read("images/kernels.yaml").starts_with("# yaml-language-server: $schema=schema.json\n"));
}

/// The kernel with all patches but vfio-pci's is `linux-6.1-wc` without its last patch.
#[test]
fn kvm_only_is_the_series_without_its_last_patch() {
    let kernels = committed();
    let Provider::Source(source) = &kernels.entries["linux-6.1-wc-kvm-only"].provider else { panic!() };
    let folder = fs::read_dir(repository().join("images/patches/6.1-wc")).unwrap();
    let names = folder.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut all: Vec<String> = names.filter(|name| name.ends_with(".patch")).collect();
    all.sort();
    let last = all.pop().unwrap();
    assert!(last.contains("vfio"), "{last}");
    let paths: Vec<String> = all.iter().map(|name| format!("patches/6.1-wc/{name}")).collect();
    assert_eq!(source.patches, paths);
}

#[test]
fn the_committed_schema_is_that_of_the_types() {
    let path = repository().join("images/schema.json");
    if std::env::var_os("S2LAB_WRITE_SCHEMA").is_some() {
        fs::write(&path, schema()).unwrap();
    }
    assert!(
        fs::read_to_string(&path).is_ok_and(|text| text == schema()),
        "images/schema.json is not what the types say; S2LAB_WRITE_SCHEMA=1 writes it anew"
    );
}

/// The document's example loads and has every provider. The document has every key of the schema.
#[test]
fn the_document_is_true_and_whole() {
    let text = read("docs/providers.md");
    let (_, rest) = text.split_once("```yaml\n").unwrap();
    let (example, _) = rest.split_once("\n```").unwrap();
    let kernels = load("providers.md", &format!("{example}\n")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(kernels.entries.len(), 4);

    fn keys(schema: &Value, found: &mut BTreeSet<String>, undocumented: &mut Vec<String>) {
        for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
            found.insert(key.clone());
            if inner["description"].as_str().is_none_or(str::is_empty) && inner["const"].is_null() {
                undocumented.push(key.clone());
            }
        }
        schema.as_object().into_iter().flatten().for_each(|(_, inner)| keys(inner, found, undocumented));
        schema.as_array().into_iter().flatten().for_each(|inner| keys(inner, found, undocumented));
    }
    let (mut found, mut undocumented) = (BTreeSet::new(), Vec::new());
    keys(&serde_json::from_str(&schema()).unwrap(), &mut found, &mut undocumented);
    assert!(found.len() > 10 && undocumented.is_empty(), "{undocumented:?}");
    found.retain(|key| !text.contains(&format!("`{key}`")) && !text.contains(&format!("`{key}:")));
    // The key of the entries is in the example alone.
    found.remove("kernels");
    assert!(found.is_empty(), "{found:?}");
}
