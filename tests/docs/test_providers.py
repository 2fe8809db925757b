"""The pages of providers: a token in the shape that the issuer publishes, judged by the page's configuration, is judged as the page says.

What a page shows of `portcullis explain` stands in blocks ```text explain; every line of them has to be in what the program says, in that order.
"""

import json
import subprocess
import time
from typing import NamedTuple

import pytest
from jwcrypto import jwk, jwt

from harness.paths import PROGRAM, require
from pages import PAGES, blocks, text_of

PRESETS = "docs/auth/oidc-presets.md"
TENANT = "aaaabbbb-0000-cccc-1111-dddd2222eeee"


class Issuer(NamedTuple):
    """Where a page's configuration stands, and a genuine token's claims without its times; `refused`: what is changed of them, and the code."""

    page: str
    config: str
    # The heading that the configuration is the first one under; none: the page's first.
    heading: str | None
    claims: dict
    refused: list


ISSUERS = [
    # https://docs.gitlab.com/ci/secrets/id_token_authentication/#token-payload
    Issuer("docs/auth/providers/gitlab.md", "docs/auth/providers/gitlab.md", None, {
        "namespace_id": "4711", "namespace_path": "acme", "project_id": "22", "project_path": "acme/orders", "user_id": "42", "user_login": "anna",
        "user_email": "anna@example.com", "pipeline_id": "574", "pipeline_source": "push", "job_id": "302", "ref": "main", "ref_type": "branch",
        "ref_path": "refs/heads/main", "ref_protected": "true", "environment": "production", "environment_protected": "true", "runner_id": 1,
        "runner_environment": "self-hosted", "sha": "714a629c0b401fdce83e847fc9589983fc6f46bc", "project_visibility": "private",
        "jti": "235b3a54", "iss": "https://gitlab.com", "aud": "api://agents", "sub": "project_path:acme/orders:ref_type:branch:ref:main"}, [
        ({"ref_protected": "false"}, "claim_not_allowed"), ({"namespace_id": "9"}, "claim_not_allowed"),
        ({"aud": "https://gitlab.com"}, "audience_mismatch"), ({"iss": "https://gitlab.example.com"}, "not_for_me")]),
    # https://learn.microsoft.com/en-us/entra/identity-platform/access-token-claims-reference
    Issuer("docs/auth/providers/entra.md", "docs/auth/azure-ad.md", "One tenant", {
        "iss": f"https://login.microsoftonline.com/{TENANT}/v2.0", "aud": "00001111-aaaa-2222-bbbb-3333cccc4444", "tid": TENANT, "ver": "2.0",
        "azp": "11112222-bbbb-3333-cccc-4444dddd5555", "azpacr": "1", "oid": "aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb",
        "sub": "aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb", "idtyp": "app", "roles": ["Agents.Call"]}, [
        ({"aud": "https://graph.microsoft.com"}, "audience_mismatch"), ({"azp": "22223333-cccc-4444-dddd-5555eeee6666"}, "app_not_allowed"),
        ({"iss": "https://login.microsoftonline.com/bbbbcccc-1111-dddd-2222-eeee3333ffff/v2.0"}, "not_for_me")]),
    # https://auth0.com/docs/secure/tokens/access-tokens/access-token-profiles
    Issuer("docs/auth/providers/auth0.md", PRESETS, "Auth0", {
        "iss": "https://acme.eu.auth0.com/", "sub": "a1b2c3d4e5f6g7h8@clients", "aud": "https://agents.example.com", "azp": "a1b2c3d4e5f6g7h8",
        "gty": "client-credentials", "scope": "agents:call", "permissions": ["agents:call"]}, [
        ({"sub": "auth0|507f1f77bcf86cd799439011"}, "subject_not_allowed"), ({"gty": "password"}, "claim_not_allowed"),
        ({"aud": "https://acme.eu.auth0.com/api/v2/"}, "audience_mismatch"), ({"iss": "https://login.acme.example/"}, "not_for_me")]),
    Issuer("docs/auth/providers/keycloak.md", PRESETS, "Keycloak", {
        "iss": "https://sso.example.com/realms/fleet", "aud": ["agents", "account"], "sub": "5f3ef0c7-7b3c-4a0e-9a0c-3d2b1a0f9e8d", "typ": "Bearer",
        "azp": "planner", "acr": "1", "realm_access": {"roles": ["agent-caller", "offline_access"]}, "clientId": "planner"}, [
        ({"aud": "account"}, "audience_mismatch"), ({"typ": "ID"}, "claim_not_allowed"), ({"iss": "http://keycloak:8080/realms/fleet"}, "not_for_me")]),
    # https://developer.okta.com/docs/api/openapi/okta-oauth/guides/overview/#access-token
    Issuer("docs/auth/providers/okta.md", PRESETS, "Okta", {
        "ver": 1, "iss": "https://acme.okta.com/oauth2/default", "aud": "api://agents", "sub": "0oa1fleet2aaaa3bbb4c5", "cid": "0oa1fleet2aaaa3bbb4c5",
        "scp": ["agents.call"]}, [
        ({"iss": "https://acme.okta.com"}, "not_for_me"), ({"aud": "api://else"}, "audience_mismatch"), ({"scp": ["openid"]}, "claim_not_allowed")]),
    # https://cloud.google.com/compute/docs/instances/verifying-instance-identity#payload
    Issuer("docs/auth/providers/google.md", PRESETS, "Google service accounts", {
        "iss": "https://accounts.google.com", "aud": "api://agents", "sub": "107517467455664443765", "azp": "107517467455664443765",
        "email": "orders@agent-fleet-prod.iam.gserviceaccount.com", "email_verified": True}, [
        ({"email": None}, "subject_not_allowed"), ({"aud": "32555940559.apps.googleusercontent.com"}, "audience_mismatch")]),
    # https://docs.github.com/en/actions/reference/security/oidc
    Issuer("docs/integrations/github-actions.md", "docs/integrations/github-actions.md", None, {
        "iss": "https://token.actions.githubusercontent.com", "aud": "https://agents.example.com", "jti": "example-id",
        "sub": "repo:octo-org@65/deploy@74:environment:production", "environment": "production", "ref": "refs/heads/main", "ref_type": "branch",
        "sha": "714a629c0b401fdce83e847fc9589983fc6f46bc", "repository": "octo-org/deploy", "repository_id": "74", "repository_owner": "octo-org",
        "repository_owner_id": "65", "repository_visibility": "private", "actor": "octocat", "actor_id": "12", "workflow": "call-agent", "run_id": "1234567",
        "run_number": "10", "run_attempt": "2", "event_name": "push", "runner_environment": "github-hosted", "head_ref": "", "base_ref": "",
        "job_workflow_ref": "octo-org/deploy/.github/workflows/call.yml@refs/heads/main"}, [
        ({"aud": "https://github.com/octo-org"}, "audience_mismatch"), ({"event_name": "schedule"}, "event_not_allowed"),
        ({"environment": None, "sub": "repo:octo-org/deploy:ref:refs/heads/main"}, "environment_not_allowed"), ({"iss": "https://token.actions.githubusercontent.com/octo-org"}, "not_for_me")]),
]


