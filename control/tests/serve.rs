//! `portcullis serve` refuses what would be unsafe or can't be meant, before it opens anything.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

mod common;

use common::Dir;

#[test]
fn wrong_settings_name_themselves() {
    let dir = Dir::new("serve-wrong");
    for (args, words) in [
        (vec!["--listen", "0.0.0.0:0"], "--public-url"),
        (vec!["--public-url", "keys.example.com"], "--public-url"),
        (vec!["--proxy-secret-env", "NOT_SET"], "NOT_SET"),
        (vec!["--pepper-env", "NOT_SET"], "NOT_SET"),
        (vec!["--prefix", "Gak"], "--prefix"),
        (vec!["--session-life", "long"], "--session-life"),
        (vec!["--max-key-life", "1 year"], "--max-key-life"),
        (vec!["--workspace-group", "admins"], "{workspace}"),
        (
            vec!["--oidc-issuer", "https://issuer.example.com"],
            "--oidc-client-id",
        ),
        (
            vec![
                "--listen",
                "127.0.0.1:0",
                "--database",
                "no/such/folder/keys.db",
            ],
            "no/such/folder",
        ),
    ] {
        let mut all = vec!["serve"];
        all.extend(&args);
        let ran = dir.run(&all);
        assert_ne!(ran.code, 0, "{args:?}");
        assert!(ran.err.contains(words), "{args:?}: {}", ran.err);
    }
    assert!(
        !dir.path().join("portcullis.db").exists(),
        "nothing was made"
    );
}

#[test]
fn tokens_links_and_backups_without_a_server() {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = Dir::new("serve-commands");
    let token = dir.run(&["serve", "fleet-token", "--name", "edge"]);
    assert_eq!(token.code, 0, "{}", token.err);
    assert!(token.out.starts_with("gfleet_"), "{}", token.out);
    let mode = std::fs::metadata(dir.path().join("portcullis.db"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o077, 0, "others can read it: {mode:o}");
    let link = dir.run(&[
        "serve",
        "admin-link",
        "--person",
        "alice@example.com",
        "--public-url",
        "https://keys.example.com/",
    ]);
    assert!(
        link.out.starts_with("https://keys.example.com/welcome#"),
        "{}",
        link.out
    );
    assert_eq!(dir.run(&["serve", "backup", "copy.db"]).code, 0);
    let again = dir.run(&["serve", "backup", "copy.db"]);
    assert_ne!(again.code, 0);
    assert!(again.err.contains("there already"), "{}", again.err);
    let first = dir.run(&["serve", "new-epoch"]);
    let second = dir.run(&["serve", "new-epoch"]);
    assert_eq!(first.code, 0, "{}", first.err);
    assert_ne!(first.out, second.out);
    let description = dir.run(&["serve", "openapi"]);
    let description: serde_json::Value = serde_json::from_str(&description.out).unwrap();
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1"));
}
