//! Entra ID played by the test, with the shapes that Microsoft publishes: discovery with `{tenantid}`, keys with `x5c` and
//! `issuer`, tokens of version 1 and 2, groups overage.

use std::time::Duration;

use portcullis_core::authenticator::Purpose;
use portcullis_core::decision::{Allow, Decision, Step};
use serde_json::{Value, json};
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use crate::support::*;

pub const LOGIN: &str = "login.microsoftonline.com";
const TENANT: &str = "aaaabbbb-0000-cccc-1111-dddd2222eeee";
const OTHER: &str = "bbbbcccc-1111-dddd-2222-eeee3333ffff";
const API: &str = "00001111-aaaa-2222-bbbb-3333cccc4444";
const APP: &str = "11112222-bbbb-3333-cccc-4444dddd5555";
const OID: &str = "aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb";
const KID: &str = "nOo3ZDrODXEK1jKWhXslHR_KXEg";

fn config(settings: Value) -> Value {
    let all = over(
        json!({"audience": [API, "api://agents"], "tenant_id": TENANT}),
        settings,
    );
    json!({"auth": {"providers": [{"type": "azure_ad", "settings": all}]}})
}

fn many(settings: Value) -> Value {
    config(over(
        json!({"tenant_id": null, "allow_multi_tenant": true, "allowed_tenants": [TENANT]}),
        settings,
    ))
}

/// The key set of `…/discovery/v2.0/keys`.
fn keys(issuer: Value) -> String {
    let more = json!({"x5t": KID, "x5c": ["MIIC/TCCAeWgAwIBAgIIUd7j/OIahkYwDQYJKoZIhvcNAQELBQAwLTEr"],
        "cloud_instance_name": "microsoftonline.com", "issuer": issuer});
    json!({"keys": [over(rsa_jwk(KID, more), if issuer.is_null() { json!({"issuer": null}) } else { json!({}) })]}).to_string()
}

fn discovery(login: &str, path: &str, named: &str) -> String {
    json!({
        "token_endpoint": format!("https://{login}/{path}/oauth2/v2.0/token"),
        "jwks_uri": format!("https://{login}/{path}/discovery/v2.0/keys"),
        "id_token_signing_alg_values_supported": ["RS256"],
        "issuer": format!("https://{login}/{named}/v2.0"),
        "tenant_region_scope": null, "cloud_instance_name": "microsoftonline.com",
        "msgraph_host": "graph.microsoft.com",
    })
    .to_string()
}

fn warm(bench: &mut Bench, login: &str, path: &str, named: &str, keys: &str) {
    let callout = bench.callout();
    assert_eq!(
        (
            callout.callout.authority.as_str(),
            callout.callout.path.clone()
        ),
        (
            login,
            format!("/{path}/v2.0/.well-known/openid-configuration")
        )
    );
    bench.respond(&callout, 200, &[], &discovery(login, path, named));
    let callout = bench.callout();
    assert_eq!(callout.callout.path, format!("/{path}/discovery/v2.0/keys"));
    bench.respond(&callout, 200, &[], keys);
}

fn template(login: &str) -> Value {
    json!(format!("https://{login}/{{tenantid}}/v2.0"))
}

fn single(settings: Value) -> Bench {
    let mut bench = Bench::new(&config(settings));
    warm(&mut bench, LOGIN, TENANT, TENANT, &keys(template(LOGIN)));
    bench
}

fn multi(settings: Value) -> Bench {
    multi_with(settings, template(LOGIN))
}

fn multi_with(settings: Value, key_issuer: Value) -> Bench {
    let mut bench = Bench::new(&many(settings));
    warm(&mut bench, LOGIN, "common", "{tenantid}", &keys(key_issuer));
    bench
}

pub fn sealed(claims: &Value) -> String {
    genuine(
        &json!({"typ": "JWT", "alg": "RS256", "x5t": KID, "kid": KID}),
        claims,
    )
}

