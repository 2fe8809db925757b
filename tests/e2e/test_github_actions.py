"""GitHub Actions: jobs' ID tokens, really signed, against each rule, in real Envoy."""

import time

import pytest

from harness.stack import plugin
from harness.tokens import Key, tampered

AUDIENCE = "https://agents.example.com"
REUSABLE = "octo-org/octo-automation/.github/workflows/oidc.yml@refs/heads/main"


def github_issuer(pile, url="https://token.actions.githubusercontent.com"):
    return pile.issuer(url, [Key("38826b17-6a30-5f9b-b169-8beb8202f723", "RS256")], jwks_uri=f"{url}/.well-known/jwks", aud=AUDIENCE)


@pytest.fixture(scope="module")
def github(shared):
    return github_issuer(shared)


def provider(**settings):
    return {"type": "github_actions", "settings": {"audience": AUDIENCE, **settings}}


def job(github, key=None, **changes):
    """A token with the claims of GitHub's documentation."""
    now = int(time.time())
    return github.token(key, **{
        "sub": "repo:octo-org/octo-repo:environment:prod", "environment": "prod", "ref": "refs/heads/main",
        "sha": "example-sha", "repository": "octo-org/octo-repo", "repository_owner": "octo-org", "actor_id": "12",
        "repository_visibility": "private", "repository_id": "74", "repository_owner_id": "65", "run_id": "9871234",
        "run_number": "10", "run_attempt": "2", "runner_environment": "github-hosted", "actor": "octocat",
        "workflow": "example-workflow", "head_ref": "", "base_ref": "", "event_name": "workflow_dispatch", "ref_type": "branch",
        "job_workflow_ref": REUSABLE, "workflow_ref": "octo-org/octo-repo/.github/workflows/deploy.yml@refs/heads/main",
        "nbf": now - 5, **changes})


@pytest.fixture(scope="module")
def stack(shared, github):
    return shared.stack(
        plugin(provider(
            allowed_owner_ids=[65], allowed_repositories=["octo-org/*"], allowed_refs=["refs/heads/main", "refs/tags/v*"],
            allowed_environments=["prod"], allowed_workflows=[REUSABLE], allowed_events=["push", "workflow_dispatch"])),
        issuers=[github])


def test_a_job(stack, github):
    seen, event = stack.allowed(
        stack.request(token=job(github)),
        user_id="repo:octo-org/octo-repo", org_id="octo-org", email=None, provider="github_actions", agent="orders")
    assert "authorization" not in seen.names()
    claims = event["fields"]["claims"]
    assert (claims["run_id"], claims["actor"], claims["ref"], claims["workflow"]) == ("9871234", "octocat", "refs/heads/main", REUSABLE)
    assert event["fields"]["token_kind"] == "jwt"


def test_a_job_of_a_repository_with_immutable_subjects(stack, github):
    stack.allowed(
        stack.request(token=job(github, sub="repo:octo-org@65/octo-repo@74:environment:prod")), user_id="repo:octo-org/octo-repo")


@pytest.mark.parametrize(
    "changes, code",
    [
        ({"repository_owner_id": "66"}, "repository_not_allowed"),
        ({"repository": "evil/octo-repo", "repository_owner": "evil", "sub": "repo:evil/octo-repo:environment:prod"}, "repository_not_allowed"),
        ({"ref": "refs/heads/feature"}, "ref_not_allowed"),
        ({"environment": None, "sub": "repo:octo-org/octo-repo:ref:refs/heads/main"}, "environment_not_allowed"),
        ({"environment": "staging", "sub": "repo:octo-org/octo-repo:environment:staging"}, "environment_not_allowed"),
        ({"job_workflow_ref": "octo-org/octo-repo/.github/workflows/deploy.yml@refs/heads/main"}, "workflow_not_allowed"),
        ({"event_name": "pull_request_target"}, "event_not_allowed"),
        ({"sub": "repo:octo-org@65/octo-repo@75:environment:prod"}, "subject_mismatch"),
        ({"sub": "repo:octo-org/another:environment:prod"}, "subject_mismatch"),
        ({"aud": "https://github.com/octo-org"}, "audience_mismatch"),
        ({"ttl": -60}, "expired"),
    ],
)
def test_other_jobs(stack, github, changes, code):
    event = stack.denied(stack.request(token=job(github, **changes)), 401, "rejected", code)
    assert event["fields"]["provider"] == "github_actions"


def test_what_is_not_github(stack, github):
    stack.denied(stack.request(token=tampered(job(github))), 401, "invalid", "bad_signature")
    forged = job(github, Key(github.keys[0].kid))
    stack.denied(stack.request(token=forged), 401, "invalid", "bad_signature", credential=forged)
    stack.denied(stack.request(token=job(github, iss="https://evil.test")), 401, "not_for_me", "not_for_me")


def test_an_enterprise_server(pile):
    ghes = github_issuer(pile, "https://ghes.test/_services/token")
    stack = pile.stack(plugin(provider(issuer=ghes.url, allowed_repository_ids="74")), issuers=[ghes])
    stack.allowed(stack.request(token=job(ghes)), user_id="repo:octo-org/octo-repo")
    stack.denied(stack.request(token=job(ghes, repository_id="75")), 401, "rejected", "repository_not_allowed")
    stack.denied(stack.request(token=job(ghes, iss="https://token.actions.githubusercontent.com")), 401, "not_for_me", "not_for_me")
