// A real MCP client: it knows the server's URL and finds out the rest from its 401 (RFC 9728).
//
//   node mcp_client.mjs URL --login NAME             registers itself, and NAME logs in with a browser (played by this script)
//   node mcp_client.mjs URL --client ID --secret S   asks for a token of its own
//
// Calls the tool `whoami`. Prints one line of JSON: {"text", "meta", "tools", "requests": ["METHOD URL status", …], "scope", "token"}.
import { parseArgs } from 'node:util';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { ClientCredentialsProvider } from '@modelcontextprotocol/sdk/client/auth-extensions.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

const { values: options, positionals: [url] } = parseArgs({
  allowPositionals: true,
  options: { login: { type: 'string' }, client: { type: 'string' }, secret: { type: 'string' } },
});

const requests = [];
async function recordingFetch(target, init) {
  const response = await fetch(target, init);
  requests.push(`${init?.method ?? 'GET'} ${target} ${response.status}`);
  return response;
}

/** Keeps everything in memory; nobody listens at the redirect URL, the browser below reads it off. */
class Memory {
  redirectUrl = 'http://127.0.0.1/callback';
  clientMetadata = {
    client_name: 'MCP client of the tests',
    redirect_uris: [this.redirectUrl],
    grant_types: ['authorization_code'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
    application_type: 'native',
  };
  clientInformation() { return this.information; }
  saveClientInformation(information) { this.information = information; }
  tokens() { return this.saved; }
  saveTokens(tokens) { this.saved = tokens; }
  saveCodeVerifier(verifier) { this.verifier = verifier; }
  codeVerifier() { return this.verifier; }
  redirectToAuthorization(authorizationUrl) { this.authorizationUrl = authorizationUrl; }
}

/** A browser that logs in, consents, and gives back the code. */
async function browse(start, login, callback) {
  const cookies = new Map();
  let [at, form] = [start, undefined];
  for (let hop = 0; hop < 20; hop += 1) {
    if (String(at).startsWith(callback)) {
      const code = new URL(at).searchParams.get('code');
      if (!code) throw new Error(`no code: ${at}`);
      return code;
    }
    const response = await fetch(at, {
      method: form ? 'POST' : 'GET',
      body: form && new URLSearchParams(form),
      headers: { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; ') },
      redirect: 'manual',
    });
    for (const cookie of response.headers.getSetCookie()) {
      const [pair] = cookie.split(';');
      cookies.set(pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1));
    }
    const location = response.headers.get('location');
    if (location) {
      [at, form] = [new URL(location, at), undefined];
      continue;
    }
    const page = await response.text();
    const action = /<form[^>]*action="([^"]*)"/.exec(page)?.[1];
    const prompt = /name="prompt" value="([^"]*)"/.exec(page)?.[1];
    if (!action || !prompt) throw new Error(`a page without a form, ${response.status}: ${page.slice(0, 500)}`);
    [at, form] = [new URL(action, at), prompt === 'login' ? { prompt, login, password: 'x' } : { prompt }];
  }
  throw new Error('the browser goes round in circles');
}

const authProvider = options.client
  ? new ClientCredentialsProvider({ clientId: options.client, clientSecret: options.secret })
  : new Memory();
const connect = async () => {
  const client = new Client({ name: 'portcullis-tests', version: '1.0.0' });
  const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider, fetch: recordingFetch });
  try {
    await client.connect(transport);
  } catch (error) {
    if (!(error instanceof UnauthorizedError) || !authProvider.authorizationUrl) throw error;
    const code = await browse(authProvider.authorizationUrl, options.login, authProvider.redirectUrl);
    await transport.finishAuth(code);
    return undefined;
  }
  return client;
};

// Once to be told where to log in, once with the token.
const client = await connect() ?? await connect();
if (!client) throw new Error('logged in, and refused with 401 all the same');
const { tools } = await client.listTools();
const { content: [{ text }], _meta: meta } = await client.callTool({ name: 'whoami' });
await client.close();
console.log(JSON.stringify({
  text,
  meta,
  tools: tools.map((tool) => tool.name),
  requests,
  scope: authProvider.authorizationUrl?.searchParams.get('scope') ?? null,
  token: authProvider.tokens().access_token,
}));
