// Signs requests with the signer of the AWS SDK for JavaScript (v3). One JSON object a line on standard input:
//   {method, path, query, headers, body, service, region, credentials, presign, s3}
// and one a line back: {method, target, headers}. Header values and body are strings.

import { createInterface } from "node:readline";

import { Sha256 } from "@aws-crypto/sha256-js";
import { HttpRequest } from "@smithy/protocol-http";
import { SignatureV4 } from "@smithy/signature-v4";

function target(request) {
  const pairs = Object.entries(request.query ?? {}).flatMap(([name, values]) =>
    [values].flat().map((value) => [name, value]));
  const escape = (text) => encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
  const query = pairs.map((pair) => pair.map(escape).join("=")).join("&");
  return query ? `${request.path}?${query}` : request.path;
}

for await (const line of createInterface({ input: process.stdin })) {
  const wanted = JSON.parse(line);
  const signer = new SignatureV4({
    service: wanted.service,
    region: wanted.region,
    credentials: wanted.credentials,
    sha256: Sha256,
    uriEscapePath: !wanted.s3,
    applyChecksum: Boolean(wanted.s3),
  });
  const request = new HttpRequest({
    method: wanted.method,
    protocol: "http:",
    hostname: wanted.headers.host,
    path: wanted.path,
    query: wanted.query,
    headers: wanted.headers,
    body: wanted.body,
  });
  const signed = wanted.presign
    ? await signer.presign(request, { expiresIn: 300 })
    : await signer.sign(request);
  console.log(JSON.stringify({ method: signed.method, target: target(signed), headers: signed.headers }));
}