/// An access token of version 2, for an application on behalf of a user.
pub fn v2(changes: Value) -> Value {
    let now = start().as_secs();
    over(
        json!({
            "aud": API, "iss": format!("https://{LOGIN}/{TENANT}/v2.0"),
            "iat": now, "nbf": now, "exp": now + 3600, "aio": "AXQAi/8IAAAA",
            "azp": APP, "azpacr": "1", "name": "Alice", "oid": OID,
            "preferred_username": "alice@corp.example", "rh": "0.AX0A", "scp": "access_as_user",
            "sub": "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ", "tid": TENANT, "uti": "fqiBqXLPj0eQa82S-IYFAA", "ver": "2.0",
        }),
        changes,
    )
}

/// An access token of version 1, for an application by itself.
fn v1(changes: Value) -> Value {
    let now = start().as_secs();
    over(
        json!({
            "aud": "api://agents", "iss": format!("https://sts.windows.net/{TENANT}/"),
            "iat": now, "nbf": now, "exp": now + 3600, "aio": "E2ZgYFj",
            "appid": APP, "appidacr": "2", "idp": format!("https://sts.windows.net/{TENANT}/"),
            "oid": OID, "rh": "0.AX0A", "sub": OID, "tid": TENANT, "uti": "u", "ver": "1.0",
        }),
        changes,
    )
}

fn resolve(bench: &mut Bench, need: portcullis_core::NeedCallout) -> Allow {
    assert!(need.ready(&bench.auth, bench.now));
    match need.resume(&mut bench.auth, bench.now) {
        Step::Done(Decision::Allow(allow)) => allow,
        Step::Done(Decision::Deny(denial)) => panic!("refused: {}", denial.code),
        _ => panic!("neither let in nor refused"),
    }
}

#[test]
fn a_user_and_an_application() {
    let mut bench = single(json!({}));
    let allow = bench.allow(&bearer(&sealed(&v2(
        json!({"groups": ["g1", "g2"], "email": "alice@corp.example"}),
    ))));
    assert_eq!(set(&allow, "x-auth-user-id"), Some(OID));
    assert_eq!(set(&allow, "x-auth-org-id"), Some(TENANT));
    assert_eq!(set(&allow, "x-auth-groups"), Some("g1,g2"));
    // Anybody with a tenant of his own can write this address into it.
    assert_eq!(set(&allow, "x-auth-email"), None);
    let event = event(allow.audit);
    assert_eq!(event["fields"]["provider"], "azure_ad");
    assert_eq!(event["fields"]["groups_count"], 2);
    assert_eq!(
        event["fields"]["claims"],
        json!({"tid": TENANT, "app": APP, "uti": "fqiBqXLPj0eQa82S-IYFAA"})
    );
    let proven = sealed(&v2(
        json!({"email": "alice@corp.example", "xms_edov": true}),
    ));
    let allow = bench.allow(&bearer(&proven));
    assert_eq!(set(&allow, "x-auth-email"), Some("alice@corp.example"));
    // The same keys vouch for version 1, though they name the issuer of version 2.
    assert_eq!(bench.with_token(&sealed(&v1(json!({})))), "ok");
    bench.no_callout();
}

