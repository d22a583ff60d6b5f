//! The contract: `openapi.json` is what the code says.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;

use control_api::openapi;
use serde_json::Value;

#[test]
fn the_golden_copy_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let contract = openapi::contract();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &contract).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == contract, "openapi.json differs: look at it, and run again with UPDATE=1");
}

#[test]
fn every_operation_tells_its_errors() {
    let contract: Value = serde_json::from_str(&openapi::contract()).unwrap();
    assert!(contract["openapi"].as_str().unwrap().starts_with("3.1"));
    for (path, methods) in contract["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let errors = &operation["responses"]["4XX"]["content"];
            assert!(errors.get("application/problem+json").is_some(), "{method} {path}");
        }
    }
}

#[test]
fn every_operation_has_a_name_of_its_own_and_every_link_leads_to_one() {
    let contract: Value = serde_json::from_str(&openapi::contract()).unwrap();
    let all: Vec<&Value> = operations(&contract).collect();
    let names: BTreeSet<&str> = all.iter().map(|it| it["operationId"].as_str().unwrap()).collect();
    assert_eq!(names.len(), all.len(), "two have one name");
    let mut links = 0;
    for answer in all.iter().flat_map(|it| it["responses"].as_object().unwrap().values()) {
        for link in answer["links"].as_object().into_iter().flat_map(|it| it.values()) {
            assert!(names.contains(link["operationId"].as_str().unwrap()), "{link}");
            links += 1;
        }
    }
    assert!(links > 15, "a call is followed by all that is done with it");
}

#[test]
fn every_reference_leads_to_a_schema_and_no_parameter_can_be_null() {
    let contract: Value = serde_json::from_str(&openapi::contract()).unwrap();
    let text = contract.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let path = reference.split('"').next().unwrap();
        assert!(contract.pointer(path).is_some(), "{path}");
    }
    for parameter in
        operations(&contract).flat_map(|it| it["parameters"].as_array().into_iter().flatten())
    {
        assert!(!parameter["schema"]["type"].is_array(), "{parameter}");
    }
}

fn operations(contract: &Value) -> impl Iterator<Item = &Value> {
    contract["paths"].as_object().unwrap().values().flat_map(|it| it.as_object().unwrap().values())
}
