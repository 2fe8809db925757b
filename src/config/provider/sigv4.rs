//! `sigv4`: requests signed with AWS Signature Version 4.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::config::compile::{Compiler, HOUR, MINUTE, SECOND};
use crate::config::error::Problem;
use crate::config::hazard::Hazard;
use crate::config::read::{Many, Path, Secret, Span, choice, object};
use crate::identity::Identity;
use crate::policy::{AccessKey, ProviderKind, SigV4Policy};
use crate::sigv4::canonical::PathRules;
use crate::sigv4::signing;

/// Shorter secrets can be guessed; those of AWS have 40 characters.
const GUESSABLE: usize = 16;

/// As much as Envoy holds back of a request by default.
const DEFAULT_BODY_BYTES: usize = 1 << 20;

object! {
    /// Requests that are themselves signed with AWS Signature Version 4, by access keys that are given here:
    /// `Authorization: AWS4-HMAC-SHA256 …` or a presigned query. Bodies are hashed before anything is passed on; Envoy shows them only
    /// with `allow_on_headers_stop_iteration: true` in the plugin's configuration.
    pub struct SigV4Settings {
        /// The service that requests are signed for, such as `execute-api`, or a name of your own.
        #[cfg_attr(feature = "schema", schemars(required))]
        service: String,
        /// The region or regions that requests are signed for.
        #[cfg_attr(feature = "schema", schemars(required))]
        region: Many<String>,
        /// The access keys, and who signs with each.
        #[cfg_attr(feature = "schema", schemars(required))]
        credentials: Vec<AccessKeyConfig>,
        /// Leeway for a request's date, both ways: `0s` to `15m`.
        clock_skew: Span = "5m",
        /// The longest `X-Amz-Expires` of a presigned request: `1s` to `7d`.
        max_expires: Span = "15m",
        /// Bytes of a body that are hashed: 0 to 67108864. A longer one is answered with 413. The proxy must be able to hold as much
        /// back; on Envoy that is `per_connection_buffer_limit_bytes` of the listener, 1 MiB by default.
        max_body_bytes: u64 = 1048576,
        /// Whether a request may leave its body out of its signature, as `UNSIGNED-PAYLOAD`.
        unsigned_payload: UnsignedPayload = "deny",
        /// Remove empty, `.` and `..` segments from the path before it is compared. `false` for the service `s3`.
        normalize_path: bool = true,
        /// The path is encoded once more than on the wire. `false` for the service `s3`.
        double_encode: bool = true,
    }
}

object! {
    /// An access key, and who signs with it.
    pub struct AccessKeyConfig {
        /// The access key id, such as `AKIAIOSFODNN7EXAMPLE`. Not secret.
        #[cfg_attr(feature = "schema", schemars(required))]
        access_key_id: String,
        /// The environment variable of the proxy's VM that holds the secret access key. This or `secret_access_key`.
        secret_env: String,
        /// The secret access key as such. Loads with a warning: a configuration is read by more people than a secret should be.
        secret_access_key: Secret,
        /// The session token that comes with temporary credentials; every request must then bring it.
        session_token: Secret,
        /// The stable name of the caller.
        #[cfg_attr(feature = "schema", schemars(required))]
        user_id: String,
        /// An e-mail address.
        email: String,
        /// An organisation.
        org_id: String,
        /// A workspace.
        workspace_id: String,
        /// Groups.
        groups: Many<String>,
    }
}

choice! {
    /// Whether bodies may be unsigned.
    pub enum UnsignedPayload = "deny or allow" {
        /// Refuse them.
        Deny = "deny",
        /// Let them in.
        Allow = "allow",
    }
}

impl SigV4Settings {
    pub(super) fn compile(
        &self,
        at: &Path<'_>,
        compiler: &mut Compiler<'_>,
    ) -> Option<ProviderKind> {
        let service = compiler.required(self.service.clone(), &at.key("service"));
        if let Some(service) = &service {
            scope_part(service, &at.key("service"), compiler);
        }
        let regions = compiler.required(self.region.clone(), &at.key("region"));
        if let Some(Many(regions)) = &regions {
            let at = at.key("region");
            if regions.is_empty() {
                compiler.error_after(&at, Problem::EmptyList);
            }
            for (i, region) in regions.iter().enumerate() {
                scope_part(region, &at.index(i), compiler);
            }
        }
        let credentials = self.credentials(at, compiler);
        let skew_bounds = Duration::ZERO..=15 * MINUTE;
        let clock_skew = compiler.span(
            self.clock_skew,
            5 * MINUTE,
            skew_bounds,
            &at.key("clock_skew"),
        );
        let max_expires = compiler.span(
            self.max_expires,
            15 * MINUTE,
            SECOND..=7 * 24 * HOUR,
            &at.key("max_expires"),
        );
        let max_body_bytes = compiler.size(
            self.max_body_bytes,
            DEFAULT_BODY_BYTES,
            0..=64 << 20,
            &at.key("max_body_bytes"),
        );
        let allow_unsigned_payload = self.unsigned_payload == Some(UnsignedPayload::Allow);
        if allow_unsigned_payload {
            compiler.warn(&at.key("unsigned_payload"), Hazard::UnsignedPayload);
        }
        let service = service?;
        let is_s3 = service == "s3";
        Some(ProviderKind::SigV4(Box::new(SigV4Policy {
            regions: regions?.0,
            credentials: credentials?,
            nobody: AccessKey {
                secret: signing::Secret::new("nobody".to_owned()),
                session_token_sha256: None,
                identity: Rc::new(identity("nobody".to_owned(), &AccessKeyConfig::default())),
            },
            clock_skew,
            max_expires,
            max_body_bytes: u64::try_from(max_body_bytes).unwrap_or(u64::MAX),
            allow_unsigned_payload,
            path_rules: PathRules {
                normalize: self.normalize_path.unwrap_or(!is_s3),
                double_encode: self.double_encode.unwrap_or(!is_s3),
            },
            service,
        })))
    }