#[test]
fn every_rule() {
    let now = start().as_secs();
    let stray = format!("https://{LOGIN}/{OTHER}/v2.0");
    let app = |settings: Value| over(json!({"allowed_apps": APP}), settings);
    let foreign = "99998888-7777-6666-5555-444433332222";
    for (settings, claims, expected) in [
        (
            json!({}),
            v2(json!({"aud": "api://else"})),
            "audience_mismatch",
        ),
        (json!({}), v2(json!({"exp": now - 31})), "expired"),
        (json!({}), v2(json!({"exp": null})), "missing_expiry"),
        (json!({}), v2(json!({"nbf": now + 31})), "not_yet_valid"),
        // Tenant and issuer, by version.
        (json!({}), v2(json!({"iss": stray})), "not_for_me"),
        (json!({}), v2(json!({"tid": OTHER})), "issuer_mismatch"),
        (json!({}), v2(json!({"tid": null})), "malformed_claims"),
        (
            json!({}),
            v2(json!({"tid": "../common"})),
            "malformed_claims",
        ),
        (json!({}), v2(json!({"ver": null})), "malformed_claims"),
        (json!({}), v2(json!({"ver": "3.0"})), "malformed_claims"),
        (json!({}), v2(json!({"ver": "1.0"})), "issuer_mismatch"),
        (json!({}), v1(json!({"ver": "2.0"})), "issuer_mismatch"),
        (
            json!({}),
            v1(json!({"iss": format!("https://sts.windows.net/{TENANT}")})),
            "not_for_me",
        ),
        (
            json!({}),
            v2(json!({"iss": format!("https://{LOGIN}/{TENANT}/v2.0/")})),
            "not_for_me",
        ),
        (
            json!({}),
            v2(json!({"iss": format!("https://{LOGIN}.evil/{TENANT}/v2.0")})),
            "not_for_me",
        ),
        (
            json!({}),
            v2(json!({"iss": format!("https://{LOGIN}/x/{TENANT}/v2.0")})),
            "not_for_me",
        ),
        (
            json!({"tenant_id": TENANT.to_uppercase()}),
            v2(json!({})),
            "ok",
        ),
        // Applications: `azp` in version 2, `appid` in version 1, `oid` only without either.
        (app(json!({})), v2(json!({})), "ok"),
        (app(json!({})), v1(json!({})), "ok"),
        (
            app(json!({"allowed_apps": [APP.to_uppercase()]})),
            v2(json!({})),
            "ok",
        ),
        (
            app(json!({})),
            v2(json!({"azp": foreign})),
            "app_not_allowed",
        ),
        (
            app(json!({})),
            v1(json!({"appid": foreign})),
            "app_not_allowed",
        ),
        (
            app(json!({})),
            v2(json!({"azp": foreign, "appid": APP})),
            "app_not_allowed",
        ),
        (
            app(json!({})),
            v1(json!({"appid": foreign, "azp": APP})),
            "app_not_allowed",
        ),
        (
            app(json!({})),
            v2(json!({"azp": null, "appid": APP})),
            "app_not_allowed",
        ),
        (
            app(json!({})),
            v1(json!({"appid": null, "azp": APP})),
            "app_not_allowed",
        ),
        (
            app(json!({"allowed_apps": OID})),
            v2(json!({})),
            "app_not_allowed",
        ),
        (
            app(json!({"allowed_apps": OID})),
            v2(json!({"azp": null, "appid": foreign})),
            "app_not_allowed",
        ),
        (
            app(json!({"allowed_apps": OID})),
            v1(json!({"appid": 7})),
            "app_not_allowed",
        ),
        (
            app(json!({"allowed_apps": OID})),
            v1(json!({"appid": null})),
            "ok",
        ),
        (
            app(json!({"allowed_apps": OID})),
            v2(json!({"azp": null})),
            "ok",
        ),
        (
            app(json!({})),
            v2(json!({"azp": null, "oid": null})),
            "app_not_allowed",
        ),
        // Who: an application or a user; a confidential client.
        (
            json!({"token_type": "app"}),
            v1(json!({"idtyp": "app"})),
            "ok",
        ),
        (
            json!({"token_type": "app"}),
            v1(json!({})),
            "token_type_not_allowed",
        ),
        (
            json!({"token_type": "app"}),
            v2(json!({"idtyp": "user"})),
            "token_type_not_allowed",
        ),
        (
            json!({"token_type": "user"}),
            v2(json!({"idtyp": "user"})),
            "ok",
        ),
        (
            json!({"token_type": "user"}),
            v2(json!({})),
            "token_type_not_allowed",
        ),
        (
            json!({"require_confidential_client": true}),
            v2(json!({})),
            "ok",
        ),
        (
            json!({"require_confidential_client": true}),
            v1(json!({})),
            "ok",
        ),
        (
            json!({"require_confidential_client": true}),
            v2(json!({"azpacr": "0"})),
            "public_client",
        ),
        (
            json!({"require_confidential_client": true}),
            v1(json!({"appidacr": "0", "azpacr": "2"})),
            "public_client",
        ),
        (
            json!({"require_confidential_client": true}),
            v2(json!({"azpacr": null, "appidacr": "2"})),
            "public_client",
        ),
        (
            json!({}),
            v2(json!({"oid": null, "sub": null})),
            "missing_subject",
        ),
        (json!({}), v2(json!({"oid": "a\nb"})), "malformed_claims"),
        (json!({}), v2(json!({"oid": null})), "ok"),
    ] {
        let mut bench = single(settings.clone());
        assert_eq!(
            bench.with_token(&sealed(&claims)),
            expected,
            "{settings} {claims}"
        );
    }
}

