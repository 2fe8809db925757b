//! Credentials, signed with the keys of `tests/scenarios/test-keys.json`.

use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use portcullis_test_host::Request;
use ring::digest::{SHA256, digest};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::rsa::{KeyPairComponents, PublicKeyComponents};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use serde_json::{Map, Value, json};

fn keys() -> &'static Value {
    static KEYS: OnceLock<Value> = OnceLock::new();
    KEYS.get_or_init(|| {
        serde_json::from_str(include_str!("../../../scenarios/test-keys.json")).unwrap()
    })
}

fn key(name: &str) -> &'static Value {
    let key = &keys()[name];
    assert!(key.is_object(), "no test key {name}");
    key
}

fn number(key: &Value, name: &str) -> Vec<u8> {
    BASE64.decode(key[name].as_str().unwrap()).unwrap()
}

/// A key set of the public halves.
pub fn jwks(names: &Value) -> Value {
    let public = names.as_array().unwrap().iter().map(|name| {
        let mut key = key(name.as_str().unwrap()).as_object().unwrap().clone();
        for private in ["d", "p", "q", "dp", "dq", "qi"] {
            key.remove(private);
        }
        Value::Object(key)
    });
    json!({"keys": public.collect::<Vec<_>>()})
}

fn sign(key: &Value, input: &[u8]) -> Vec<u8> {
    let random = SystemRandom::new();
    let part = |name| number(key, name);
    match key["kty"].as_str().unwrap() {
        "OKP" => {
            let pair = Ed25519KeyPair::from_seed_and_public_key(&part("d"), &part("x")).unwrap();
            pair.sign(input).as_ref().to_vec()
        }
        "EC" => {
            let public = [vec![4], part("x"), part("y")].concat();
            let kind = &ECDSA_P256_SHA256_FIXED_SIGNING;
            let pair =
                EcdsaKeyPair::from_private_key_and_public_key(kind, &part("d"), &public, &random);
            pair.unwrap()
                .sign(&random, input)
                .unwrap()
                .as_ref()
                .to_vec()
        }
        "RSA" => {
            let pair = RsaKeyPair::from_components(&KeyPairComponents {
                public_key: PublicKeyComponents {
                    n: part("n"),
                    e: part("e"),
                },
                d: part("d"),
                p: part("p"),
                q: part("q"),
                dP: part("dp"),
                dQ: part("dq"),
                qInv: part("qi"),
            })
            .unwrap();
            let mut signature = vec![0; pair.public().modulus_len()];
            pair.sign(&RSA_PKCS1_SHA256, &random, input, &mut signature)
                .unwrap();
            signature
        }
        other => panic!("no key of kind {other}"),
    }
}

/// Claims of a fresh token with those of the scenario over them.
fn claims(changes: &Value, now: u64, serial: u64) -> Value {
    let mut claims = json!({
        "iss": "https://issuer.test", "aud": "api://agents", "sub": "agent-planner",
        "iat": now, "exp": now + 300, "jti": format!("jti-{serial}"),
    });
    over(&mut claims, changes);
    for value in claims.as_object_mut().unwrap().values_mut() {
        if let Some(seconds) = value.get("in").and_then(Value::as_i64) {
            *value = json!(now.checked_add_signed(seconds).unwrap());
        }
    }
    claims
}

/// Members of one object put over another's; `null` takes one away.
fn over(value: &mut Value, changes: &Value) {
    let none = Map::new();
    for (name, change) in changes.as_object().unwrap_or(&none) {
        match change {
            Value::Null => value.as_object_mut().unwrap().remove(name),
            change => value
                .as_object_mut()
                .unwrap()
                .insert(name.clone(), change.clone()),
        };
    }
}

/// A compact JWS. `serial` makes it a token of its own.
pub fn jwt(of: &Value, now: u64, serial: u64) -> String {
    let key = key(of["key"].as_str().unwrap());
    let mut header = json!({"alg": key["alg"], "kid": key["kid"]});
    over(&mut header, &of["header"]);
    let claims = claims(&of["claims"], now, serial);
    let part = |value: &Value| BASE64.encode(value.to_string());
    let input = part(&header) + "." + &part(&claims);
    let mut signature = sign(key, input.as_bytes());
    if of["tampered"] == true {
        let middle = signature.len() / 2;
        signature[middle] ^= 1;
    }
    input + "." + &BASE64.encode(signature)
}

/// A presigned `GetCallerIdentity`; nobody but STS could tell that its signature is none.
pub fn presigned(of: &Value, now: u64) -> String {
    let region = of["region"].as_str().unwrap();
    let signature = of["signature"].as_str().unwrap_or("0").repeat(64);
    let (day, time) = basic_time(now);
    let url = format!(
        "https://sts.{region}.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15\
         &X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F{day}%2F{region}%2Fsts%2Faws4_request\
         &X-Amz-Date={day}T{time}Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host&X-Amz-Signature={signature}"
    );
    format!("forge-aws-v1.{}", BASE64.encode(url))
}

/// What `Authorization` and `X-Amz-Date` say of a request that is signed itself (AWS Signature Version 4): `host` and `x-amz-date` are
/// signed, with the body's hash.
pub fn signature(of: &Value, request: &Request, now: u64) -> [(&'static str, String); 2] {
    let text = |name: &str| of[name].as_str();
    let (service, region) = (text("service").unwrap(), text("region").unwrap());
    let (day, time) = basic_time(now);
    let when = format!("{day}T{time}Z");
    let target = text("path").unwrap_or(&request.target);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut query: Vec<&str> = query.split('&').collect();
    query.sort_unstable();
    let body = text("body").map_or_else(|| request.body.concat(), |body| body.as_bytes().to_vec());
    let canonical = format!(
        "{}\n{}\n{}\nhost:{}\nx-amz-date:{when}\n\nhost;x-amz-date\n{}",
        request.method,
        // Of the path as it was sent, escapes and all.
        path.replace('%', "%25"),
        query.join("&"),
        text("host").unwrap_or(&request.host),
        hex(digest(&SHA256, &body).as_ref()),
    );
    let scope = format!("{day}/{region}/{service}/aws4_request");
    let hash = hex(digest(&SHA256, canonical.as_bytes()).as_ref());
    let to_sign = format!("AWS4-HMAC-SHA256\n{when}\n{scope}\n{hash}");
    let mut key = format!("AWS4{}", text("secret").unwrap()).into_bytes();
    for part in scope.split('/').chain([to_sign.as_str()]) {
        let part = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), part.as_bytes());
        key = part.as_ref().to_vec();
    }
    if of["tampered"] == true {
        key[0] ^= 1;
    }
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders=host;x-amz-date, Signature={}",
        text("access_key_id").unwrap(),
        hex(&key)
    );
    [("X-Amz-Date", when), ("Authorization", authorization)]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `20260101`, `000000`: the civil date of days since 1970 (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn basic_time(now: u64) -> (String, String) {
    let days = now / 86_400 + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let second = now % 86_400;
    let time = format!(
        "{:02}{:02}{:02}",
        second / 3600,
        second / 60 % 60,
        second % 60
    );
    (format!("{year:04}{month:02}{day:02}"), time)
}

#[test]
fn the_date_is_the_calendars() {
    let of = |now| {
        let (day, time) = basic_time(now);
        day + &time
    };
    assert_eq!(of(0), "19700101000000");
    assert_eq!(of(1_767_225_599), "20251231235959");
    assert_eq!(of(1_709_210_096), "20240229123456");
}
