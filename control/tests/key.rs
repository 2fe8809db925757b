//! `portcullis key`: what it prints, what it writes, and what it refuses.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

mod common;

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::{Command, Stdio};

use common::{Dir, root};
use portcullis_core::apikey::ApiKey;
use portcullis_core::apikey::record::KeyDigest;
use serde_json::{Value, json};

const PLUGIN: &str = r#"
auth:
  providers:
    - type: api_key
      settings: { prefix: acme, max_ttl: 365d }
agent: { path: "/rest/{agent}" }
"#;

impl Dir {
    fn key(&self, args: &[&str]) -> common::Ran {
        let mut all = vec!["key"];
        all.extend(args);
        self.run(&all)
    }

    fn json(&self, args: &[&str]) -> Value {
        let mut all = args.to_vec();
        all.push("--json");
        let ran = self.key(&all);
        assert_eq!(ran.code, 0, "{}", ran.err);
        serde_json::from_str(&ran.out).unwrap()
    }

    fn records(&self) -> Vec<Value> {
        let file: Value = serde_json::from_str(&self.read("keys.json")).unwrap();
        file["keys"].as_array().unwrap().clone()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap()
    }
}

#[test]
fn made_listed_shown_revoked_and_forgotten() {
    let dir = Dir::new("key-life");
    let ran = dir.key(&[
        "create",
        "--agent",
        "orders",
        "--name",
        "ci",
        "--owner",
        "alice@example.com",
        "--expires",
        "30d",
        "--rate",
        "600/1m:60",
        "--methods",
        "get,POST",
    ]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    // The key and nothing else, so that `KEY=$(portcullis key create …)` works.
    let key = ran.out.strip_suffix('\n').unwrap();
    let parsed = ApiKey::parse(key, "gak").unwrap();
    let id = parsed.id.to_string();
    assert!(ran.err.contains(&id) && !ran.err.contains(key));

    let records = dir.records();
    let record = &records[0];
    let made = record["created_at"].as_u64().unwrap();
    assert_eq!(
        *record,
        json!({
            "id": id, "hash": KeyDigest::of(key, None).to_string(), "scope": {"agent": "orders"}, "name": "ci",
            "owner": "alice@example.com", "created_at": made, "expires_at": made + 30 * 86_400,
            "rate_limit": {"requests": 600, "per": "1m", "burst": 60}, "methods": ["GET", "POST"],
        })
    );
    assert!(!dir.read("keys.json").contains(key));
    let metadata = std::fs::metadata(dir.path().join("keys.json")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);

    let list = dir.key(&["list"]).out;
    let lines: Vec<&str> = list.lines().collect();
    assert!(
        lines[0].starts_with("ID ") && lines[1].starts_with(&id),
        "{list}"
    );
    assert!(
        lines[1].contains("active") && lines[1].contains("agent:orders"),
        "{list}"
    );
    assert_eq!(dir.json(&["list"])[0]["state"], "active");
    assert!(dir.key(&["show", &id]).out.contains("alice@example.com"));
    assert_eq!(dir.json(&["show", key])["id"], id.as_str());

    let revoked = dir.json(&["revoke", key, "--reason", "in a log"]);
    assert_eq!(revoked["revoked_reason"], "in a log");
    let at = revoked["revoked_at"].clone();
    // Revoking again is fine and moves nothing.
    assert_eq!(dir.json(&["revoke", &id])["revoked_at"], at);
    assert_eq!(dir.json(&["list", "--active"]), json!([]));
    assert_eq!(dir.json(&["list"])[0]["state"], "revoked");
    assert_eq!(dir.json(&["prune"])["pruned"], json!([]));
    assert_eq!(
        dir.json(&["prune", "--older-than", "0s"])["pruned"],
        json!([id])
    );
    assert!(dir.records().is_empty());
}

#[test]
fn rotated() {
    let dir = Dir::new("key-rotate");
    let old = dir.json(&[
        "create",
        "--workspace",
        "payments",
        "--rate",
        "5/1s",
        "--expires",
        "10d",
        "--owner",
        "alice",
    ]);
    let old_id = old["record"]["id"].as_str().unwrap();
    let new = dir.json(&["rotate", old_id, "--grace", "2h"]);
    assert_ne!(old["key"], new["key"]);
    let [first, second] = dir.records().try_into().unwrap();
    let made = second["created_at"].as_u64().unwrap();
    assert_eq!(first["grace_until"], made + 7200);
    assert_eq!(second["replaces"], old_id);
    assert_eq!(second["expires_at"], made + 10 * 86_400);
    for kept in ["scope", "rate_limit", "owner"] {
        assert_eq!(first[kept], second[kept], "{kept}");
    }
    assert_eq!(dir.json(&["list"])[0]["state"], "rotated");
    // A longer grace later on does not give the old key more time.
    dir.json(&["rotate", old_id, "--grace", "10h"]);
    assert_eq!(dir.records()[0]["grace_until"], made + 7200);
    dir.json(&["revoke", old_id]);
    let ran = dir.key(&["rotate", old_id]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(ran.err.contains("revoked"), "{}", ran.err);
}

#[test]
fn when_keys_end() {
    let dir = Dir::new("key-expiry");
    let expires = |when: &str| {
        let made = dir.json(&["create", "--agent", "a", "--expires", when]);
        made["record"]["expires_at"].clone()
    };
    assert_eq!(expires("never"), "never");
    assert_eq!(expires("2099-01-01T00:00:00Z"), 4_070_908_800_u64);
    for (when, code, words) in [
        ("2000-01-01T00:00:00Z", 1, "end before it is made"),
        ("0s", 1, "end before it is made"),
        ("soon", 2, "90d"),
    ] {
        let ran = dir.key(&["create", "--agent", "a", "--expires", when]);
        assert_eq!(ran.code, code, "{when}");
        assert!(ran.err.contains(words), "{when}: {}", ran.err);
        assert_eq!(ran.out, "");
    }
    // Unless said otherwise, ninety days.
    let made = dir.json(&["create", "--agent", "a"])["record"].clone();
    let life = made["expires_at"].as_u64().unwrap() - made["created_at"].as_u64().unwrap();
    assert_eq!(life, 90 * 86_400);
}

#[test]
fn what_is_refused() {
    let dir = Dir::new("key-refused");
    for (args, code, words) in [
        (&["create"][..], 2, "required"),
        (
            &["create", "--agent", "a", "--org", "b"],
            2,
            "cannot be used with",
        ),
        (&["create", "--scope", "team:x"], 2, "agent:orders"),
        (&["create", "--agent", "or/ders"], 1, "agent's name"),
        (&["create", "--agent", "a", "--rate", "fast"], 2, "600/1m"),
        (
            &["create", "--agent", "a", "--rate", "0/1m"],
            1,
            "between 1 and",
        ),
        (
            &["create", "--agent", "a", "--methods", "G T"],
            1,
            "method in capitals",
        ),
        (&["create", "--agent", "a", "--prefix", "A"], 1, "prefix"),
        (
            &["create", "--agent", "a", "--pepper-env", "NOPE"],
            1,
            "NOPE",
        ),
        (&["show", "nobody"], 1, "no key"),
        (&["publish"], 1, "no template"),
        (&["init", "--from", "x.yaml"], 2, "--to"),
        (&["init", "--from", "x.yaml", "--to", "y.yaml"], 1, ".json"),
    ] {
        let ran = dir.key(args);
        assert_eq!(ran.code, code, "{args:?}: {}", ran.err);
        assert!(ran.err.contains(words), "{args:?}: {}", ran.err);
        assert_eq!(ran.out, "", "{args:?}");
    }
    assert!(!dir.path().join("keys.json").exists());
    for (text, words) in [
        ("{", "not JSON"),
        ("[]", "map with `keys`"),
        ("{}", "list of `keys`"),
        ("{\"keys\": [], \"kyes\": 1}", "\"kyes\" is unknown"),
        ("{\"keys\": [{}]}", "keys[0].id: is required"),
        (
            "{\"keys\": [], \"publish\": {\"from\": \"a\"}}",
            "`from` and `to`",
        ),
    ] {
        dir.write("keys.json", text);
        let ran = dir.key(&["create", "--agent", "a"]);
        assert_eq!(ran.code, 1, "{text}");
        assert!(ran.err.contains(words), "{text}: {}", ran.err);
        assert_eq!(dir.read("keys.json"), text, "was changed");
    }
}

#[test]
fn published() {
    let dir = Dir::new("key-publish");
    dir.write("plugin.yaml", PLUGIN);
    std::fs::set_permissions(
        dir.path().join("plugin.yaml"),
        std::fs::Permissions::from_mode(0o640),
    )
    .unwrap();
    assert_eq!(
        dir.key(&["init", "--from", "plugin.yaml", "--to", "out.json"])
            .code,
        0
    );
    assert_eq!(dir.key(&["init"]).code, 1, "overwrote a key file");
    let before = std::fs::metadata(dir.path().join("out.json")).unwrap();
    assert_eq!(before.permissions().mode() & 0o777, 0o640);
    let made = dir.json(&["create", "--agent", "orders"]);
    // The prefix is the provider's.
    assert!(made["key"].as_str().unwrap().starts_with("acme_"));
    let out: Value = serde_json::from_str(&dir.read("out.json")).unwrap();
    let keys = &out["auth"]["providers"][0]["settings"]["keys"];
    assert_eq!(keys[0], made["record"]);
    assert_eq!(out["agent"]["path"], "/rest/{agent}");
    // Another file under the same name: whoever has the old one open sees all of it.
    let after = std::fs::metadata(dir.path().join("out.json")).unwrap();
    assert_ne!(before.ino(), after.ino());
    let checked = dir.run(&["check", "--deny-warnings", "out.json"]);
    assert_eq!(checked.code, 0, "{}", checked.err);

    // A template that is wrong changes nothing at all.
    let files = || (dir.read("keys.json"), dir.read("out.json"));
    let good = files();
    dir.write("plugin.yaml", &PLUGIN.replace("max_ttl", "maxttl"));
    let ran = dir.key(&["create", "--agent", "orders"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(ran.err.contains("did you mean `max_ttl`?"), "{}", ran.err);
    assert_eq!(files(), good);
    dir.write("plugin.yaml", &PLUGIN.replace("prefix", "keys: [], prefix"));
    assert!(dir.key(&["publish"]).err.contains("`keys` of its own"));
    let two = PLUGIN.replace("    - type: api_key\n", "    - {type: api_key, name: b, settings: {prefix: bb, service_prefix: bs}}\n    - type: api_key\n");
    dir.write("plugin.yaml", &two);
    assert!(dir.key(&["publish"]).err.contains("more than one provider"));
    assert_eq!(files(), good);

    // Stored, but nowhere to publish to: said so, and the key is not lost.
    dir.write("plugin.yaml", PLUGIN);
    std::fs::remove_file(dir.path().join("out.json")).unwrap();
    std::fs::create_dir_all(dir.path().join("out.json/full")).unwrap();
    let ran = dir.key(&["create", "--agent", "orders"]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.starts_with("acme_"));
    assert!(ran.err.contains("not published"), "{}", ran.err);
    assert_eq!(dir.records().len(), 2);
}

#[test]
fn envoys_file_as_it_is_shipped() {
    let dir = Dir::new("key-envoy");
    let template = std::fs::read_to_string(root().join("envoy/api-keys/portcullis.yaml")).unwrap();
    dir.write("portcullis.yaml", &template);
    assert_eq!(
        dir.key(&["init", "--from", "portcullis.yaml", "--to", "ecds.json"])
            .code,
        0
    );
    dir.json(&["create", "--user", "alice@example.com"]);
    let out: Value = serde_json::from_str(&dir.read("ecds.json")).unwrap();
    let wasm = &out["resources"][0]["typed_config"]["config"];
    assert_eq!(wasm["failure_policy"], "FAIL_CLOSED");
    assert_eq!(
        wasm["configuration"]["@type"],
        "type.googleapis.com/google.protobuf.StringValue"
    );
    let plugin: Value =
        serde_json::from_str(wasm["configuration"]["value"].as_str().unwrap()).unwrap();
    let scope = &plugin["auth"]["providers"][0]["settings"]["keys"][0]["scope"];
    assert_eq!(*scope, json!({"user": "alice@example.com"}));
    let checked = dir.run(&["check", "--deny-warnings", "ecds.json"]);
    assert_eq!(checked.code, 0, "{}", checked.err);
    assert!(
        checked.out.contains(out["version_info"].as_str().unwrap()),
        "{}",
        checked.out
    );
}

#[test]
fn many_at_once_lose_nothing() {
    let dir = Dir::new("key-race");
    let children: Vec<_> = (0..16)
        .map(|_| {
            Command::new(env!("CARGO_BIN_EXE_portcullis"))
                .args(["key", "create", "--agent", "orders"])
                .current_dir(dir.path())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut made: Vec<String> = children
        .into_iter()
        .map(|c| String::from_utf8(c.wait_with_output().unwrap().stdout).unwrap())
        .map(|key| key.split('_').nth(1).unwrap().to_owned())
        .collect();
    let mut kept: Vec<String> = dir
        .records()
        .iter()
        .map(|r| r["id"].as_str().unwrap().to_owned())
        .collect();
    made.sort();
    kept.sort();
    assert_eq!(made, kept);
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn a_name_can_not_play_with_the_terminal() {
    let dir = Dir::new("key-terminal");
    let ran = dir.key(&["create", "--agent", "a", "--name", "\u{1b}[2J"]);
    assert_eq!(ran.code, 1);
    let made = dir.json(&["create", "--agent", "a"]);
    dir.json(&[
        "revoke",
        made["record"]["id"].as_str().unwrap(),
        "--reason",
        "\u{1b}[2J",
    ]);
    let shown = dir
        .key(&["show", made["record"]["id"].as_str().unwrap()])
        .out;
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
}