#[test]
fn many_tenants_are_those_listed() {
    let of = |tenant: &str| {
        sealed(&v2(
            json!({"iss": format!("https://{LOGIN}/{tenant}/v2.0"), "tid": tenant}),
        ))
    };
    let mut bench = multi(json!({"allowed_tenants": [OTHER, TENANT]}));
    assert_eq!(bench.with_token(&of(TENANT)), "ok");
    assert_eq!(bench.with_token(&of(OTHER)), "ok");
    let stranger = "cccccccc-1111-dddd-2222-eeee3333ffff";
    assert_eq!(bench.with_token(&of(stranger)), "tenant_not_allowed");
    // The issuer of one, the `tid` of another.
    let mixed = sealed(&v2(json!({"tid": OTHER})));
    assert_eq!(bench.with_token(&mixed), "issuer_mismatch");
    bench.reload(&many(json!({"allowed_tenants": [OTHER]})));
    assert_eq!(bench.with_token(&of(TENANT)), "tenant_not_allowed");
    bench.reload(&many(
        json!({"allowed_tenants": null, "allow_multi_tenant": null, "any_tenant": true}),
    ));
    assert_eq!(bench.with_token(&of(stranger)), "ok");
}

#[test]
fn a_key_vouches_for_its_own_issuer_only() {
    let one = |tenant: &str| json!(format!("https://{LOGIN}/{tenant}/v2.0"));
    for (key_issuer, expected) in [
        (template(LOGIN), "ok"),
        (one(TENANT), "ok"),
        (one(OTHER), "key_issuer_mismatch"),
        (
            json!(format!("https://sts.windows.net/{TENANT}/")),
            "key_issuer_mismatch",
        ),
        (template("login.microsoftonline.us"), "key_issuer_mismatch"),
        (json!("{tenantid}"), "key_issuer_mismatch"),
        (json!(""), "key_issuer_mismatch"),
        (Value::Null, "key_issuer_mismatch"),
    ] {
        let mut bench = multi_with(json!({}), key_issuer.clone());
        assert_eq!(
            bench.with_token(&sealed(&v2(json!({})))),
            expected,
            "{key_issuer}"
        );
        assert_eq!(
            bench.verifier.0.get(),
            u32::from(expected == "ok"),
            "{key_issuer}"
        );
    }
    // One tenant's own set may leave it out.
    let mut bench = Bench::new(&config(json!({})));
    warm(&mut bench, LOGIN, TENANT, TENANT, &keys(Value::Null));
    assert_eq!(bench.with_token(&sealed(&v2(json!({})))), "ok");
    // A key of the template of version 1 vouches for version 1.
    let mut bench = multi_with(json!({}), json!("https://sts.windows.net/{tenantid}/"));
    assert_eq!(bench.with_token(&sealed(&v1(json!({})))), "ok");
    assert_eq!(
        bench.with_token(&sealed(&v2(json!({})))),
        "key_issuer_mismatch"
    );
}

