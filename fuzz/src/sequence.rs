//! A life of the filter: configurations, requests and replies in any order, late, twice, never, streams destroyed.
//!
//! `data` is read as a plan. Two root contexts share the stores of one VM, as on a proxy; signatures are believed when
//! they say so, which is how the fuzzer gets past them. What must hold, whatever happens:
//!
//! * whoever is let in was entitled: signature, time, audience, and a key of the issuer's set in force; or the word of STS;
//! * a request is judged by the policy it began under, and leaves one audit event, with a number of its own;
//! * a held request ends, at its deadline at the latest, and its deadline does not move;
//! * every question to STS ends, and nothing that happened keeps a good issuer's callers out for good.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use portcullis_core::audit::AuditLine;
use portcullis_core::authenticator::{BackgroundCallout, NeedCallout, Purpose};
use portcullis_core::callout::{CalloutFailure, CalloutReply, HttpResponse};
use portcullis_core::config;
use portcullis_core::decision::{Decision, Step};
use portcullis_core::jose::{Algorithm, BadSignature, PublicKey, SignatureVerifier, base64url};
use portcullis_core::keys::source::FetchOutcome;
use portcullis_core::metrics::Id;
use portcullis_core::policy::Policy;
use portcullis_core::reason::Code;
use portcullis_core::request::RequestHead;
use portcullis_core::time::UnixTime;
use portcullis_core::{Authenticator, Stores};
use serde_json::{Value, json};

/// Steps of one life; more find nothing that these don't.
const MAX_STEPS: usize = 400;
const SKEW: u64 = 10;
const KEY: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const AUDIENCE: &str = "api://agents";

/// `data` as a plan.
pub fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let mut life = Life::new();
    for _ in 0..MAX_STEPS {
        if u.is_empty() || life.step(&mut u).is_err() {
            break;
        }
    }
    life.end();
}

/// Believes a signature that says so.
struct NoSecurity;

impl SignatureVerifier for NoSecurity {
    fn verify(
        &self,
        _: Algorithm,
        _: &PublicKey,
        _: &[u8],
        signature: &[u8],
    ) -> std::result::Result<(), BadSignature> {
        if signature[0] == 1 {
            Ok(())
        } else {
            Err(BadSignature)
        }
    }
}

/// The issuers there are; the first two are asked for their keys.
const ISSUERS: [&str; 3] = [
    "https://a.example",
    "https://b.example",
    "https://c.example",
];
/// In place of an issuer: AWS, whose STS is asked about every caller.
const STS: usize = 3;
/// Seconds that a presigned request is good.
const PRESIGNED: u64 = 900;

fn configuration(number: usize) -> Value {
    let oidc = |issuer: usize, more: Value| {
        let mut settings = json!({"issuer": ISSUERS[issuer], "audience": AUDIENCE, "clock_skew": format!("{SKEW}s"), "jwks_cache_ttl": "5m"});
        settings
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!({"type": "oidc", "name": format!("p{issuer}"), "settings": settings})
    };
    let by_discovery = oidc(0, json!({}));
    let by_url = oidc(1, json!({"jwks_url": "https://b.example/keys"}));
    let inline = oidc(2, json!({"jwks": jwks(&[0, 1])}));
    let sts = json!({"type": "aws_sigv4", "name": "p3", "settings": {
        "region": "eu-west-1", "allowed_accounts": "123456789012", "identity_cache_ttl": "60s", "clock_skew": "0s"}});
    let (providers, required) = match number {
        0 => (vec![by_discovery, by_url, inline, sts], true),
        1 => (vec![by_url], true),
        2 => (vec![inline, by_discovery], false),
        _ => (vec![inline, sts], true),
    };
    let mut config = json!({
        "auth": {"providers": providers, "required": required, "skip": ["GET /healthz"]},
        "callouts": {"timeout": "5s"},
        "limits": {"jwks_grace": "2m", "unknown_kids": 2, "cached_tokens": 4, "failed_tokens": 4, "lookups": 16, "lookups_in_flight": 2},
    });
    if number == 1 {
        config["limits"] =
            json!({"jwks_grace": "0s", "cached_tokens": 0, "unknown_kid_interval": "1s"});
    }
    config
}

const CONFIGURATIONS: usize = 4;

fn load(number: usize) -> Policy {
    let text = configuration(number).to_string();
    config::load(text.as_bytes(), &|_| None)
        .expect("a good configuration")
        .0
}

fn jwks(kids: &[u8]) -> String {
    let keys: Vec<Value> = kids
        .iter()
        .map(|kid| json!({"kty": "OKP", "crv": "Ed25519", "kid": format!("k{kid}"), "x": KEY}))
        .collect();
    json!({ "keys": keys }).to_string()
}

