//! The contract: `openapi.json` is what the code says.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use control_api::openapi;

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
    let contract: serde_json::Value = serde_json::from_str(&openapi::contract()).unwrap();
    assert!(contract["openapi"].as_str().unwrap().starts_with("3.1"));
    for (path, methods) in contract["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let errors = &operation["responses"]["4XX"]["content"];
            assert!(errors.get("application/problem+json").is_some(), "{method} {path}");
        }
    }
}
