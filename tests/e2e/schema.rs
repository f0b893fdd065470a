//! The schema of manifests: the one that is published is the one that holds.

use std::fs;

use capstan_tests::guests;
use serde_json::Value;

use crate::alone;

#[tokio::test]
async fn the_schema_in_the_documentation_is_what_the_command_prints() {
    let printed = alone().args(["schema"]).run().await.exited(0).json();
    let published = fs::read_to_string(guests::root().join("docs/job.schema.json")).unwrap();
    let published: Value = serde_json::from_str(&published).unwrap();
    assert!(published == printed, "write it anew: capstan schema > docs/job.schema.json");
    let policy = alone().args(["schema", "policy"]).run().await.exited(0).json();
    assert_eq!(policy["properties"], resolved(&printed, &printed["properties"]["policy"])["properties"]);
}

/// What a `$ref` of `schema` stands for, or the schema itself.
fn resolved<'a>(schema: &'a Value, of: &'a Value) -> &'a Value {
    let name = of["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/"));
    name.map_or(of, |name| &schema["$defs"][name])
}

#[tokio::test]
async fn it_knows_every_key_of_the_manifests_in_this_tree_and_no_others() {
    let schema = alone().args(["schema"]).run().await.exited(0).json();
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
