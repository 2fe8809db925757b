// Reads a JSON list of Istio resources and writes a list of lists: what is wrong with each, by Istio's published schemas.
// The package has the resources of Istio 1.29.2 (`crd-generate` in its package.json).
const resources = JSON.parse(await new Response(process.stdin).text());
const found = [];
for (const resource of resources) {
  const { [resource.kind]: Model } = await import(`@kubernetes-models/istio/${resource.apiVersion}/${resource.kind}`);
  try {
    new Model(resource).validate();
    found.push([]);
  } catch (error) {
    found.push(error.errors ?? [error.message]);
  }
}
console.log(JSON.stringify(found));
