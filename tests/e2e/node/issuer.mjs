// A real OpenID provider on a loopback port, for the demo and the end-to-end tests.
//
//   node issuer.mjs [CONFIG.json]
//
// CONFIG (all members optional; the defaults below are the demo's):
//   clients    {client_id: {secret, claims}}     the access token's `sub` is the client_id
//   resources  {resource URI: {audience, alg, ttl, scope}}   what `resource=` at the token endpoint stands for
//   people     {login: claims}   who may log in with a browser; clients then register themselves (RFC 7591) and
//              get codes with PKCE. Any password does.
//   tls        a PEM file of a key and a certificate for `localhost`: the issuer is then https://localhost:PORT
//
// Prints one line of JSON when it is ready: {"port", "issuer", "token_endpoint", "jwks_uri"}.
// Clients ask with `grant_type=client_credentials`, or with a code, and get JWT access tokens (RFC 9068).
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { exportJWK, generateKeyPair } from 'jose';
import { Provider, errors } from 'oidc-provider';

const ALGORITHMS = ['RS256', 'ES256', 'EdDSA'];

const config = process.argv[2] ? JSON.parse(readFileSync(process.argv[2], 'utf8')) : {};
const clients = config.clients ?? {};
const resources = config.resources ?? {};
const people = config.people;

// The issuer's name contains its port, so the socket comes first and the provider second.
const pem = config.tls && readFileSync(config.tls);
const server = pem ? createTlsServer({ key: pem, cert: pem }) : createServer();
await new Promise((resolve, reject) => {
  server.once('error', reject);
  server.listen(0, '127.0.0.1', resolve);
});
const { port } = server.address();
const issuer = pem ? `https://localhost:${port}` : `http://127.0.0.1:${port}`;

const keys = await Promise.all(ALGORITHMS.map(async (alg) => {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  return { ...(await exportJWK(privateKey)), kid: `${alg.toLowerCase()}-1`, alg, use: 'sig' };
}));

const provider = new Provider(issuer, {
  clients: Object.entries(clients).map(([id, { secret }]) => ({
    client_id: id,
    client_secret: secret,
    grant_types: ['client_credentials'],
    response_types: [],
    redirect_uris: [],
  })),
  jwks: { keys },
  enabledJWA: { idTokenSigningAlgValues: ALGORITHMS },
  // Whoever logs in with a browser is known by these as well, in the ID token itself, as most providers do it.
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'groups'] },
  conformIdTokenClaims: false,
  scopes: [...new Set(['openid', ...(people ? ['email', 'profile'] : []), ...Object.values(resources).flatMap((r) => (r.scope ?? '').split(' '))])].filter(Boolean),
  features: {
    devInteractions: { enabled: people !== undefined },
    registration: { enabled: people !== undefined },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      // A code that was asked for with a `resource` gives a token for it, as with most providers.
      useGrantedResource: () => true,
      getResourceServerInfo(_ctx, uri) {
        const resource = Object.hasOwn(resources, uri) ? resources[uri] : undefined;
        if (!resource) throw new errors.InvalidTarget();
        return {
          audience: resource.audience ?? uri,
          scope: resource.scope ?? '',
          accessTokenFormat: 'jwt',
          accessTokenTTL: resource.ttl ?? 600,
          jwt: { sign: { alg: resource.alg ?? 'RS256' } },
        };
      },
    },
  },
  // What the organisation knows about the caller, e.g. `email` or `groups`.
  extraTokenClaims: (_ctx, token) => (token.accountId ? people?.[token.accountId] : clients[token.clientId]?.claims),
  findAccount: (_ctx, id) => (people && Object.hasOwn(people, id) ? { accountId: id, claims: () => ({ ...people[id], sub: id }) } : undefined),
  ttl: { ClientCredentials: (_ctx, token) => token.resourceServer?.accessTokenTTL ?? 600 },
});
server.on('request', provider.callback());

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    server.closeAllConnections();
    server.close(() => process.exit(0));
  });
}

console.log(JSON.stringify({ port, issuer, token_endpoint: `${issuer}/token`, jwks_uri: `${issuer}/jwks` }));
