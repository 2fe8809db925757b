//! Which providers can own a bearer token, by the issuer that it names: a chain may have many, and most tokens concern one of them.

use crate::claims::Claims;
use crate::policy::Provider;
use crate::provider::jwt::Ownership;
use crate::url::without_slash;

/// The places in the chain of the providers to ask about a token, made once for a policy.
#[derive(Debug)]
pub(crate) struct Issuers {
    /// By issuer without a trailing `/`, sorted; each with those of `by_form` among its own, in the order of the chain.
    named: Vec<(Box<str>, Vec<usize>)>,
    /// Those that tell an issuer of theirs by its form.
    by_form: Vec<usize>,
}

impl Issuers {
    pub(crate) fn of(chain: &[Provider]) -> Self {
        let mut index = Self {
            named: Vec::new(),
            by_form: Vec::new(),
        };
        for (i, provider) in chain.iter().enumerate() {
            let Some(rules) = provider.kind.bearer_rules() else {
                continue;
            };
            let Some(issuer) = rules.issuer() else {
                index.by_form.push(i);
                for (_, places) in &mut index.named {
                    places.push(i);
                }
                continue;
            };
            match index.named.binary_search_by(|(n, _)| (**n).cmp(issuer)) {
                Ok(at) => {
                    if let Some((_, places)) = index.named.get_mut(at) {
                        places.push(i);
                    }
                }
                Err(at) => {
                    let mut places = index.by_form.clone();
                    places.push(i);
                    index.named.insert(at, (issuer.into(), places));
                }
            }
        }
        index
    }

    /// The provider that a token's claims make the one to judge it. Of several with this issuer the first whose audience matches;
    /// when none matches, the first one says so.
    pub(crate) fn owner(&self, chain: &[Provider], claims: &Claims) -> Option<usize> {
        let iss = claims.issuer()?;
        let issuer = without_slash(iss);
        let found = self.named.binary_search_by(|(n, _)| (**n).cmp(issuer));
        let places = found.ok().and_then(|at| self.named.get(at));
        let mut owner = None;
        let mut strongest = Ownership::None;
        for i in places.map_or(&self.by_form, |(_, places)| places) {
            let rules = chain.get(*i).and_then(|p| p.kind.bearer_rules());
            let claim = rules.map_or(Ownership::None, |rules| rules.ownership(iss, claims));
            if claim > strongest {
                (owner, strongest) = (Some(*i), claim);
            }
        }
        owner
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    const TENANT: &str = "8eaef023-2b34-4da1-9baa-8bc8c9d6a490";

    fn chain() -> Vec<Provider> {
        let oidc = |issuer: &str, audience: &str| {
            let settings = json!({"issuer": issuer, "audience": audience, "allowed_subjects": "*"});
            json!({"type": "oidc", "settings": settings})
        };
        let entra = format!("https://login.microsoftonline.com/{TENANT}/v2.0");
        let providers = json!([
            {"type": "gcp_iap", "settings": {"audience": "a"}},
            oidc("https://z.example", "a"),
            {"type": "github_actions", "settings": {"audience": "a", "allowed_owner_ids": 1}},
            {"type": "azure_ad", "settings": {"tenant_id": TENANT, "audience": "b"}},
            oidc(&entra, "a"),
            oidc(&entra, "c"),
            {"type": "static_token", "settings": {"token_sha256": "00".repeat(32), "identity": {"user_id": "u"}}},
            oidc("https://a.example", "a"),
            oidc("https://z.example/", "b"),
            {"type": "azure_ad", "settings": {"allow_multi_tenant": true, "allowed_tenants": [TENANT], "audience": "a"}},
            oidc("https://m.example/x", "a"),
        ]);
        let text = json!({"auth": {"providers": providers}}).to_string();
        let (policy, _) = crate::config::load(text.as_bytes(), &|_| None).unwrap();
        policy.providers
    }

    /// The index leaves out only who would have said no.
    #[test]
    fn finds_whom_asking_everybody_would_find() {
        let chain = chain();
        let index = Issuers::of(&chain);
        let mut found = Vec::new();
        let entra = format!("https://login.microsoftonline.com/{TENANT}/v2.0");
        let other = entra.replace("8eaef023", "00000000");
        let github = crate::provider::github_actions::ISSUER;
        let iap = crate::provider::gcp_iap::ISSUER;
        for issuer in [
            "https://z.example",
            "https://z.example/",
            "https://z.example//",
            "https://a.example",
            "https://m.example/x/",
            "https://nobody.example",
            "",
            "/",
            github,
            iap,
            &entra,
            &other,
            &format!("https://sts.windows.net/{TENANT}/"),
        ] {
            for audience in ["a", "b", "c", "nobody"] {
                let claims = json!({"iss": issuer, "aud": audience}).to_string();
                let claims = Claims::read(claims.as_bytes(), 4).unwrap();
                let mut wanted = (None, Ownership::None);
                for (i, provider) in chain.iter().enumerate() {
                    let Some(rules) = provider.kind.bearer_rules() else {
                        continue;
                    };
                    let claim = rules.ownership(issuer, &claims);
                    if claim > wanted.1 {
                        wanted = (Some(i), claim);
                    }
                }
                let owner = index.owner(&chain, &claims);
                assert_eq!(owner, wanted.0, "{issuer} {audience}");
                found.extend(owner);
            }
        }
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, [1, 2, 3, 4, 5, 7, 8, 9, 10]);
        let nothing = Claims::read(b"{}", 4).unwrap();
        assert_eq!(index.owner(&chain, &nothing), None);
    }
}
