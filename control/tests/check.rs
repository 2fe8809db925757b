//! `portcullis check` and `portcullis schema` on real files.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

mod common;

use common::{Dir, root};
use serde_json::Value;

const GOOD: &str = "\
auth:
  providers:
    - type: oidc
      name: workforce
      settings:
        issuer: https://issuer.example
        audience: api://agents
    - type: static_token
      settings:
        token_env: AGENT_TOKEN
        identity: { user_id: ci }
";

/// The same block, so much deeper.
fn indented(text: &str, by: usize) -> String {
    text.lines()
        .map(|l| format!("{}{l}\n", " ".repeat(by)))
        .collect()
}

fn wasm(configuration: &str, vm_config: &str) -> String {
    format!(
        "resources:
  - '@type': type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig
    name: portcullis
    typed_config:
      '@type': type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
      config:
        root_id: portcullis
        vm_config:
          runtime: envoy.wasm.runtime.v8
{vm_config}        configuration:
{configuration}"
    )
}

fn structure(config: &str) -> String {
    format!(
        "          '@type': type.googleapis.com/google.protobuf.Struct\n          value:\n{}",
        indented(config, 12)
    )
}

const HOST_ENV: &str = "          environment_variables: { host_env_keys: [AGENT_TOKEN] }\n";

