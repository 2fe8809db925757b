//! Sign-in with an OpenID provider: authorization code with PKCE, by the `openidconnect` crate.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreErrorResponseType, CoreGenderClaim, CoreJsonWebKey,
    CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreProviderMetadata,
    CoreResponseType, CoreRevocableToken, CoreRevocationErrorResponse,
    CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::{
    AdditionalClaims, AuthenticationFlow, AuthorizationCode, Client, ClientId, ClientSecret,
    CsrfToken, EmptyExtraTokenFields, HttpRequest, HttpResponse, IdTokenFields, IssuerUrl, Nonce,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope, StandardErrorResponse,
    StandardTokenResponse,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Mutex;

use crate::options::OidcOptions;
use crate::problem::Problem;
use crate::secret;
use crate::store::Store;

/// How long what the provider says of itself is taken for true; its keys may change.
const FRESH: Duration = Duration::from_secs(600);

/// Longest answer of the provider's.
const MAX_ANSWER: u64 = 1 << 20;

/// The provider, as far as it is known.
pub struct Oidc {
    options: OidcOptions,
    redirect_url: String,
    metadata: Mutex<Option<(Instant, CoreProviderMetadata)>>,
}

/// Someone the provider vouches for.
pub struct SignedIn {
    /// As `person_claim` names them.
    pub person: String,
    /// Their groups.
    pub groups: Vec<String>,
}

/// Whatever else the ID token says.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Claims {
    #[serde(flatten)]
    all: HashMap<String, Value>,
}

impl AdditionalClaims for Claims {}

type Tokens = StandardTokenResponse<
    IdTokenFields<
        Claims,
        EmptyExtraTokenFields,
        CoreGenderClaim,
        CoreJweContentEncryptionAlgorithm,
        CoreJwsSigningAlgorithm,
    >,
    CoreTokenType,
>;

/// The client's type has eighteen parameters, some of which say what has been set; a macro need not name them.
macro_rules! client {
    ($self:ident, $metadata:expr) => {{
        let redirect = RedirectUrl::new($self.redirect_url.clone()).map_err(|error| {
            tracing::error!(%error, "the public URL is none");
            Problem::Unavailable
        })?;
        Client::<
            Claims,
            CoreAuthDisplay,
            CoreGenderClaim,
            CoreJweContentEncryptionAlgorithm,
            CoreJsonWebKey,
            CoreAuthPrompt,
            StandardErrorResponse<CoreErrorResponseType>,
            Tokens,
            CoreTokenIntrospectionResponse,
            CoreRevocableToken,
            CoreRevocationErrorResponse,
            _, _, _, _, _, _,
        >::from_provider_metadata(
            $metadata,
            ClientId::new($self.options.client_id.clone()),
            $self.options.client_secret.clone().map(ClientSecret::new),
        )
        .set_redirect_uri(redirect)
    }};
}

impl Oidc {
    /// Asks the provider for nothing yet.
    pub fn new(options: OidcOptions, public_url: &str) -> Self {
        Self {
            options,
            redirect_url: format!("{public_url}/signin/callback"),
            metadata: Mutex::new(None),
        }
    }

    /// Where to send the browser, and the state that it must come back with.
    pub async fn begin(&self, store: &Store) -> Result<(String, String), Problem> {
        let metadata = self.metadata().await?;
        let client = client!(self, metadata);
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let (state, state_hash) = secret::token().ok_or(Problem::Unavailable)?;
        let (nonce, _) = secret::token().ok_or(Problem::Unavailable)?;
        let (sent_state, sent_nonce) = (state.clone(), nonce.clone());
        let mut request = client
            .authorize_url(
                AuthenticationFlow::<CoreResponseType>::AuthorizationCode,
                move || CsrfToken::new(sent_state),
                move || Nonce::new(sent_nonce),
            )
            .set_pkce_challenge(challenge);
        for scope in &self.options.scopes {
            request = request.add_scope(Scope::new(scope.clone()));
        }
        let (url, _, _) = request.url();
        store
            .begin_sign_in(&state_hash, &nonce, verifier.secret())
            .await?;
        Ok((url.to_string(), state))
    }

