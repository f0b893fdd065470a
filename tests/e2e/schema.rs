//! The JSON schema of manifests: the published file is the schema that the command prints.

use std::fs;

use capstan_tests::guests;
use serde_json::Value;

use crate::command;

#[tokio::test]
async fn published_schema_equals_the_printed_schema() {
    let printed = command().args(["schema"]).run().await.assert_exit_code(0).json();
    let published = fs::read_to_string(guests::root().join("docs/job.schema.json")).unwrap();
    let published: Value = serde_json::from_str(&published).unwrap();
    assert!(published == printed, "update it with: capstan schema > docs/job.schema.json");
    let policy = command().args(["schema", "policy"]).run().await.assert_exit_code(0).json();
    assert_eq!(policy["properties"], resolved(&printed, &printed["properties"]["policy"])["properties"]);
}

/// Resolves a `$ref` of `schema`; returns other schemas unchanged.
fn resolved<'a>(schema: &'a Value, of: &'a Value) -> &'a Value {
    let name = of["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/"));
    name.map_or(of, |name| &schema["$defs"][name])
}

#[tokio::test]
async fn schema_allows_exactly_the_keys_of_the_first_party_manifests() {
    let schema = command().args(["schema"]).run().await.assert_exit_code(0).json();
    let policy = resolved(&schema, &schema["properties"]["policy"]);
    for of in [&schema, policy] {
        assert_eq!(of["additionalProperties"], false, "{of}");
    }
    let mut manifests = 0;
    for job in fs::read_dir(guests::root().join("jobs")).unwrap() {
        let Ok(text) = fs::read_to_string(job.unwrap().path().join("job.toml")) else { continue };
        let manifest: toml::Table = text.parse().unwrap();
        assert!(manifest.keys().all(|key| schema["properties"].get(key).is_some()), "{text}");
        let keys = manifest.get("policy").and_then(|policy| policy.as_table()).into_iter().flatten();
        for (key, _) in keys {
            assert!(policy["properties"].get(key).is_some(), "{key} in {text}");
        }
        manifests += 1;
    }
    assert!(manifests >= 3, "{manifests}");
}