#[test]
fn a_remembered_token_is_held_to_the_keys_issuer_of_now() {
    let mut bench = multi(json!({}));
    let token = sealed(&v2(json!({})));
    assert_eq!(bench.with_token(&token), "ok");
    bench.pass(Duration::from_secs(3300));
    let callout = bench.callout();
    bench.respond(
        &callout,
        200,
        &[],
        &keys(json!(format!("https://{LOGIN}/{OTHER}/v2.0"))),
    );
    assert_eq!(bench.with_token(&token), "key_issuer_mismatch");
}

#[test]
fn another_tenants_provider_is_not_in_the_way() {
    let mut config = many(json!({"allowed_tenants": [OTHER]}));
    let single = config_provider(json!({}));
    config["auth"]["providers"]
        .as_array_mut()
        .unwrap()
        .push(single);
    let mut bench = Bench::new(&config);
    warm(
        &mut bench,
        LOGIN,
        "common",
        "{tenantid}",
        &keys(template(LOGIN)),
    );
    warm(&mut bench, LOGIN, TENANT, TENANT, &keys(template(LOGIN)));
    assert_eq!(bench.with_token(&sealed(&v2(json!({})))), "ok");
}

pub fn provider(settings: Value) -> Value {
    config(settings)["auth"]["providers"][0].take()
}

fn config_provider(settings: Value) -> Value {
    let mut provider = provider(settings);
    provider["name"] = json!("one-tenant");
    provider
}

/// What Microsoft's hosts answer.
pub fn answer(path: &str) -> String {
    if path.ends_with("openid-configuration") {
        discovery(LOGIN, TENANT, TENANT)
    } else {
        keys(template(LOGIN))
    }
}

#[test]
fn sovereign_clouds() {
    for (login, v1_host, graph) in [
        (
            "login.microsoftonline.us",
            "sts.windows.net",
            "graph.microsoft.us",
        ),
        (
            "login.partner.microsoftonline.cn",
            "sts.chinacloudapi.cn",
            "microsoftgraph.chinacloudapi.cn",
        ),
    ] {
        let mut bench = Bench::new(&config(json!({"authority": login, "groups_mode": "graph"})));
        warm(&mut bench, login, TENANT, TENANT, &keys(template(login)));
        let iss = format!("https://{login}/{TENANT}/v2.0");
        assert_eq!(bench.with_token(&sealed(&v2(json!({"iss": iss})))), "ok");
        let old = format!("https://{v1_host}/{TENANT}/");
        assert_eq!(bench.with_token(&sealed(&v1(json!({"iss": old})))), "ok");
        assert_eq!(bench.with_token(&sealed(&v2(json!({})))), "not_for_me");
        bench.waits(&bearer(&sealed(&v2(
            json!({"iss": iss, "hasgroups": true}),
        ))));
        assert_eq!(bench.callout().callout.authority, graph);
    }
}

// --- groups ---

fn overage(changes: Value) -> String {
    sealed(&v2(over(
        json!({"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {
            "endpoint": format!("https://graph.windows.net/{TENANT}/users/{OID}/getMemberObjects")}}}),
        changes,
    )))
}

fn page(ids: &[&str], next: Option<&str>) -> String {
    let mut value: Vec<Value> = ids
        .iter()
        .map(|id| json!({"@odata.type": "#microsoft.graph.group", "id": id}))
        .collect();
    value.push(json!({"@odata.type": "#microsoft.graph.directoryRole", "id": "role"}));
    let mut page = json!({"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#directoryObjects(id)", "value": value});
    if let Some(next) = next {
        page["@odata.nextLink"] = json!(next);
    }
    page.to_string()
}

fn graph(settings: Value) -> Bench {
    single(over(json!({"groups_mode": "graph"}), settings))
}

const NEXT: &str =
    "https://graph.microsoft.com/v1.0/me/transitiveMemberOf?$select=id&$top=999&$skiptoken=abc";

