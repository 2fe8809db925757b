// Parses LogQL with Grafana's own grammar: queries as a JSON list on standard input, their faults as one on standard output.
import { parser } from "@grafana/lezer-logql";

let text = "";
for await (const part of process.stdin) text += part;
const faults = JSON.parse(text).map((query) => {
  const found = [];
  parser.parse(query).iterate({
    enter: (node) => {
      // The grammar's error node has no name of its own.
      if (node.type.isError) found.push(`at ${node.from}: ${query.slice(Math.max(0, node.from - 20), node.to + 20)}`);
    },
  });
  return found;
});
console.log(JSON.stringify(faults));