    fn credentials(
        &self,
        at: &Path<'_>,
        compiler: &mut Compiler<'_>,
    ) -> Option<BTreeMap<String, AccessKey>> {
        let at = at.key("credentials");
        let listed = compiler.required(self.credentials.as_ref(), &at)?;
        if listed.is_empty() {
            compiler.error_after(&at, Problem::EmptyList);
        }
        let mut first_at: BTreeMap<&str, usize> = BTreeMap::new();
        let mut credentials = BTreeMap::new();
        for (i, config) in listed.iter().enumerate() {
            let at_this = at.index(i);
            let id =
                compiler.required(config.access_key_id.as_ref(), &at_this.key("access_key_id"));
            if let Some(id) = id {
                let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
                if id.len() > 128 || !id.bytes().all(fine) {
                    compiler.error(&at_this.key("access_key_id"), Problem::BadAccessKeyId);
                }
                if let Some(first) = first_at.get(id.as_str()) {
                    let first = at.index(*first).key("access_key_id").to_string();
                    let problem = Problem::DuplicateAccessKeyId { first };
                    compiler.error(&at_this.key("access_key_id"), problem);
                } else {
                    first_at.insert(id, i);
                }
            }
            let access_key = config.compile(&at_this, compiler);
            if let (Some(id), Some(access_key)) = (id, access_key) {
                credentials.insert(id.clone(), access_key);
            }
        }
        Some(credentials)
    }
}

impl AccessKeyConfig {
    fn compile(&self, at: &Path<'_>, compiler: &mut Compiler<'_>) -> Option<AccessKey> {
        let secret = self.secret(at, compiler);
        let token = self.session_token.as_ref().map(Secret::expose);
        if let Some(token) = token {
            compiler.warn(&at.key("session_token"), Hazard::LiteralSecretKey);
            if !token.bytes().all(|b| b.is_ascii_graphic()) {
                compiler.error(&at.key("session_token"), Problem::BadToken);
            }
        }
        let user_id = compiler.required(self.user_id.clone(), &at.key("user_id"));
        for (key, value) in [
            ("user_id", &self.user_id),
            ("email", &self.email),
            ("org_id", &self.org_id),
            ("workspace_id", &self.workspace_id),
        ] {
            if let Some(value) = value {
                identity_part(value, &at.key(key), compiler);
            }
        }
        for (i, group) in self.groups.iter().flat_map(|g| &g.0).enumerate() {
            identity_part(group, &at.key("groups").index(i), compiler);
        }
        Some(AccessKey {
            secret: signing::Secret::new(secret?),
            session_token_sha256: token.map(|t| Sha256::digest(t).into()),
            identity: Rc::new(identity(user_id?, self)),
        })
    }

    fn secret(&self, at: &Path<'_>, compiler: &mut Compiler<'_>) -> Option<String> {
        let (key, secret) = match (&self.secret_env, &self.secret_access_key) {
            (Some(name), None) => {
                let secret = compiler.variable(name).filter(|s| !s.is_empty());
                if secret.is_none() {
                    let name = name.clone();
                    compiler.error(&at.key("secret_env"), Problem::MissingVariable { name });
                }
                ("secret_env", secret?)
            }
            (None, Some(secret)) => {
                compiler.warn(&at.key("secret_access_key"), Hazard::LiteralSecretKey);
                ("secret_access_key", secret.expose().to_owned())
            }
            _ => {
                let keys = &["secret_env", "secret_access_key"];
                compiler.error_after(at, Problem::NotExactlyOneOf { keys });
                return None;
            }
        };
        let at = at.key(key);
        if !secret.bytes().all(|b| b.is_ascii_graphic()) {
            compiler.error(&at, Problem::BadSecretKey);
        }
        if secret.len() < GUESSABLE {
            compiler.warn(&at, Hazard::ShortToken);
        }
        Some(secret)
    }
}

fn identity(user_id: String, config: &AccessKeyConfig) -> Identity {
    Identity {
        user_id: user_id.into(),
        email: config.email.as_deref().map(Rc::from),
        org_id: config.org_id.as_deref().map(Rc::from),
        workspace_id: config.workspace_id.as_deref().map(Rc::from),
        groups: config.groups.clone().map(|g| g.0).unwrap_or_default(),
    }
}

/// It becomes a header's value and a part of log lines.
fn identity_part(value: &str, at: &Path<'_>, compiler: &mut Compiler<'_>) {
    if value.len() > 2048 || value.chars().any(char::is_control) {
        compiler.error(at, Problem::BadIdentity);
    }
}

fn scope_part(value: &str, at: &Path<'_>, compiler: &mut Compiler<'_>) {
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if !value.bytes().all(fine) {
        compiler.error(at, Problem::BadScopePart);
    }
}