#[test]
fn too_many_groups_for_a_token_are_asked_of_graph() {
    let mut bench = graph(json!({"graph_timeout": "2s"}));
    let token = overage(json!({}));
    let need = bench.waits(&bearer(&token));
    assert_eq!(need.deadline(), bench.now + Duration::from_secs(2));
    let callout = bench.callout();
    assert_eq!(
        callout.purpose,
        Purpose::Lookup("graph.microsoft.com".into())
    );
    let sent = &callout.callout;
    assert_eq!(
        (
            sent.scheme,
            sent.method,
            sent.authority.as_str(),
            sent.path.as_str()
        ),
        (
            "https",
            "GET",
            "graph.microsoft.com",
            "/v1.0/me/transitiveMemberOf?$select=id&$top=999"
        )
    );
    assert!(
        sent.headers
            .contains(&("authorization".to_owned(), format!("Bearer {token}")))
    );
    assert_eq!(sent.timeout, Duration::from_secs(2));
    assert!(!format!("{callout:?}").contains(&token));
    bench.respond(&callout, 200, &[], &page(&["g1", "g2"], Some(NEXT)));
    assert!(!need.ready(&bench.auth, bench.now));
    let callout = bench.callout();
    assert_eq!(
        format!("https://graph.microsoft.com{}", callout.callout.path),
        NEXT
    );
    assert!(
        callout
            .callout
            .headers
            .contains(&("authorization".to_owned(), format!("Bearer {token}")))
    );
    bench.respond(&callout, 200, &[], &page(&["g3"], None));
    let allow = resolve(&mut bench, need);
    assert_eq!(set(&allow, "x-auth-groups"), Some("g1,g2,g3"));
    assert_eq!(allow.count, None);
    let first = event(allow.audit);
    assert_eq!(first["fields"]["groups_count"], 3);
    assert_eq!(first["fields"]["cache"], "miss");
    assert!(first["fields"].get("groups_missing").is_none());
    // Remembered, by the whole token.
    let allow = bench.allow(&bearer(&token));
    assert_eq!(set(&allow, "x-auth-groups"), Some("g1,g2,g3"));
    assert_eq!(event(allow.audit)["fields"]["cache"], "hit");
    bench.waits(&bearer(&overage(json!({"uti": "another"}))));
    bench.callout();
    bench.pass(Duration::from_secs(300));
    bench.waits(&bearer(&token));
}

#[test]
fn graph_is_asked_on_real_overage_only() {
    let mut bench = graph(json!({}));
    for token in [
        sealed(&v2(json!({}))),
        sealed(&v2(json!({"groups": ["g1"]}))),
        overage(json!({"groups": ["g1"]})),
        overage(json!({"_claim_names": {"other": "src1"}})),
        overage(json!({"_claim_names": "groups"})),
        overage(json!({"_claim_names": null, "hasgroups": false})),
        overage(json!({"_claim_names": null, "hasgroups": 1})),
    ] {
        assert_eq!(bench.with_token(&token), "ok");
        bench.no_callout();
    }
    // Nor for a token that is refused, nor in the other mode.
    assert_eq!(bench.with_token(&overage(json!({"exp": 1}))), "expired");
    assert_eq!(
        bench.with_token(&overage(json!({"aud": "x"}))),
        "audience_mismatch"
    );
    bench.no_callout();
    let mut claim = single(json!({}));
    assert_eq!(claim.with_token(&overage(json!({}))), "ok");
    claim.no_callout();
    for hint in [json!(true), json!("true")] {
        bench.waits(&bearer(&overage(
            json!({"_claim_names": null, "hasgroups": hint}),
        )));
        bench.callout();
    }
}

