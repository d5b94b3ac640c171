//! An independent evaluator of IAM policies, as a separate process.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

/// The actions that are allowed, by the name of the cell.
pub type Allowed = BTreeMap<String, BTreeSet<String>>;

/// What every cell's policies allow, by the name of the cell.
pub fn ask(cells: &[Value]) -> Allowed {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools");
    let path = format!(
        "{}:{}",
        std::env::var("PATH").unwrap_or_default(),
        tools.join("python/bin").display()
    );
    let mut node = Command::new("node")
        .arg(tools.join("oracle/oracle.mjs"))
        .env("PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node is not there: run make tools");
    node.stdin
        .take()
        .unwrap()
        .write_all(json!({ "cells": cells }).to_string().as_bytes())
        .unwrap();
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success(), "the oracle failed: run make tools");
    serde_json::from_slice(&output.stdout).unwrap()
}
