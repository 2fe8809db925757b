//! `github_actions`: ID tokens of GitHub Actions jobs.

use super::common::{self, Ids};
use crate::config::compile::Compiler;
use crate::config::error::Problem;
use crate::config::hazard::Hazard;
use crate::config::read::{Many, Path, Span, object};
use crate::policy::{GithubPolicy, KeyOrigin, ProviderKind, RemoteKeys};
use crate::provider::github_actions::ISSUER;
use crate::url::without_slash;

/// Of these one at least must be there: the issuer makes tokens for every repository on earth.
const OWNERSHIP: &[&str] = &[
    "allowed_repository_ids",
    "allowed_owner_ids",
    "allowed_repositories",
];

object! {
    /// Jobs of GitHub Actions, by the ID token that each can ask GitHub for: no secret is stored anywhere. Of `allowed_repository_ids`,
    /// `allowed_owner_ids` and `allowed_repositories` one at least is needed, and all that are there must match.
    pub struct GithubActionsSettings {
        /// The audience or audiences of which a token must name one. A job chooses it when it asks for its token; take one of your own, not
        /// GitHub's default.
        #[cfg_attr(feature = "schema", schemars(required))]
        audience: Many<String>,
        /// The issuer: `https://HOST/_services/token` on GitHub Enterprise Server,
        /// `https://token.actions.githubusercontent.com/ENTERPRISE` for an enterprise with an issuer of its own.
        issuer: String = "https://token.actions.githubusercontent.com",
        /// Globs on `repository`, such as `octo-org/*`. A name can pass to somebody else when its owner renames or deletes the
        /// account; an id can't.
        allowed_repositories: Many<String>,
        /// Repositories by `repository_id`, which outlives every renaming (`gh api repos/OWNER/NAME --jq .id`).
        allowed_repository_ids: Ids,
        /// Owners by `repository_owner_id` (`gh api users/OWNER --jq .id`).
        allowed_owner_ids: Ids,
        /// Globs on `ref`, such as `refs/heads/main` or `refs/tags/v*`; `*` does not cross a `/`.
        allowed_refs: Many<String>,
        /// Globs on `environment`, the job's deployment environment, whose protection rules GitHub enforces.
        allowed_environments: Many<String>,
        /// Globs on `job_workflow_ref`, the file whose steps the job runs, such as
        /// `octo-org/ci/.github/workflows/deploy.yml@refs/heads/main`; on `workflow_ref` in tokens without it.
        allowed_workflows: Many<String>,
        /// Globs on `event_name`, such as `push` or `workflow_dispatch`. Runs of `pull_request_target` have the ref of the base
        /// branch though strangers can start them: leave it out.
        allowed_events: Many<String>,
        /// How long a fetched key set is fresh: `1s` to `7d`.
        jwks_cache_ttl: Span = "1h",
        /// Leeway for `exp` and `nbf`: `0s` to `10m`.
        clock_skew: Span = "30s",
    }
}

impl GithubActionsSettings {
    pub(super) fn compile(
        &self,
        at: &Path<'_>,
        compiler: &mut Compiler<'_>,
    ) -> Option<ProviderKind> {
        let audiences = common::audiences(self.audience.as_ref(), at, compiler);
        let cache_ttl = common::cache_ttl(self.jwks_cache_ttl, at, compiler);
        let clock_skew = common::clock_skew(self.clock_skew, at, compiler);
        let at_issuer = at.key("issuer");
        let text = self.issuer.as_deref().unwrap_or(ISSUER);
        let url = compiler.url(text, &at_issuer);
        if let Some(url) = &url {
            if url.path.contains('?') {
                compiler.error(&at_issuer, Problem::IssuerQuery);
            }
            if !url.https {
                compiler.warn(&at_issuer, Hazard::PlainHttp);
            }
        }
        let none = self.allowed_repositories.is_none()
            && self.allowed_repository_ids.is_none()
            && self.allowed_owner_ids.is_none();
        if none {
            compiler.error_after(at, Problem::NoneOf { keys: OWNERSHIP });
        }
        self.warn_of_names(at, compiler);
        let mut globs = |written: &Option<Many<String>>, key: &str| {
            common::allow_list(written.as_ref(), &at.key(key), compiler)
        };
        let repositories = globs(&self.allowed_repositories, "allowed_repositories");
        let refs = globs(&self.allowed_refs, "allowed_refs");
        let environments = globs(&self.allowed_environments, "allowed_environments");
        let workflows = globs(&self.allowed_workflows, "allowed_workflows");
        let events = globs(&self.allowed_events, "allowed_events");
        let ids = |written: &Option<Ids>| written.as_ref().map(|i| i.0.clone()).unwrap_or_default();
        let issuer = without_slash(text).to_owned();
        Some(ProviderKind::GithubActions(Box::new(GithubPolicy {
            keys: KeyOrigin::Remote(RemoteKeys {
                issuer: issuer.clone(),
                discovery: Some(common::discovery(&url?)),
                jwks: None,
                cache_ttl,
            }),
            issuer,
            audiences: audiences?,
            clock_skew,
            repositories,
            repository_ids: ids(&self.allowed_repository_ids),
            owner_ids: ids(&self.allowed_owner_ids),
            refs,
            environments,
            workflows,
            events,
        })))
    }

    fn warn_of_names(&self, at: &Path<'_>, compiler: &mut Compiler<'_>) {
        let Some(Many(names)) = &self.allowed_repositories else {
            return;
        };
        if self.allowed_repository_ids.is_some() || self.allowed_owner_ids.is_some() {
            return;
        }
        let at = at.key("allowed_repositories");
        let mut by_name = false;
        for (i, name) in names.iter().enumerate() {
            let owner = name.split('/').next().unwrap_or_default();
            if owner.contains(['*', '?', '[']) {
                compiler.warn(&at.index(i), Hazard::AnyOwner);
            } else {
                by_name = true;
            }
        }
        if by_name {
            compiler.warn(&at, Hazard::NamesOnly);
        }
    }
}
