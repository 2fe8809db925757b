//! A filter in a box: a policy from JSON, a clock that stands still, issuers that answer when told to.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use portcullis_core::authenticator::{
    Authenticator, BackgroundCallout, NeedCallout, Purpose, Stores,
};
use portcullis_core::callout::{CalloutFailure, CalloutReply, HttpResponse};
use portcullis_core::config;
use portcullis_core::decision::{Allow, Decision, Denial, Step};
use portcullis_core::jose::{Algorithm, BadSignature, PublicKey, SignatureVerifier, base64url};
use portcullis_core::request::RequestHead;
use portcullis_core::time::UnixTime;
use serde_json::{Value, json};

pub const ISSUER: &str = "https://issuer.example";
pub const AUDIENCE: &str = "api://agents";
/// RFC 8037 appendix A.2.
pub const KEY: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
/// RFC 8032 section 7.1, test 2.
pub const OTHER_KEY: &str = "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw";
const GENUINE: [u8; 64] = [1; 64];
const FORGED: [u8; 64] = [2; 64];

/// Takes one constant for a good signature, and counts: these tests are about what happens around signatures, and
/// about how often one is verified. Real signatures are tested with published vectors.
#[derive(Default)]
pub struct CountingVerifier(pub Cell<u32>);

impl SignatureVerifier for CountingVerifier {
    fn verify(
        &self,
        _: Algorithm,
        _: &PublicKey,
        _: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        self.0.set(self.0.get() + 1);
        if signature == GENUINE {
            Ok(())
        } else {
            Err(BadSignature)
        }
    }
}

pub fn start() -> UnixTime {
    UnixTime::from_secs(1_800_000_000)
}

pub struct Bench {
    pub auth: Authenticator,
    pub verifier: Rc<CountingVerifier>,
    pub now: UnixTime,
}

impl Bench {
    pub fn new(config: &Value) -> Self {
        let verifier = Rc::new(CountingVerifier::default());
        let auth = Authenticator::new(policy(config), Stores::new(7), verifier.clone(), start());
        Self {
            auth,
            verifier,
            now: start(),
        }
    }

    /// One oidc provider with an inline key set, and further settings.
    pub fn oidc(settings: Value) -> Self {
        Self::new(&oidc_config(settings))
    }

    pub fn reload(&mut self, config: &Value) {
        self.auth.reload(policy(config), self.now);
    }

    pub fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    pub fn begin(&mut self, request: &Request) -> Step {
        let headers: Vec<(&[u8], &[u8])> = request
            .headers
            .iter()
            .map(|(n, v)| (n.as_bytes(), v.as_bytes()))
            .collect();
        self.auth.begin(
            &RequestHead {
                method: request.method.as_bytes(),
                path: request.path.as_bytes(),
                authority: b"agents.example",
                headers: &headers,
                remote_addr: Some("192.0.2.7:1234"),
            },
            self.now,
        )
    }

    pub fn ask(&mut self, request: &Request) -> Decision {
        match self.begin(request) {
            Step::Done(decision) => decision,
            _ => panic!("has to wait"),
        }
    }

    pub fn allow(&mut self, request: &Request) -> Allow {
        match self.ask(request) {
            Decision::Allow(allow) => allow,
            Decision::Deny(denial) => panic!("refused: {}", denial.code),
            Decision::Limited(_) => panic!("limited"),
            Decision::Serve(served) => panic!("served: {}", served.status),
        }
    }

    pub fn deny(&mut self, request: &Request) -> Denial {
        match self.ask(request) {
            Decision::Allow(_) | Decision::Limited(_) => panic!("let in"),
            Decision::Serve(served) => panic!("served: {}", served.status),
            Decision::Deny(denial) => denial,
        }
    }

    /// `ok`, or the code of the refusal.
    pub fn verdict(&mut self, request: &Request) -> &'static str {
        verdict(self.ask(request))
    }

    pub fn with_token(&mut self, token: &str) -> &'static str {
        self.verdict(&bearer(token))
    }

    pub fn waits(&mut self, request: &Request) -> NeedCallout {
        match self.begin(request) {
            Step::Done(decision) => panic!("does not wait: {}", verdict(decision)),
            Step::NeedCallout(need) => need,
            Step::NeedBody(_) => panic!("waits for its body"),
        }
    }

    pub fn resume(&mut self, need: NeedCallout) -> &'static str {
        assert!(need.ready(&self.auth, self.now));
        match need.resume(&mut self.auth, self.now) {
            Step::Done(decision) => verdict(decision),
            _ => panic!("waits on"),
        }
    }

    pub fn callout(&mut self) -> BackgroundCallout {
        self.auth.poll_callout(self.now).expect("a callout is due")
    }

    pub fn no_callout(&mut self) {
        let next = self.auth.poll_callout(self.now);
        assert!(next.is_none(), "{next:?}");
    }

    pub fn respond(
        &mut self,
        callout: &BackgroundCallout,
        status: u16,
        headers: &[(&str, &str)],
        body: &str,
    ) {
        let headers: Vec<(&[u8], &[u8])> = headers
            .iter()
            .map(|(n, v)| (n.as_bytes(), v.as_bytes()))
            .collect();
        let reply = CalloutReply::Response(HttpResponse {
            status,
            headers: &headers,
            body: body.as_bytes(),
        });
        self.auth.reply(callout.id, reply, self.now);
    }

    pub fn fail(&mut self, callout: &BackgroundCallout) {
        let reply = CalloutReply::Failed(CalloutFailure::NoResponse);
        self.auth.reply(callout.id, reply, self.now);
    }

    /// Answers discovery and key set as an issuer in good health.
    pub fn serve(&mut self, jwks: &str) {
        let mut callout = self.callout();
        if callout.callout.path.ends_with("openid-configuration") {
            self.respond(&callout, 200, &[], &discovery());
            callout = self.callout();
            assert_eq!(lease(&callout), None);
        }
        self.respond(&callout, 200, &[("etag", "\"1\"")], jwks);
    }
}

