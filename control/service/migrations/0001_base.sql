-- SQL that SQLite and PostgreSQL both understand. Times are seconds since 1970.
-- `revision` is that of the last change: what a follower at revision R lacks is what has a greater one.

CREATE TABLE service (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    epoch TEXT NOT NULL,
    revision BIGINT NOT NULL,
    secret TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE agents (
    name TEXT NOT NULL PRIMARY KEY,
    owner TEXT,
    workspace TEXT,
    org TEXT,
    description TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    deleted_at BIGINT,
    revision BIGINT NOT NULL
);
CREATE UNIQUE INDEX agents_revision ON agents (revision);
CREATE INDEX agents_owner ON agents (owner, name);
CREATE INDEX agents_workspace ON agents (workspace, name);

CREATE TABLE keys (
    id TEXT NOT NULL PRIMARY KEY,
    hash TEXT NOT NULL,
    prefix TEXT NOT NULL,
    scope_kind TEXT NOT NULL,
    scope_name TEXT NOT NULL,
    name TEXT NOT NULL,
    owner TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    not_before BIGINT,
    expires_at BIGINT,
    grace_until BIGINT,
    revoked_at BIGINT,
    revoked_by TEXT,
    revoked_reason TEXT,
    replaces TEXT,
    replaced_by TEXT,
    rate_requests BIGINT,
    rate_per BIGINT,
    rate_burst BIGINT,
    methods TEXT,
    -- No longer sent to filters: it has been worthless for long.
    forgotten_at BIGINT,
    revision BIGINT NOT NULL
);
CREATE UNIQUE INDEX keys_revision ON keys (revision);
CREATE INDEX keys_scope ON keys (scope_kind, scope_name, created_at, id);
CREATE INDEX keys_owner ON keys (owner);
CREATE INDEX keys_created ON keys (created_at, id);
CREATE INDEX keys_expires ON keys (expires_at) WHERE revoked_at IS NULL AND forgotten_at IS NULL;

-- Apart from `keys`, because it changes with use and takes no part in the feed.
CREATE TABLE key_uses (
    key_id TEXT NOT NULL PRIMARY KEY,
    last_used_at BIGINT NOT NULL,
    agent TEXT NOT NULL
);

-- `width` is how many seconds a row counts: 60 for the last days, 3600 for the last year.
CREATE TABLE usage (
    key_id TEXT NOT NULL,
    agent TEXT NOT NULL,
    width BIGINT NOT NULL,
    start BIGINT NOT NULL,
    allowed BIGINT NOT NULL,
    refused BIGINT NOT NULL,
    PRIMARY KEY (key_id, agent, width, start)
);
CREATE INDEX usage_agent ON usage (agent, width, start);
CREATE INDEX usage_start ON usage (width, start);

CREATE TABLE usage_batches (
    instance TEXT NOT NULL,
    batch TEXT NOT NULL,
    taken_at BIGINT NOT NULL,
    PRIMARY KEY (instance, batch)
);
CREATE INDEX usage_batches_taken ON usage_batches (taken_at);

CREATE TABLE followers (
    instance TEXT NOT NULL PRIMARY KEY,
    config_version TEXT NOT NULL,
    epoch TEXT NOT NULL,
    revision BIGINT NOT NULL,
    remote_addr TEXT NOT NULL,
    token_id TEXT NOT NULL,
    first_contact BIGINT NOT NULL,
    last_contact BIGINT NOT NULL
);

CREATE TABLE audit (
    seq BIGINT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    via TEXT NOT NULL,
    remote_addr TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    agent TEXT,
    workspace TEXT,
    details TEXT NOT NULL
);
CREATE INDEX audit_agent ON audit (agent, seq);
CREATE INDEX audit_workspace ON audit (workspace, seq);
CREATE INDEX audit_actor ON audit (actor, seq);

CREATE TABLE people (
    id TEXT NOT NULL PRIMARY KEY,
    admin BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    last_seen_at BIGINT,
    disabled_at BIGINT
);

CREATE TABLE workspace_admins (
    person TEXT NOT NULL,
    workspace TEXT NOT NULL,
    PRIMARY KEY (person, workspace)
);

-- Only digests: whoever reads this table can sign in as nobody.
CREATE TABLE sessions (
    hash TEXT NOT NULL PRIMARY KEY,
    person TEXT NOT NULL,
    group_admin BIGINT NOT NULL,
    group_workspaces TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX sessions_person ON sessions (person);
CREATE INDEX sessions_expires ON sessions (expires_at);

CREATE TABLE sign_ins (
    state_hash TEXT NOT NULL PRIMARY KEY,
    nonce TEXT NOT NULL,
    verifier TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE TABLE links (
    hash TEXT NOT NULL PRIMARY KEY,
    person TEXT,
    expires_at BIGINT NOT NULL
);

-- For machines: `api` acts as its person, `fleet` follows the feed and reports usage.
CREATE TABLE tokens (
    id TEXT NOT NULL PRIMARY KEY,
    hash TEXT NOT NULL,
    kind TEXT NOT NULL,
    person TEXT NOT NULL,
    name TEXT NOT NULL,
    read_only BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);
CREATE INDEX tokens_person ON tokens (person);

CREATE TABLE idempotency (
    principal TEXT NOT NULL,
    key_hash TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    status BIGINT NOT NULL,
    body TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (principal, key_hash)
);
CREATE INDEX idempotency_created ON idempotency (created_at);
