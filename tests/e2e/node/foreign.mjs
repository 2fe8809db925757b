// Node `jose` as a foreign implementation. One JSON document on stdin, one on stdout:
//
//   {"issue": {"algorithms": [...], "claims": {...}}}   -> {"jwks", "tokens": {alg: token}, "missing": {alg: why}}
//   {"verify": {"jwks", "issuer", "audience", "algorithms", "tokens": {name: token}}}   -> {name: true | why not}
import { text } from 'node:stream/consumers';
import { SignJWT, createLocalJWKSet, exportJWK, generateKeyPair, jwtVerify } from 'jose';

async function issue({ algorithms, claims }) {
  const [keys, tokens, missing] = [[], {}, {}];
  for (const alg of algorithms) {
    try {
      const { publicKey, privateKey } = await generateKeyPair(alg);
      const kid = `jose-${alg}`;
      tokens[alg] = await new SignJWT(claims).setProtectedHeader({ alg, kid, typ: 'JWT' }).sign(privateKey);
      keys.push({ ...(await exportJWK(publicKey)), kid, alg, use: 'sig' });
    } catch (error) {
      missing[alg] = String(error);
    }
  }
  return { jwks: { keys }, tokens, missing };
}

async function verify({ jwks, issuer, audience, algorithms, tokens }) {
  const keys = createLocalJWKSet(jwks);
  const verdicts = {};
  for (const [name, token] of Object.entries(tokens)) {
    verdicts[name] = await jwtVerify(token, keys, { issuer, audience, algorithms }).then(() => true, String);
  }
  return verdicts;
}

const request = JSON.parse(await text(process.stdin));
const answer = request.issue ? await issue(request.issue) : await verify(request.verify);
process.stdout.write(JSON.stringify(answer));