    /// What comes of the code that the browser came back with.
    pub async fn finish(
        &self,
        store: &Store,
        state: &str,
        code: String,
    ) -> Result<SignedIn, Problem> {
        let begun = store.take_sign_in(&secret::digest(state)).await?;
        let begun = begun.ok_or(Problem::Forbidden("this sign-in has expired; begin again"))?;
        let metadata = self.metadata().await?;
        let client = client!(self, metadata);
        let request = client
            .exchange_code(AuthorizationCode::new(code))
            .map_err(|error| {
                tracing::warn!(%error, "the OpenID provider names no token endpoint");
                Problem::Unavailable
            })?;
        let tokens: Tokens = request
            .set_pkce_verifier(PkceCodeVerifier::new(begun.verifier))
            .request_async(&send)
            .await
            .map_err(|error| {
                // The error may hold the provider's answer, but no token of ours.
                tracing::warn!(error = %words(&error), "the OpenID provider did not take the code");
                Problem::Forbidden(
                    "the identity provider did not confirm this sign-in; begin again",
                )
            })?;
        let refused = Problem::Forbidden("the identity provider's answer is not good; begin again");
        let Some(id_token) = tokens.extra_fields().id_token() else {
            return Err(refused);
        };
        let claims = match id_token.claims(&client.id_token_verifier(), &Nonce::new(begun.nonce)) {
            Ok(claims) => claims,
            Err(error) => {
                // Its keys may have changed since.
                *self.metadata.lock().await = None;
                tracing::warn!(error = %words(&error), "an ID token is not good");
                return Err(refused);
            }
        };
        let other = &claims.additional_claims().all;
        let person = match self.options.person_claim.as_str() {
            "sub" => Some(claims.subject().to_string()),
            "email" => {
                // Whoever can write any address into their profile must not become somebody else.
                if claims.email_verified() != Some(true) {
                    return Err(Problem::Forbidden(
                        "the identity provider has not verified this e-mail address",
                    ));
                }
                claims.email().map(|e| e.to_lowercase())
            }
            "preferred_username" => claims.preferred_username().map(|n| n.to_string()),
            name => other.get(name).and_then(Value::as_str).map(str::to_owned),
        };
        let person =
            person.filter(|p| !p.is_empty() && p.len() <= 256 && !p.chars().any(char::is_control));
        let person = person.ok_or(Problem::Forbidden(
            "the identity provider does not say who this is",
        ))?;
        let groups = match other.get(&self.options.groups_claim) {
            Some(Value::Array(all)) => all
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            Some(Value::String(one)) => vec![one.clone()],
            _ => Vec::new(),
        };
        Ok(SignedIn { person, groups })
    }

    async fn metadata(&self) -> Result<CoreProviderMetadata, Problem> {
        let mut known = self.metadata.lock().await;
        if let Some((at, metadata)) = &*known
            && at.elapsed() < FRESH
        {
            return Ok(metadata.clone());
        }
        let issuer = IssuerUrl::new(self.options.issuer.clone()).map_err(|error| {
            tracing::error!(%error, "the OpenID issuer is no URL");
            Problem::Unavailable
        })?;
        match CoreProviderMetadata::discover_async(issuer, &send).await {
            Ok(metadata) => {
                *known = Some((Instant::now(), metadata.clone()));
                Ok(metadata)
            }
            Err(error) => {
                tracing::warn!(error = %words(&error), "can't ask the OpenID provider who it is");
                Err(Problem::Unavailable)
            }
        }
    }
}

/// An error and what it comes from.
fn words(error: &dyn std::error::Error) -> String {
    let mut out = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        out = format!("{out}: {cause}");
        source = cause.source();
    }
    out
}

/// What went wrong on the way to the provider.
#[derive(Debug)]
struct SendError(String);

impl std::fmt::Display for SendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SendError {}

/// One request to the provider: no redirects, which could lead it elsewhere.
async fn send(request: HttpRequest) -> Result<HttpResponse, SendError> {
    let work = move || -> Result<HttpResponse, SendError> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(10)))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .build()
            .into();
        let answer = agent.run(request).map_err(|e| SendError(e.to_string()))?;
        let (head, mut body) = answer.into_parts();
        let body = body.with_config().limit(MAX_ANSWER).read_to_vec();
        let body = body.map_err(|e| SendError(e.to_string()))?;
        Ok(HttpResponse::from_parts(head, body))
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| SendError(e.to_string()))?
}