/// The lease that a key fetch wants, if it begins an attempt.
pub fn lease(callout: &BackgroundCallout) -> Option<Duration> {
    match &callout.purpose {
        Purpose::Keys { lease, .. } => *lease,
        Purpose::Lookup(scope) => panic!("a question to {scope}"),
        Purpose::Feed(name) | Purpose::Uses(name) => panic!("a question to the feed {name}"),
    }
}

pub fn verdict(decision: Decision) -> &'static str {
    match decision {
        Decision::Allow(_) => "ok",
        Decision::Deny(denial) => denial.code.as_str(),
        Decision::Limited(_) => "limited",
        Decision::Serve(_) => "served",
    }
}

pub fn policy(config: &Value) -> portcullis_core::policy::Policy {
    let text = config.to_string();
    match config::load(text.as_bytes(), &|_| None) {
        Ok((policy, _)) => policy,
        Err(errors) => panic!("{errors}"),
    }
}

pub fn oidc_config(settings: Value) -> Value {
    json!({"auth": {"providers": [provider(settings)]}})
}

/// An oidc provider with issuer, audience and inline keys unless `settings` say otherwise.
pub fn provider(settings: Value) -> Value {
    let mut all = json!({"issuer": ISSUER, "audience": AUDIENCE, "jwks": jwks(&["k1"])});
    for (name, value) in settings.as_object().unwrap() {
        all[name] = value.clone();
    }
    if all.get("jwks").is_some_and(Value::is_null) {
        all.as_object_mut().unwrap().remove("jwks");
    }
    json!({"type": "oidc", "settings": all})
}

/// An oidc provider whose keys come by discovery.
pub fn remote() -> Value {
    oidc_config(json!({"jwks": null}))
}

pub fn discovery() -> String {
    json!({"issuer": ISSUER, "jwks_uri": "https://issuer.example/jwks"}).to_string()
}

pub fn jwks(kids: &[&str]) -> Value {
    let keys: Vec<Value> = kids.iter().map(|kid| jwk(kid, KEY)).collect();
    json!({ "keys": keys })
}

pub fn jwk(kid: &str, x: &str) -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": x})
}

/// Claims that every test's policy takes, with `changes` over them; `null` removes one.
pub fn claims(changes: Value) -> Value {
    let now = start().as_secs();
    let mut claims =
        json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": now + 600, "iat": now});
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

pub fn token(changes: Value) -> String {
    sign(
        &json!({"alg": "EdDSA", "kid": "k1"}),
        &claims(changes),
        &GENUINE,
    )
}

pub fn token_with_kid(kid: &str) -> String {
    sign(
        &json!({"alg": "EdDSA", "kid": kid}),
        &claims(json!({})),
        &GENUINE,
    )
}

pub fn forged(changes: Value) -> String {
    sign(
        &json!({"alg": "EdDSA", "kid": "k1"}),
        &claims(changes),
        &FORGED,
    )
}

/// Signed by the key that the header names, whatever its type.
pub fn genuine(header: &Value, claims: &Value) -> String {
    sign(header, claims, &GENUINE)
}

/// An RSA key (RFC 7517 appendix A.1) with these members besides.
pub fn rsa_jwk(kid: &str, more: Value) -> Value {
    let mut key = json!({"kty": "RSA", "use": "sig", "kid": kid, "e": "AQAB",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"});
    for (name, value) in more.as_object().unwrap() {
        key[name] = value.clone();
    }
    key
}

/// A P-256 key (RFC 7517 appendix A.1).
pub fn p256_jwk(kid: &str) -> Value {
    json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": kid,
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"})
}

/// Lays `changes` over an object; `null` removes a member.
pub fn over(mut base: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            base.as_object_mut().unwrap().remove(name);
        } else {
            base[name] = value.clone();
        }
    }
    base
}

pub fn sign(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let b64 = |bytes: &[u8]| base64url::encode(bytes);
    format!(
        "{}.{}.{}",
        b64(header.to_string().as_bytes()),
        b64(claims.to_string().as_bytes()),
        b64(signature)
    )
}

#[derive(Clone)]
pub struct Request {
    pub method: &'static str,
    pub path: String,
    pub headers: Vec<(String, String)>,
}

impl Request {
    pub fn get(path: &str) -> Self {
        Self {
            method: "GET",
            path: path.to_owned(),
            headers: Vec::new(),
        }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }
}

pub fn bearer(token: &str) -> Request {
    Request::get("/rest/orders").bearer(token)
}

/// The value the decision sets for a header.
pub fn set<'a>(allow: &'a Allow, name: &str) -> Option<&'a str> {
    allow
        .set
        .iter()
        .find(|(n, _)| &**n == name)
        .map(|(_, v)| &**v)
}

pub fn removed(allow: &Allow) -> Vec<&str> {
    allow
        .remove
        .iter()
        .map(|n| std::str::from_utf8(n).unwrap())
        .collect()
}

/// The audit event of a decision.
pub fn event(audit: Option<portcullis_core::audit::AuditLine>) -> Value {
    let line = audit
        .expect("an audit event")
        .finish(Duration::from_micros(12));
    assert!(!line.contains('\n'));
    serde_json::from_str(&line).unwrap()
}
