//! `static_token`: opaque bearer tokens, of which only digests reach the policy.

use std::rc::Rc;

use sha2::{Digest, Sha256};

use crate::config::compile::Compiler;
use crate::config::error::Problem;
use crate::config::hazard::Hazard;
use crate::config::read::{Many, Path, Secret, object};
use crate::identity::Identity;
use crate::policy::{ProviderKind, StaticTokenPolicy};

/// Shorter tokens can be guessed.
const GUESSABLE: usize = 16;

object! {
    /// Opaque bearer tokens and the identity of whoever presents one. At least one of `token_sha256`,
    /// `token_env` and `token`.
    pub struct StaticTokenSettings {
        /// SHA-256 of each accepted token in hexadecimal: `printf %s "$TOKEN" | sha256sum`.
        token_sha256: Many<String>,
        /// Environment variables of the proxy's VM that hold a token each.
        token_env: Many<String>,
        /// Tokens as such. Loads with a warning: a configuration is read by more people than a secret should be.
        token: Many<Secret>,
        /// Who presents the token.
        #[cfg_attr(feature = "schema", schemars(required))]
        identity: StaticIdentity,
    }
}

object! {
    /// The identity of whoever presents the token.
    pub struct StaticIdentity {
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

impl StaticTokenSettings {
    pub(super) fn compile(
        &self,
        at: &Path<'_>,
        compiler: &mut Compiler<'_>,
    ) -> Option<ProviderKind> {
        let mut digests = Vec::new();
        let listed = at.key("token_sha256");
        for (i, text) in list(self.token_sha256.as_ref()).iter().enumerate() {
            match parse_digest(text) {
                Ok(digest) => digests.push(digest),
                Err(problem) => compiler.error(&listed.index(i), problem),
            }
        }
        let listed = at.key("token_env");
        for (i, name) in list(self.token_env.as_ref()).iter().enumerate() {
            let at = listed.index(i);
            match compiler.variable(name).filter(|token| !token.is_empty()) {
                None => compiler.error(&at, Problem::MissingVariable { name: name.clone() }),
                Some(token) => digests.extend(digest(&token, &at, compiler)),
            }
        }
        let listed = at.key("token");
        for (i, token) in list(self.token.as_ref()).iter().enumerate() {
            digests.extend(digest(token.expose(), &listed.index(i), compiler));
        }
        if self.token.is_some() {
            compiler.warn(&listed, Hazard::LiteralSecret);
        }
        if digests.is_empty() {
            let keys = &["token_sha256", "token_env", "token"];
            compiler.error_after(at, Problem::NoneOf { keys });
        }
        let identity = self.identity(at, compiler);
        Some(ProviderKind::StaticToken(StaticTokenPolicy {
            token_sha256: digests,
            identity: Rc::new(identity?),
        }))
    }

    fn identity(&self, at: &Path<'_>, compiler: &mut Compiler<'_>) -> Option<Identity> {
        let identity = compiler.required(self.identity.as_ref(), &at.key("identity"))?;
        let at = at.key("identity");
        Some(Identity {
            user_id: compiler
                .required(identity.user_id.as_deref(), &at.key("user_id"))?
                .into(),
            email: identity.email.as_deref().map(Rc::from),
            org_id: identity.org_id.as_deref().map(Rc::from),
            workspace_id: identity.workspace_id.as_deref().map(Rc::from),
            groups: identity.groups.clone().map(|g| g.0).unwrap_or_default(),
        })
    }
}

fn list<T>(many: Option<&Many<T>>) -> &[T] {
    many.map_or(&[], |m| m.0.as_slice())
}

fn digest(token: &str, at: &Path<'_>, compiler: &mut Compiler<'_>) -> Option<[u8; 32]> {
    if !token.bytes().all(|b| b.is_ascii_graphic()) {
        compiler.error(at, Problem::BadToken);
        return None;
    }
    if token.len() < GUESSABLE {
        compiler.warn(at, Hazard::ShortToken);
    }
    Some(Sha256::digest(token).into())
}

fn parse_digest(text: &str) -> Result<[u8; 32], Problem> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text).as_bytes();
    let mut out = [0; 32];
    if hex.len() != 64 {
        return Err(Problem::BadDigest);
    }
    for (byte, pair) in out.iter_mut().zip(hex.chunks_exact(2)) {
        let digit = |c: &u8| char::from(*c).to_digit(16);
        let value = match pair {
            [high, low] => digit(high).zip(digit(low)),
            _ => None,
        };
        let (high, low) = value.ok_or(Problem::BadDigest)?;
        *byte = (high * 16 + low) as u8;
    }
    let nothing: [u8; 32] = Sha256::digest(b"").into();
    if out == nothing {
        return Err(Problem::DigestOfNothing);
    }
    Ok(out)
}
