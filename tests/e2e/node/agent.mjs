// A real A2A agent and MCP server on a loopback port: it answers with who it was told is calling.
//
//   node agent.mjs [--agent NAME] [--public-url URL]
//
// Serves its agent card at /.well-known/agent-card.json, JSON-RPC (A2A 1.0 `SendMessage`, and 0.3
// `message/send` for older clients) at /rest/NAME, MCP (streamable HTTP) at /rest/NAME/mcp, and GET /healthz.
// Prints one line of JSON when it is ready: {"port"}.
//
// It trusts the x-auth-* headers, as any agent behind the filter may: nobody but the filter can set them.
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { parseArgs } from 'node:util';
import express from 'express';
import { Role } from '@a2a-js/sdk';
import { AgentEvent, DefaultRequestHandler, InMemoryTaskStore } from '@a2a-js/sdk/server';
import { UserBuilder, agentCardHandler, jsonRpcHandler } from '@a2a-js/sdk/server/express';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';

const { values: options } = parseArgs({
  options: {
    agent: { type: 'string', default: 'orders' },
    'public-url': { type: 'string', default: 'http://127.0.0.1' },
  },
});
const path = `/rest/${options.agent}`;
const url = `${options['public-url']}${path}`;

const card = {
  name: `The ${options.agent} agent`,
  description: 'Tells its caller who the proxy says is calling.',
  version: '1.0.0',
  provider: undefined,
  supportedInterfaces: [
    { url, protocolBinding: 'JSONRPC', tenant: '', protocolVersion: '1.0' },
    { url, protocolBinding: 'JSONRPC', tenant: '', protocolVersion: '0.3' },
  ],
  capabilities: { streaming: false, pushNotifications: false, extensions: [] },
  securitySchemes: {},
  securityRequirements: [],
  defaultInputModes: ['text/plain'],
  defaultOutputModes: ['text/plain'],
  skills: [{
    id: 'whoami', name: 'Who am I', description: 'Names the caller.', tags: ['demo'],
    examples: ['Who am I?'], inputModes: [], outputModes: [], securityRequirements: [],
  }],
  signatures: [],
};

/** The caller as the proxy vouches for them. */
class ProxyUser {
  constructor(headers) { this.headers = headers; }
  get isAuthenticated() { return this.userName !== ''; }
  get userName() { return this.headers['x-auth-user-id'] ?? ''; }
}

const whoami = {
  async execute(request, bus) {
    const user = request.context.user;
    const caller = user?.isAuthenticated ? user.userName : 'nobody';
    bus.publish(AgentEvent.message({
      messageId: randomUUID(),
      contextId: request.contextId,
      taskId: '',
      role: Role.ROLE_AGENT,
      parts: [{ content: { $case: 'text', value: `Hello ${caller}, this is ${options.agent}.` }, mediaType: 'text/plain', filename: '', metadata: undefined }],
      metadata: {
        caller,
        authorization_seen: request.context.state?.get('headers')?.authorization !== undefined,
      },
      extensions: [],
      referenceTaskIds: [],
    }));
    bus.finished();
  },
  async cancelTask() {},
};

/** One MCP server a request: nothing is kept between them. */
async function mcp(request, response) {
  const server = new McpServer({ name: options.agent, version: '1.0.0' });
  server.registerTool('whoami', { description: 'Names the caller.' }, async ({ requestInfo }) => {
    const { headers } = requestInfo;
    const caller = headers['x-auth-user-id'] || 'nobody';
    const seen = headers.authorization !== undefined;
    return { content: [{ type: 'text', text: `Hello ${caller}, this is ${options.agent}.` }], _meta: { authorization_seen: seen } };
  });
  const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined });
  response.on('close', () => { transport.close(); server.close(); });
  await server.connect(transport);
  await transport.handleRequest(request, response);
}

const handler = new DefaultRequestHandler(card, new InMemoryTaskStore(), whoami);
const app = express();
app.disable('x-powered-by');
app.get('/healthz', (_request, response) => { response.type('text').send('ok\n'); });
app.use('/.well-known/agent-card.json', agentCardHandler({ agentCardProvider: handler, legacyCompat: { enabled: true } }));
app.all(`${path}/mcp`, mcp);
app.use(path, jsonRpcHandler({
  requestHandler: handler,
  userBuilder: async (request) => new ProxyUser(request.headers),
  legacyCompat: { enabled: true },
}));

const server = createServer(app);
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })));

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    server.closeAllConnections();
    server.close(() => process.exit(0));
  });
}