#[test]
fn without_graph_the_request_goes_on_without_groups() {
    let many_ids: Vec<String> = (0..1001).map(|i| format!("g{i}")).collect();
    let many_ids: Vec<&str> = many_ids.iter().map(String::as_str).collect();
    for (status, body, missing) in [
        (500, String::new(), "unavailable"),
        (429, String::new(), "unavailable"),
        (302, String::new(), "unavailable"),
        (200, "<html>".to_owned(), "unavailable"),
        (200, json!({"value": "x"}).to_string(), "unavailable"),
        (
            200,
            page(&["g1"], Some("https://evil.example/v1.0/next")),
            "unavailable",
        ),
        (
            200,
            page(&["g1"], Some("http://graph.microsoft.com/v1.0/next")),
            "unavailable",
        ),
        (
            200,
            page(&["g1"], Some("https://graph.microsoft.com:444/v1.0/next")),
            "unavailable",
        ),
        (
            200,
            page(
                &["g1"],
                Some("https://graph.microsoft.com@evil.example/v1.0/x"),
            ),
            "unavailable",
        ),
        (
            200,
            page(&["g1"], Some("https://graph.microsoft.com/beta/next")),
            "unavailable",
        ),
        (200, page(&["g1"], Some("/v1.0/next")), "unavailable"),
        (
            401,
            json!({"error": {"code": "InvalidAuthenticationToken"}}).to_string(),
            "refused",
        ),
        (403, String::new(), "refused"),
        (200, page(&many_ids, None), "cut"),
        (200, page(&many_ids, Some(NEXT)), "cut"),
    ] {
        let mut bench = graph(json!({}));
        let need = bench.waits(&bearer(&overage(json!({}))));
        let callout = bench.callout();
        bench.respond(&callout, status, &[], &body);
        bench.no_callout();
        let allow = resolve(&mut bench, need);
        let groups = set(&allow, "x-auth-groups").map_or(0, |g| g.split(',').count());
        assert_eq!(
            groups,
            if missing == "cut" { 1000 } else { 0 },
            "{body:.100}"
        );
        assert_eq!(
            allow.count,
            Some(portcullis_core::metrics::Id::GroupsMissing)
        );
        let event = event(allow.audit);
        assert_eq!(event["event"], "auth_verify");
        assert_eq!(
            event["fields"]["groups_missing"], missing,
            "{status} {body:.100}"
        );
    }
}

#[test]
fn a_slow_graph_holds_nobody_up_for_longer_than_its_timeout() {
    let mut bench = graph(json!({"graph_timeout": "1s"}));
    let token = overage(json!({}));
    let need = bench.waits(&bearer(&token));
    let callout = bench.callout();
    bench.pass(Duration::from_secs(1));
    let allow = resolve(&mut bench, need);
    assert_eq!(
        event(allow.audit)["fields"]["groups_missing"],
        "unavailable"
    );
    // What comes late serves the next one.
    bench.respond(&callout, 200, &[], &page(&["g1"], None));
    let allow = bench.allow(&bearer(&token));
    assert_eq!(set(&allow, "x-auth-groups"), Some("g1"));
}

#[test]
fn pages_without_end_come_to_one() {
    let mut bench = graph(json!({}));
    let need = bench.waits(&bearer(&overage(json!({}))));
    for i in 0..8 {
        let callout = bench.callout();
        bench.respond(&callout, 200, &[], &page(&[&format!("g{i}")], Some(NEXT)));
    }
    bench.no_callout();
    let allow = resolve(&mut bench, need);
    assert_eq!(event(allow.audit)["fields"]["groups_missing"], "cut");
}

#[test]
fn a_dead_graph_is_spared_and_nobody_waits_for_it() {
    let mut bench = graph(json!({}));
    for i in 0..5 {
        let need = bench.waits(&bearer(&overage(json!({"uti": i}))));
        let callout = bench.callout();
        bench.fail(&callout);
        resolve(&mut bench, need);
    }
    assert_eq!(bench.with_token(&overage(json!({"uti": "next"}))), "ok");
    bench.no_callout();
}

#[test]
fn the_event_names_whom_a_list_refuses() {
    let mut bench = single(json!({"allowed_apps": OTHER}));
    let fields = event(bench.deny(&bearer(&sealed(&v2(json!({}))))).audit)["fields"].clone();
    assert_eq!(fields["code"], "app_not_allowed");
    assert_eq!(
        (&fields["user_id"], &fields["claims"]["app"]),
        (&json!(OID), &json!(APP))
    );
}
