// Reads {objects: […], queries: […]} from standard input, and writes what is wrong with each: objects
// against the published schemas of their custom resources, queries against PromQL's grammar.
// It is given to node as a text, in the folder whose packages it uses.
import { readFileSync } from "node:fs";

const packages = {
  "monitoring.coreos.com": "@kubernetes-models/prometheus-operator",
  "keda.sh": "@kubernetes-models/keda",
  "gateway.networking.k8s.io": "@kubernetes-models/gateway-api",
  "networking.gke.io": "@kubernetes-models/gke",
};

async function checkObject(object) {
  const [group, version] = object.apiVersion.split("/");
  if (!packages[group]) return `no schemas of ${group}`;
  const { [object.kind]: Model } = await import(`${packages[group]}/${group}/${version}`);
  if (!Model) return `no schema of ${object.kind} in ${object.apiVersion}`;
  const model = new Model(object);
  try {
    model.validate();
  } catch (error) {
    return error.message;
  }
  return null;
}

async function checkQuery(query) {
  const { parser } = await import("@prometheus-io/lezer-promql");
  let wrong = null;
  parser.parse(query).iterate({
    enter: (node) => {
      if (node.type.isError && wrong === null) wrong = `near ${node.from}: ${query.slice(node.from, node.from + 20)}`;
    },
  });
  return wrong;
}

const asked = JSON.parse(readFileSync(0, "utf8"));
const answers = { objects: [], queries: [] };
for (const object of asked.objects) answers.objects.push(await checkObject(object));
for (const query of asked.queries) answers.queries.push(await checkQuery(query));
process.stdout.write(JSON.stringify(answers));