/// What a caller presents.
#[derive(Clone, Debug)]
struct Caller {
    issuer: usize,
    kid: u8,
    genuine: bool,
    audience: bool,
    expires: u64,
}

impl Caller {
    fn token(&self) -> String {
        if self.issuer == STS {
            return format!(
                "k8s-aws-v1.{}",
                base64url::encode(self.presigned().as_bytes())
            );
        }
        let header = json!({"alg": "EdDSA", "kid": format!("k{}", self.kid)});
        let audience = if self.audience {
            AUDIENCE
        } else {
            "api://payroll"
        };
        let claims = json!({"iss": ISSUERS[self.issuer], "aud": audience, "sub": "alice", "exp": self.expires});
        let part = |v: &Value| base64url::encode(v.to_string().as_bytes());
        format!(
            "{}.{}.{}",
            part(&header),
            part(&claims),
            base64url::encode(&[u8::from(self.genuine); 64])
        )
    }
}

impl Caller {
    fn presigned(&self) -> String {
        let date = UnixTime::from_secs(self.expires.saturating_sub(PRESIGNED))
            .to_string()
            .replace(['-', ':'], "")
            .replace(".000Z", "Z");
        format!(
            "https://sts.eu-west-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256\
             &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F{}%2Feu-west-1%2Fsts%2Faws4_request&X-Amz-Date={date}\
             &X-Amz-Expires={PRESIGNED}&X-Amz-SignedHeaders=host&X-Amz-Signature={}",
            &date[..8],
            format!("{:02x}", self.kid).repeat(32)
        )
    }
}

fn sts_says(account: &str) -> String {
    json!({"GetCallerIdentityResponse": {
        "GetCallerIdentityResult": {"Account": account, "Arn": format!("arn:aws:iam::{account}:user/alice"), "UserId": "AIDAEXAMPLE"},
        "ResponseMetadata": {"RequestId": "r"}}})
    .to_string()
}

/// What a request presents, and under which configuration it began.
#[derive(Clone, Debug)]
struct Request {
    caller: Option<Caller>,
    skipped: bool,
    number: usize,
    version: String,
    began: UnixTime,
}

struct Held {
    root: usize,
    need: NeedCallout,
    request: Request,
    deadline: UnixTime,
}

struct Root {
    auth: Authenticator,
    number: usize,
}

struct Life {
    now: UnixTime,
    roots: Vec<Root>,
    held: Vec<Held>,
    /// Callouts that were sent, answered or not: a host may answer late, twice or never.
    sent: Vec<(usize, BackgroundCallout)>,
    ids: BTreeSet<(usize, u64)>,
    /// The kids in force by key source, as the filter has told the other workers.
    in_force: BTreeMap<String, BTreeSet<String>>,
    documents: Vec<(String, Vec<u8>)>,
    /// The presigned requests that STS has vouched for, and when last.
    vouched: BTreeMap<String, UnixTime>,
    numbers: BTreeSet<u64>,
}

impl Life {
    fn new() -> Self {
        let now = UnixTime::from_secs(1_800_000_000);
        let stores = Stores::new(7);
        let verifier: Rc<dyn SignatureVerifier> = Rc::new(NoSecurity);
        let root = |number| Root {
            auth: Authenticator::new(load(number), stores.clone(), verifier.clone(), now),
            number,
        };
        Self {
            now,
            roots: vec![root(0), root(2)],
            held: Vec::new(),
            sent: Vec::new(),
            ids: BTreeSet::new(),
            in_force: BTreeMap::new(),
            documents: Vec::new(),
            vouched: BTreeMap::new(),
            numbers: BTreeSet::new(),
        }
    }

    fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let root = usize::from(u.ratio(1, 4)?);
        match u.int_in_range(0..=11)? {
            0..=2 => {
                let request = self.request(root, u)?;
                self.begin(root, request);
            }
            3 => self.poll(root),
            4 | 5 => self.reply(u)?,
            6 => {
                let seconds = *u.choose(&[0_u64, 1, 4, 5, 6, 30, 61, 240, 301, 430])?;
                self.now = self.now + Duration::from_secs(seconds);
            }
            7 => self.resume_ready(),
            8 => self.meddle(u)?,
            9 => {
                let number = u.choose_index(CONFIGURATIONS)?;
                self.roots[root].auth.reload(load(number), self.now);
                self.roots[root].number = number;
            }
            10 => self.defer(u)?,
            _ => self.news(root, u)?,
        }
        self.finished();
        Ok(())
    }

    fn request(&self, root: usize, u: &mut Unstructured<'_>) -> Result<Request> {
        let caller = if u.ratio(9, 10)? {
            let after = *u.choose(&[600_i64, 5, 0, -5, -20, 100_000])?;
            Some(Caller {
                issuer: u.choose_index(STS + 1)?,
                kid: u.int_in_range(0..=3)?,
                genuine: u.ratio(3, 4)?,
                audience: u.ratio(7, 8)?,
                expires: self.now.as_secs().saturating_add_signed(after),
            })
        } else {
            None
        };
        Ok(Request {
            caller,
            skipped: u.ratio(1, 16)?,
            number: self.roots[root].number,
            began: self.now,
            version: self.roots[root].auth.policy().version.to_string(),
        })
    }

    fn begin(&mut self, root: usize, request: Request) {
        let value = request
            .caller
            .as_ref()
            .map(|c| format!("Bearer {}", c.token()));
        let headers: Vec<(&[u8], &[u8])> = value
            .iter()
            .map(|v| (b"authorization".as_slice(), v.as_bytes()))
            .collect();
        let head = RequestHead {
            method: b"GET",
            path: if request.skipped {
                b"/healthz"
            } else {
                b"/rest/orders"
            },
            authority: b"agents.example",
            headers: &headers,
            remote_addr: None,
        };
        let step = self.roots[root].auth.begin(&head, self.now);
        self.finished();
        match step {
            Step::Done(decision) => self.ended(&request, decision),
            Step::NeedCallout(need) => {
                let deadline = need.deadline();
                assert_eq!(deadline, self.now + Duration::from_secs(5));
                self.held.push(Held {
                    root,
                    need,
                    request,
                    deadline,
                });
            }
            Step::NeedBody(_) => panic!("nobody signs a body here"),
        }
    }

    /// Sends whatever is due.
    fn poll(&mut self, root: usize) {
        for n in 0.. {
            let Some(callout) = self.roots[root].auth.poll_callout(self.now) else {
                break;
            };
            assert!(n < 8 + self.held.len(), "asks for ever");
            assert!(self.ids.insert((root, callout.id.0)), "an id twice");
            self.sent.push((root, callout));
        }
        self.finished();
    }

    fn reply(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        if self.sent.is_empty() {
            return Ok(());
        }
        // Any of them, as often as it likes; the latest is the likeliest.
        let back = u.choose_index(self.sent.len().min(8))?;
        let place = self.sent.len() - 1 - back;
        let kids: Vec<u8> = (0..3).filter(|_| u.ratio(1, 2).unwrap_or(true)).collect();
        let (root, callout) = &self.sent[place];
        let discovery = callout.callout.path.ends_with("openid-configuration");
        let lookup = matches!(callout.purpose, Purpose::Lookup(_));
        let good = if lookup {
            sts_says("123456789012")
        } else if discovery {
            json!({"issuer": ISSUERS[0], "jwks_uri": "https://a.example/keys"}).to_string()
        } else {
            jwks(&kids)
        };
        let (status, body) = match u.int_in_range(0..=9)? {
            0..=5 => (200, good),
            6 => (500, good),
            7 => (304, String::new()),
            8 => (
                200,
                json!({"issuer": ISSUERS[1], "jwks_uri": "https://evil.example/", "keys": []})
                    .to_string(),
            ),
            _ => (0, String::new()),
        };
        let body = if lookup && body.contains("evil") {
            sts_says("210987654321")
        } else {
            body
        };
        if lookup && status == 200 && body.contains("123456789012") {
            self.vouched.insert(callout.callout.path.clone(), self.now);
        }
        let etag: [(&[u8], &[u8]); 2] =
            [(b"etag", b"\"1\""), (b"content-type", b"application/json")];
        let reply = if status == 0 {
            CalloutReply::Failed(CalloutFailure::NoResponse)
        } else {
            CalloutReply::Response(HttpResponse {
                status,
                headers: &etag,
                body: body.as_bytes(),
            })
        };
        self.roots[*root].auth.reply(callout.id, reply, self.now);
        self.finished();
        Ok(())
    }

    /// Takes note of what the filter would tell the other workers.
    fn finished(&mut self) {
        for root in &mut self.roots {
            while let Some(finished) = root.auth.poll_finished() {
                if let FetchOutcome::Fetched { document, .. } = finished.outcome {
                    self.in_force
                        .insert(finished.source.clone(), kids(&document));
                    self.documents.push((finished.source, document));
                }
            }
        }
    }

    /// Another worker's news, old ones among them, and some that are none.
    fn news(&mut self, root: usize, u: &mut Unstructured<'_>) -> Result<()> {
        let auth = &mut self.roots[root].auth;
        let sources = auth.sources();
        if sources.is_empty() {
            return Ok(());
        }
        let source = &sources[u.choose_index(sources.len())?].source;
        if self.documents.is_empty() || u.ratio(1, 3)? {
            if u.arbitrary()? {
                let garbage: Vec<u8> = u.arbitrary()?;
                assert!(!auth.adopt(source, &garbage, self.now) || garbage.len() > 60);
            } else {
                auth.peer_failed(source, self.now + Duration::from_secs(3), self.now);
            }
            return Ok(());
        }
        let (of, document) = &self.documents[u.choose_index(self.documents.len())?];
        if auth.adopt(source, document, self.now) {
            assert_eq!(source, of, "another source's keys were taken");
            self.in_force.insert(source.clone(), kids(document));
        }
        Ok(())
    }

    fn defer(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        if let Some((root, callout)) = self.sent.last() {
            let until = self.now + Duration::from_secs(u.int_in_range(0..=20)?);
            self.roots[*root].auth.defer(callout.id, until);
        }
        Ok(())
    }

    fn resume_ready(&mut self) {
        for held in std::mem::take(&mut self.held) {
            if held.need.ready(&self.roots[held.root].auth, self.now) {
                self.resume(held);
            } else {
                assert!(self.now < held.deadline, "past its deadline and not ready");
                self.held.push(held);
            }
        }
    }

    fn resume(&mut self, held: Held) {
        let step = held.need.resume(&mut self.roots[held.root].auth, self.now);
        self.finished();
        match step {
            Step::Done(decision) => self.ended(&held.request, decision),
            Step::NeedCallout(need) => {
                assert!(self.now < held.deadline, "held beyond its deadline");
                assert_eq!(need.deadline(), held.deadline, "the deadline moved");
                self.held.push(Held { need, ..held });
            }
            Step::NeedBody(_) => panic!("nobody signs a body here"),
        }
    }

    /// One held request is resumed too early, given up by the host, or destroyed.
    fn meddle(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let place = u.choose_index(self.held.len())?;
        let held = self.held.swap_remove(place);
        match u.int_in_range(0..=2)? {
            0 => self.resume(held),
            1 => {
                let auth = &mut self.roots[held.root].auth;
                match held.need.abandon(auth, Code::TooManyWaiting, self.now) {
                    Step::Done(decision @ Decision::Deny(_)) => self.ended(&held.request, decision),
                    other => panic!("given up, and {other:?}"),
                }
            }
            _ => {
                let auth = &mut self.roots[held.root].auth;
                let line = held.need.cancelled_audit(auth, self.now);
                let event = self.audited(&held.request, line);
                assert_eq!(event["fields"]["code"], "cancelled");
            }
        }
        Ok(())
    }

    fn ended(&mut self, request: &Request, decision: Decision) {
        match decision {
            Decision::Allow(allow) => {
                if request.skipped {
                    assert!(allow.audit.is_none(), "a skipped request was audited");
                    assert!(allow.set.is_empty(), "a skipped request has an identity");
                    return;
                }
                let event = self.audited(request, allow.audit);
                assert_eq!(event["event"], "auth_verify");
                let user = allow.set.iter().find(|(n, _)| &**n == "x-auth-user-id");
                match &request.caller {
                    None => {
                        assert_eq!(
                            request.number, 2,
                            "nobody was let in where somebody is required"
                        );
                        assert!(user.is_none());
                    }
                    Some(caller) => {
                        self.entitled(request, caller);
                        assert!(user.is_some_and(|(_, v)| v.contains("alice")));
                        assert_eq!(
                            event["fields"]["provider_name"],
                            format!("p{}", caller.issuer)
                        );
                    }
                }
            }
            Decision::Limited(_) => panic!("nobody presents a key"),
            Decision::Deny(denial) => {
                assert!(!request.skipped, "a skipped request was refused");
                assert!(matches!(denial.status, 401 | 403 | 503));
                let event = self.audited(request, denial.audit);
                assert_eq!(event["event"], "auth_fail");
                assert_eq!(event["fields"]["code"], denial.code.as_str());
            }
        }
    }

    fn entitled(&self, request: &Request, caller: &Caller) {
        if caller.issuer == STS {
            assert!(
                matches!(request.number, 0 | 3),
                "let in by a provider that its configuration does not have"
            );
            let url = caller.presigned();
            let path = &url[url.find("/?").expect("a query")..];
            let at = self
                .vouched
                .get(path)
                .unwrap_or_else(|| panic!("STS has not vouched for {path}"));
            assert!(
                request.began <= *at || self.now <= *at + Duration::from_secs(60),
                "an old answer of STS was believed"
            );
            assert!(
                self.now.as_secs() < caller.expires,
                "an expired presigned request was let in"
            );
            return;
        }
        assert!(caller.genuine, "a forged token was let in: {caller:?}");
        assert!(
            caller.audience,
            "another audience's token was let in: {caller:?}"
        );
        assert!(
            self.now.as_secs() < caller.expires + SKEW,
            "an expired token was let in: {caller:?}"
        );
        let kid = format!("k{}", caller.kid);
        let known = match (request.number, caller.issuer) {
            (0 | 2 | 3, 2) => kid == "k0" || kid == "k1",
            // The source's name begins with its issuer.
            (0 | 2, 0) | (0 | 1, 1) => self.in_force.iter().any(|(source, kids)| {
                source.starts_with(ISSUERS[caller.issuer]) && kids.contains(&kid)
            }),
            _ => panic!("let in by a provider that its configuration does not have: {caller:?}"),
        };
        assert!(known, "no key in force of {caller:?}");
    }

    /// The one event of a request that has ended.
    fn audited(&mut self, request: &Request, line: Option<AuditLine>) -> Value {
        let line = line.expect("an audit event").finish(Duration::ZERO);
        if let Some(caller) = &request.caller {
            let token = caller.token();
            assert!(
                !line.contains(token.rsplit('.').next().unwrap()),
                "the event holds the credential"
            );
        }
        let event: Value = serde_json::from_str(&line).expect("an event is JSON");
        assert!(
            self.numbers
                .insert(event["seq"].as_u64().expect("a number")),
            "two events of one number"
        );
        assert_eq!(
            event["fields"]["config_version"], request.version,
            "judged by another policy"
        );
        event
    }

    /// Whatever has happened: held requests end, and good issuers' callers get in again.
    fn end(&mut self) {
        self.now = self.now + Duration::from_secs(5);
        self.resume_ready();
        assert!(self.held.is_empty(), "held for ever");
        self.roots[0].auth.reload(load(0), self.now);
        self.roots[0].number = 0;
        for _ in 0..4 {
            // Longer than a lease, a backoff and the time that a set is fresh.
            self.now = self.now + Duration::from_secs(500);
            self.serve_all();
        }
        let gauges = self.roots[0].auth.gauges(self.now);
        let open = gauges.iter().find(|(id, _)| *id == Id::LookupsOpen);
        assert_eq!(
            open.map(|(_, n)| *n),
            Some(0),
            "questions that nobody will answer"
        );
        for issuer in 0..=STS {
            let expires = self.now.as_secs() + 60;
            let caller = Caller {
                issuer,
                kid: 1,
                genuine: true,
                audience: true,
                expires,
            };
            let token = format!("Bearer {}", caller.token());
            let head = RequestHead {
                method: b"GET",
                path: b"/rest/orders",
                authority: b"h",
                headers: &[(b"authorization", token.as_bytes())],
                remote_addr: None,
            };
            let step = match self.roots[0].auth.begin(&head, self.now) {
                Step::NeedCallout(need) if issuer == STS => {
                    self.serve_all();
                    need.resume(&mut self.roots[0].auth, self.now)
                }
                step => step,
            };
            assert!(
                matches!(step, Step::Done(Decision::Allow(_))),
                "kept out for good: {step:?}"
            );
        }
    }

    /// Answers whatever is asked, well.
    fn serve_all(&mut self) {
        while let Some(callout) = self.roots[0].auth.poll_callout(self.now) {
            let body = if matches!(callout.purpose, Purpose::Lookup(_)) {
                sts_says("123456789012")
            } else if callout.callout.path.ends_with("openid-configuration") {
                json!({"issuer": ISSUERS[0], "jwks_uri": "https://a.example/keys"}).to_string()
            } else {
                jwks(&[0, 1, 2, 3])
            };
            let reply = CalloutReply::Response(HttpResponse {
                status: 200,
                headers: &[(b"content-type", b"application/json")],
                body: body.as_bytes(),
            });
            self.roots[0].auth.reply(callout.id, reply, self.now);
        }
        self.finished();
    }
}

fn kids(document: &[u8]) -> BTreeSet<String> {
    let shared: Value = serde_json::from_slice(document).expect("a document for other workers");
    let set: Value =
        serde_json::from_str(shared["keys"].as_str().expect("a set's text")).expect("a key set");
    let keys = set["keys"].as_array().expect("a list");
    keys.iter()
        .filter_map(|k| k["kid"].as_str().map(str::to_owned))
        .collect()
}