def configuration(issuer):
    """The first configuration of the page, or the first under the heading."""
    text = text_of(issuer.config)
    begins = text.index(f"\n## {issuer.heading}\n") if issuer.heading else 0
    line = text.count("\n", 0, begins)
    return next(b.text for b in blocks(issuer.config) if b.line > line and b.text.startswith("auth:"))


def shown(page):
    """The lines that the page's blocks show of `explain`."""
    return [line for block in blocks(page) if block.info == "text explain" for line in block.text.splitlines()]


@pytest.fixture(params=ISSUERS, ids=lambda issuer: issuer.page)
def asked(request, tmp_path):
    """The issuer, and what asks `explain` about a token of it, its claims changed; `None` takes one out."""
    require(PROGRAM)
    issuer = request.param
    (tmp_path / "plugin.yaml").write_text(configuration(issuer))
    key = jwk.JWK.generate(kty="RSA", size=2048, kid="k", alg="RS256", use="sig")
    published = key.export_public(as_dict=True)
    if "tid" in issuer.claims:
        published["issuer"] = "https://login.microsoftonline.com/{tenantid}/v2.0"
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [published]}))
    now = int(time.time())

    def ask(**changed):
        claims = {**issuer.claims, "iat": now, "nbf": now - 5, "exp": now + 300, **changed}
        token = jwt.JWT(header={"alg": "RS256", "kid": "k", "typ": "JWT"}, claims={name: value for name, value in claims.items() if value is not None})
        token.make_signed_token(key)
        ran = subprocess.run([PROGRAM, "explain", "--config", "plugin.yaml", "--jwks", f"{issuer.claims['iss']}=keys.json", "--path", "/rest/orders", "--token", "-"],
                             cwd=tmp_path, input=token.serialize(), capture_output=True, text=True, timeout=60, check=False)
        return ran.returncode, ran.stdout + ran.stderr
    return issuer, ask


def test_a_callers_token_is_judged_as_the_page_says(asked):
    issuer, ask = asked
    code, said = ask()
    assert code == 0, said
    lines = iter(said.splitlines())
    missing = [line for line in shown(issuer.page) if line not in lines]
    assert shown(issuer.page) and not missing, (missing, said)


def test_what_the_page_calls_a_refusal_is_one(asked):
    issuer, ask = asked
    _, _, refusals = text_of(issuer.page).partition("When it is refused")
    for changed, why in issuer.refused:
        code, said = ask(**changed)
        assert code == 1 and f"code {why}" in said, (changed, said)
        assert f"`{why}`" in refusals, f"{issuer.page} says nothing of {why}"


def test_an_aws_token_waits_for_sts_as_the_page_says(tmp_path):
    page = "docs/auth/aws.md"
    (tmp_path / "plugin.yaml").write_text(next(b.text for b in blocks(page) if b.text.startswith("auth:")))
    credentials = {"AWS_ACCESS_KEY_ID": "ASIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "example", "AWS_SESSION_TOKEN": "example"}
    made = subprocess.run([PROGRAM, "aws-token", "--region", "eu-west-1", "--audience", "agents.example.com"], env=credentials, capture_output=True, text=True,
                          timeout=60, check=True)
    ran = subprocess.run([PROGRAM, "explain", "--config", "plugin.yaml", "--token", "-"], cwd=tmp_path, input=made.stdout.strip(), capture_output=True, text=True,
                         timeout=60, check=False)
    lines = iter(ran.stdout.splitlines())
    assert shown(page) and not [line for line in shown(page) if line not in lines], ran.stdout


def test_every_page_that_shows_an_explanation_is_asked():
    assert {page for page in PAGES if shown(page)} == {issuer.page for issuer in ISSUERS} | {"docs/auth/aws.md"}