#[test]
fn a_plugin_configuration_as_yaml_and_as_json() {
    let dir = Dir::new("plain");
    dir.write("good.yaml", GOOD);
    let ran = dir.run(&["check", "good.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.starts_with("good.yaml: ok, version "), "{ran:?}");
    assert!(
        ran.out
            .ends_with(", providers workforce (oidc), static_token\n"),
        "{ran:?}"
    );
    assert_eq!(
        ran.err_lines(),
        [
            "note: good.yaml: the variable AGENT_TOKEN is not set here; it must be where the proxy runs"
        ]
    );

    dir.write(
        "bad.json",
        "{\"auth\": {\"providers\": [], \"providers\": []}, \"limts\": {}}",
    );
    let ran = dir.run(&["check", "bad.json", "good.yaml"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.out.starts_with("good.yaml: ok"),
        "one bad file hides no good one: {ran:?}"
    );
    // YAML's parser sees the duplicate first.
    assert!(ran.err.starts_with("error: bad.json: "), "{ran:?}");
}

#[test]
fn the_messages_are_the_filters_own() {
    let dir = Dir::new("messages");
    let text = "{\"auth\": {\"providers\": [{\"type\": \"oidc\", \"settings\": {\"isuer\": \"https://i.example\", \"audience\": \"a\"}}]}}";
    dir.write("bad.json", text);
    let ran = dir.run(&["check", "bad.json"]);
    let errors = portcullis_core::config::load(text.as_bytes(), &|_| None).unwrap_err();
    let expected: Vec<String> = errors
        .to_string()
        .lines()
        .map(|l| format!("error: bad.json: {l}"))
        .collect();
    assert_eq!(ran.err_lines(), expected);
    assert_eq!(
        expected,
        [
            "error: bad.json: auth.providers[0].settings.isuer: unknown key; did you mean `issuer`?",
            "error: bad.json: auth.providers[0].settings.issuer: is required",
        ]
    );
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
}

#[test]
fn warnings_fail_only_when_they_are_denied() {
    let dir = Dir::new("warnings");
    dir.write(
        "google.yaml",
        "auth: { providers: [{ type: oidc, settings: { issuer: https://accounts.google.com, audience: a } }] }",
    );
    let line = "warning: google.yaml: auth.providers[0].settings.issuer: this issuer makes tokens for every Google account and service account, and each may name any audience; set `allowed_subjects` or `required_claims`";
    let ran = dir.run(&["check", "google.yaml"]);
    assert_eq!((ran.code, ran.err_lines()), (0, vec![line]));
    let ran = dir.run(&["check", "--deny-warnings", "google.yaml"]);
    assert_eq!((ran.code, ran.err_lines()), (1, vec![line]));
}

#[test]
fn as_json() {
    let dir = Dir::new("json");
    dir.write("bad.yaml", "auth: { providers: [{ type: oicd }] }");
    dir.write("good.yaml", GOOD);
    let ran = dir.run(&["check", "--json", "bad.yaml", "good.yaml"]);
    assert_eq!((ran.code, ran.err.as_str()), (1, ""));
    let all: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(all[0]["ok"], false);
    assert_eq!(all[0]["errors"][0]["path"], "auth.providers[0].type");
    assert_eq!(
        all[0]["errors"][0]["message"],
        "this version does not offer the provider type `oicd`; did you mean `oidc`?"
    );
    assert_eq!(all[1]["ok"], true);
    assert_eq!(all[1]["providers"][0]["name"], "workforce");
    assert_eq!(all[1]["providers"][1]["type"], "static_token");
}

#[test]
fn an_envoy_file_with_a_struct() {
    let dir = Dir::new("struct");
    dir.write("ecds.yaml", &wasm(&structure(GOOD), HOST_ENV));
    let ran = dir.run(&["check", "ecds.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.out
            .starts_with("ecds.yaml: resources[0].typed_config: ok, version "),
        "{ran:?}"
    );

    let misspelt = GOOD.replace("audience:", "audiance:");
    dir.write("bad.yaml", &wasm(&structure(&misspelt), HOST_ENV));
    let ran = dir.run(&["check", "bad.yaml"]);
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.err_lines()[0],
        "error: bad.yaml: resources[0].typed_config: auth.providers[0].settings.audiance: unknown key; did you mean `audience`?"
    );
}

#[test]
fn a_variable_that_envoy_does_not_hand_to_the_filter_is_an_error() {
    let dir = Dir::new("env");
    dir.write("ecds.yaml", &wasm(&structure(GOOD), ""));
    let ran = dir.run(&["check", "ecds.yaml"]);
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.err_lines(),
        [
            "error: ecds.yaml: resources[0].typed_config: auth.providers[1].settings.token_env[0]: the environment variable `AGENT_TOKEN` is not set, or empty"
        ]
    );
    let literal = "          environment_variables: { key_values: { AGENT_TOKEN: short } }\n";
    dir.write("ecds.yaml", &wasm(&structure(GOOD), literal));
    let ran = dir.run(&["check", "ecds.yaml"]);
    assert_eq!(
        (ran.code, ran.err_lines()),
        (
            0,
            vec![
                "warning: ecds.yaml: resources[0].typed_config: auth.providers[1].settings.token_env[0]: is shorter than 16 characters and can be guessed"
            ]
        )
    );
}

#[test]
fn an_envoy_file_with_a_string_and_one_with_a_typed_struct() {
    let dir = Dir::new("string");
    let json = "{\"auth\": {\"providers\": [{\"type\": \"oidc\", \"settings\": {\"issuer\": \"https://i.example\", \"audience\": \"a\"}}]}}";
    let string = format!(
        "          '@type': type.googleapis.com/google.protobuf.StringValue\n          value: '{json}'\n"
    );
    dir.write("string.yaml", &wasm(&string, ""));
    let typed = format!(
        "{{\"http_filters\": [{{\"typed_config\": {{\"@type\": \"type.googleapis.com/xds.type.v3.TypedStruct\",
          \"type_url\": \"type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm\",
          \"value\": {{\"config\": {{\"configuration\": {{\"@type\": \"type.googleapis.com/google.protobuf.Struct\", \"value\": {json}}}}}}}}}}}]}}"
    );
    dir.write("typed.json", &typed);
    let ran = dir.run(&["check", "string.yaml", "typed.json"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let lines: Vec<&str> = ran.out.lines().collect();
    assert!(
        lines[0].starts_with("string.yaml: resources[0].typed_config: ok"),
        "{lines:?}"
    );
    assert!(
        lines[1].starts_with("typed.json: http_filters[0].typed_config: ok"),
        "{lines:?}"
    );
}

#[test]
fn an_envoy_file_with_other_filters_and_one_without() {
    let dir = Dir::new("others");
    let ours = wasm(&structure(GOOD), HOST_ENV);
    let other = "  - typed_config:
      '@type': type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
      config:
        root_id: something-else
        configuration:
          '@type': type.googleapis.com/google.protobuf.Struct
          value: { colour: green }
";
    dir.write("two.yaml", &format!("{ours}{other}"));
    let ran = dir.run(&["check", "two.yaml"]);
    assert_eq!((ran.code, ran.out.lines().count()), (0, 1), "{ran:?}");
    dir.write("none.yaml", "static_resources: { listeners: [] }");
    let ran = dir.run(&["check", "none.yaml"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.err
            .starts_with("error: none.yaml: is an Envoy configuration without this filter;"),
        "{ran:?}"
    );
    // No configuration at all is what the filter would be given: an empty text.
    let empty = ours.split("        configuration:").next().unwrap();
    dir.write("empty.yaml", empty);
    let ran = dir.run(&["check", "empty.yaml"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("configuration: is empty"), "{ran:?}");
    dir.write(
        "open.yaml",
        &ours.replace(
            "root_id: portcullis",
            "root_id: portcullis\n        failure_policy: FAIL_OPEN",
        ),
    );
    let ran = dir.run(&["check", "open.yaml"]);
    assert!(ran.err.contains("warning: open.yaml: resources[0].typed_config: Envoy lets every request in when this filter fails"), "{ran:?}");
    assert_eq!(ran.code, 0);
    assert_eq!(dir.run(&["check", "--deny-warnings", "open.yaml"]).code, 1);
}

/// A bootstrap with the filter, `upstreams` as given, and one cluster `issuer`, with what follows its name.
fn bootstrap(upstreams: &str, cluster: &str) -> String {
    let config = format!("{GOOD}callouts: {{ upstreams: {upstreams} }}\n");
    let filter = wasm(&structure(&config), HOST_ENV).replace("resources:", "listeners:");
    format!(
        "static_resources:\n{}  clusters:\n    - name: issuer\n{cluster}",
        indented(&filter, 2)
    )
}

/// A transport socket with such a `common_tls_context`.
fn tls(context: &str) -> String {
    format!(
        "      transport_socket: {{ name: envoy.transport_sockets.tls, typed_config: {{ '@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, common_tls_context: {context} }} }}\n"
    )
}

#[test]
fn clusters_that_are_missing_or_open_are_noticed() {
    let dir = Dir::new("clusters");
    let verified = tls("{ validation_context: { trusted_ca: { filename: /ca.pem } } }");
    let good = "{ issuer.example: issuer }";
    let of = |name: &str, upstreams: &str, cluster: &str| {
        let file = format!("{name}.yaml");
        dir.write(&file, &bootstrap(upstreams, cluster));
        let ran = dir.run(&["check", "--deny-warnings", &file]);
        let warnings: Vec<String> = ran
            .err_lines()
            .iter()
            .filter_map(|l| l.strip_prefix("warning: "))
            .map(|l| l.rsplit_once("typed_config: ").unwrap().1.to_owned())
            .collect();
        assert_eq!(ran.code == 0, warnings.is_empty(), "{ran:?}");
        warnings
    };
    assert!(of("good", good, &verified).is_empty());
    assert!(
        of(
            "sds",
            good,
            &tls("{ validation_context_sds_secret_config: { name: ca } }")
        )
        .is_empty()
    );
    assert_eq!(
        of("port", "{ 'issuer.example:8443': issuer }", &verified),
        [
            "callouts.upstreams says nothing of issuer.example (`issuer.example:8443` is there; a port belongs to the name), and there is no cluster of that name: write `\"issuer.example\": CLUSTER`; this file has `issuer`"
        ]
    );
    assert_eq!(
        of("none", "{}", &verified),
        [
            "callouts.upstreams says nothing of issuer.example, and there is no cluster of that name: write `\"issuer.example\": CLUSTER`; this file has `issuer`"
        ]
    );
    assert_eq!(
        of("typo", "{ issuer.example: isuer }", &verified),
        [
            "callouts.upstreams leads from issuer.example to the cluster `isuer`, which this file does not have; it has `issuer`"
        ]
    );
    assert!(of("plain", good, "")[0].contains("`issuer`, which has no TLS: "));
    assert!(of("open", good, &tls("{}"))[0].contains("`issuer`, which verifies no certificate: "));
    // Where clusters may come from a management server, nothing is known of them.
    let dynamic = bootstrap("{}", &verified) + "dynamic_resources: { cds_config: { ads: {} } }\n";
    dir.write("dynamic.yaml", &dynamic);
    let ran = dir.run(&["check", "--deny-warnings", "dynamic.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn a_bootstrap_that_takes_the_filter_from_elsewhere_says_from_where() {
    let dir = Dir::new("elsewhere");
    for (file, from) in [
        ("envoy/api-keys/envoy.yaml", "envoy/api-keys/ecds.json"),
        ("envoy/reload/envoy.yaml", "envoy/reload/portcullis.yaml"),
    ] {
        let path = root().join(file);
        let ran = dir.run(&["check", path.to_str().unwrap()]);
        assert_eq!(ran.code, 1, "{ran:?}");
        let said = format!(
            "holds no configuration of this filter: Envoy takes it from {from}, so check that"
        );
        assert!(ran.err.contains(&said), "{ran:?}");
    }
}

#[test]
fn a_structs_version_is_of_its_keys_in_order() {
    let dir = Dir::new("order");
    let version = |config: &str| {
        dir.write("envoy.yaml", &wasm(&structure(config), HOST_ENV));
        let ran = dir.run(&["check", "envoy.yaml"]);
        let (_, rest) = ran.out.split_once("version ").unwrap();
        rest.split_once(',').unwrap().0.to_owned()
    };
    let agent = "agent: { fixed: orders }\n";
    assert_eq!(
        version(&format!("{agent}{GOOD}")),
        version(&format!("{GOOD}{agent}"))
    );
    // As the filter writes it: keys sorted at every depth.
    let text = serde_json::json!({"auth": {"providers": [
        {"name": "workforce", "settings": {"audience": "api://agents", "issuer": "https://issuer.example"}, "type": "oidc"},
        {"settings": {"identity": {"user_id": "ci"}, "token_env": "AGENT_TOKEN"}, "type": "static_token"},
    ]}});
    let expected = portcullis_core::config::version(text.to_string().as_bytes());
    assert_eq!(version(GOOD), expected);
}

#[test]
fn the_example_bootstrap_is_fine() {
    let dir = Dir::new("example");
    let file = root().join("envoy/envoy.yaml");
    let ran = dir.run(&["check", "--deny-warnings", file.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn a_forge_yaml() {
    let dir = Dir::new("forge");
    let recipe = "\
agent_id: orders
version: 0.1.0
framework: forge
model: { provider: anthropic, name: x }
auth:
  providers:
    - type: oidc
      settings:
        issuer:   https://accounts.google.com
        audience: api://forge
        allowed_subjects:
          - \"*@agent-fleet-prod.iam.gserviceaccount.com\"
";
    dir.write("forge.yaml", recipe);
    let ran = dir.run(&["check", "--deny-warnings", "forge.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        ran.err_lines(),
        [
            "note: forge.yaml: a forge.yaml: only its `auth` block is read, not agent_id, version, framework, model",
            "note: forge.yaml: auth.required is true here unless it says otherwise; Forge's own default is false",
        ]
    );
    dir.write(
        "forge.yaml",
        &recipe.replace("allowed_subjects", "allowed_subject"),
    );
    let ran = dir.run(&["check", "forge.yaml"]);
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.err_lines()[0],
        "error: forge.yaml: auth.providers[0].settings.allowed_subject: unknown key; did you mean `allowed_subjects`?"
    );
    // Without Forge's keys an unknown top-level key is what it is.
    dir.write("plain.yaml", &recipe.replace("agent_id: orders\n", ""));
    assert_eq!(dir.run(&["check", "plain.yaml"]).code, 1);
}

#[test]
fn files_that_are_nothing() {
    let dir = Dir::new("nothing");
    dir.write("empty.yaml", "");
    dir.write("broken.yaml", "auth: [");
    dir.write("twice.yaml", "auth: {}\nauth: {}\n");
    dir.write(
        "secret.yaml",
        "auth:\n  token: hunter2-hunter2\n bad: indent\n",
    );
    dir.write("broken.json", "{\"auth\": hunter2 \"x\"}");
    let bomb = (1..12).fold(
        "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(),
        |text, n| {
            let aliases = vec![format!("*a{}", n - 1); 10].join(", ");
            format!("{text}a{n}: &a{n} [{aliases}]\n")
        },
    );
    dir.write("bomb.yaml", &bomb);
    for file in [
        "empty.yaml",
        "broken.yaml",
        "twice.yaml",
        "secret.yaml",
        "broken.json",
        "bomb.yaml",
        "missing.yaml",
    ] {
        let ran = dir.run(&["check", file]);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{file}");
        assert!(ran.err.starts_with(&format!("error: {file}: ")), "{ran:?}");
        assert!(!ran.err.contains("hunter2"), "{ran:?}");
    }
    assert_eq!(dir.run(&["check"]).code, 2);
    assert_eq!(dir.run(&["chekc"]).code, 2);
    assert_eq!(
        dir.run(&["--version"]).out,
        format!("portcullis {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn the_schema_and_the_reference_page_are_up_to_date() {
    let dir = Dir::new("schema");
    let schema = dir.run(&["schema"]).out;
    let page = dir.run(&["schema", "--markdown"]).out;
    let stored = |file: &str| std::fs::read_to_string(root().join(file)).unwrap();
    // Not assert_eq: nobody reads two schemas in a row.
    assert!(
        stored("schema/portcullis.schema.json") == schema,
        "run: portcullis schema > schema/portcullis.schema.json"
    );
    assert!(
        stored("docs/configuration.md") == page,
        "run: portcullis schema --markdown > docs/configuration.md"
    );
}

/// What the schema calls a default is what leaving the key out means.
#[test]
fn the_defaults_of_the_schema_are_those_of_the_code() {
    let schema = portcullis_core::config::schema();
    let base = || -> Value {
        serde_json::json!({
            "auth": {"providers": [{"type": "oidc", "settings": {
                "issuer": "https://issuer.example", "audience": "a", "claim_map": {}}}]},
            "callouts": {}, "identity": {}, "audit": {}, "crypto": {}, "limits": {},
        })
    };
    let policy = |config: &Value| {
        let (policy, _) =
            portcullis_core::config::load(config.to_string().as_bytes(), &|_| None).unwrap();
        let text = format!("{policy:?}");
        text.replacen(&*policy.version, "", 1)
    };
    let plain = policy(&base());
    let defs = &schema["$defs"];
    let resolve = |v: &'_ Value| -> Value {
        match v["$ref"].as_str() {
            Some(name) => defs[name.trim_start_matches("#/$defs/")].clone(),
            None => v.clone(),
        }
    };
    let auth = resolve(&schema["properties"]["auth"]);
    let oidc = resolve(&defs["Provider"]["oneOf"][0]["properties"]["settings"]);
    let claim_map = resolve(&oidc["properties"]["claim_map"]);
    let mut checked = 0;
    let mut blocks = vec![
        ("/auth".to_owned(), auth),
        ("/auth/providers/0/settings".to_owned(), oidc),
        ("/auth/providers/0/settings/claim_map".to_owned(), claim_map),
    ];
    for block in ["callouts", "identity", "audit", "crypto", "limits"] {
        blocks.push((format!("/{block}"), resolve(&schema["properties"][block])));
    }
    for (pointer, block) in blocks {
        for (key, property) in block["properties"].as_object().unwrap() {
            let Some(default) = property.get("default") else {
                continue;
            };
            let mut config = base();
            config.pointer_mut(&pointer).unwrap()[key] = default.clone();
            assert_eq!(policy(&config), plain, "{pointer}/{key}");
            checked += 1;
        }
    }
    assert!(
        checked >= 25,
        "only {checked} defaults were found in the schema"
    );
}

/// The example's text, with something in it replaced.
fn nginx(old: &str, new: &str) -> String {
    let text = std::fs::read_to_string(root().join("examples/nginx/nginx.conf")).unwrap();
    assert!(text.contains(old), "{old}");
    text.replace(old, new)
}

#[test]
fn the_nginx_example_is_fine() {
    let dir = Dir::new("nginx-example");
    dir.write("nginx.conf", &nginx("", ""));
    let ran = dir.run(&["check", "--deny-warnings", "nginx.conf"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.out.contains("nginx.conf: http.server.location, line "),
        "{ran:?}"
    );
    assert!(ran.out.ends_with(", providers oidc\n"), "{ran:?}");
    // Both parts of its configuration are read.
    dir.write(
        "nginx.conf",
        &nginx("\"host\": \"nginx\"", "\"hosts\": \"nginx\""),
    );
    let ran = dir.run(&["check", "nginx.conf"]);
    assert!(
        ran.err.contains("hosts: unknown key; did you mean `host`?"),
        "{ran:?}"
    );
}

#[test]
fn what_is_missing_around_the_filter_in_nginx() {
    let dir = Dir::new("nginx-around");
    for (old, new, words) in [
        (
            "tls_verify_cert on;",
            "",
            "`tls_verify_cert on;` is missing",
        ),
        (
            "tls_verify_host on;",
            "tls_verify_host off;",
            "`tls_verify_host on;` is missing",
        ),
        (
            "set $portcullis_groups       \"\";",
            "",
            "not declared: $portcullis_groups;",
        ),
        (
            "map $portcullis_decision",
            "map $decision",
            "there is no `map $portcullis_decision",
        ),
    ] {
        dir.write("nginx.conf", &nginx(old, new));
        let ran = dir.run(&["check", "--deny-warnings", "nginx.conf"]);
        assert_eq!((ran.code, ran.err_lines().len()), (1, 1), "{ran:?}");
        assert!(ran.err.contains(words), "{ran:?}");
    }
    let keys = "\"providers\": [{\"type\": \"api_key\", \"settings\": {\"keys\": []}}, {";
    let without = nginx("\"providers\": [{", keys).replace("shm_kv * 8m;", "");
    dir.write("nginx.conf", &without);
    let ran = dir.run(&["check", "nginx.conf"]);
    assert!(ran.err.contains("`shm_kv * 8m;` is missing"), "{ran:?}");
}

#[test]
fn what_nginx_would_not_load() {
    let dir = Dir::new("nginx-bad");
    let long = format!("\"audience\": \"{}\"", "a".repeat(4000));
    for (old, new, words) in [
        (
            "\"audience\": \"api://agents\"",
            long.as_str(),
            "bytes, and nginx takes at most about 4000 in one",
        ),
        (
            "unix:/run/portcullis-keys.sock\"",
            "issuer:x\"",
            "is no place that nginx can connect to",
        ),
        (
            "\"host\": \"nginx\",",
            "\"host\": \"envoy\",",
            "host: this is nginx",
        ),
        (
            "\"limits\":",
            "\"auth\": {}, \"limits\":",
            "auth: stands in the VM configuration as well",
        ),
        (
            "proxy_wasm portcullis",
            "proxy_wasm_off portcullis",
            "nginx configuration without this filter",
        ),
        ("http {\n", "http {{\n", "unexpected `{`"),
    ] {
        dir.write("nginx.conf", &nginx(old, new));
        let ran = dir.run(&["check", "nginx.conf"]);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
        assert!(ran.err.contains(words), "{words}: {ran:?}");
    }
    dir.write(
        "nginx.conf",
        &nginx("events {", "include conf.d/*.conf;\nevents {"),
    );
    let ran = dir.run(&["check", "nginx.conf"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.err
            .contains("includes conf.d/*.conf, which is not read"),
        "{ran:?}"
    );
}

#[test]
fn a_configuration_for_nginx_in_files_of_its_own() {
    let dir = Dir::new("nginx-files");
    dir.write("plugin.yaml", "auth: { providers: [{ type: oidc, settings: { issuer: https://issuer.example, audience: a } }] }");
    dir.write("vm.yaml", "host: nginx\n");
    let ran = dir.run(&[
        "check",
        "--deny-warnings",
        "--vm-config",
        "vm.yaml",
        "plugin.yaml",
    ]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    let list: Vec<String> = (0..500).map(|i| format!("caller-{i}")).collect();
    let settings = format!(
        "host: nginx\nauth: {{ providers: [{{ type: oidc, settings: {{ issuer: https://issuer.example, audience: a, allowed_subjects: [{}] }} }}] }}",
        list.join(", ")
    );
    dir.write("long.yaml", &settings);
    let ran = dir.run(&["check", "--deny-warnings", "long.yaml"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.err
            .contains("bytes, and nginx takes at most about 4,000"),
        "{ran:?}"
    );
    let ran = dir.run(&["check", "--vm-config", "long.yaml", "plugin.yaml"]);
    assert!(
        ran.err
            .contains("auth: stands in the VM configuration as well"),
        "{ran:?}"
    );
    let ran = dir.run(&["check", "--vm-config", "nowhere.yaml", "plugin.yaml"]);
    assert!(
        ran.code == 1 && ran.err.starts_with("error: nowhere.yaml: can't be read"),
        "{ran:?}"
    );
}
