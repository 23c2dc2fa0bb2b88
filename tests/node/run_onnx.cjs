// node run_onnx.cjs LIBRARY MODEL INPUT SHAPE OUTPUT
// Runs an ONNX file on float32 values from one file and writes the float32 values of its answer to another.
const fs = require("fs");
const [library, model, input, shape, output] = process.argv.slice(2);
const ort = require(library);

async function main() {
  const provider = library === "onnxruntime-web" ? "wasm" : "cpu";
  const session = await ort.InferenceSession.create(fs.readFileSync(model), { executionProviders: [provider] });
  const bytes = fs.readFileSync(input);
  const values = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  const image = new ort.Tensor("float32", values, shape.split(",").map(Number));
  const answer = (await session.run({ [session.inputNames[0]]: image }))[session.outputNames[0]];
  fs.writeFileSync(output, Buffer.from(answer.data.buffer, answer.data.byteOffset, answer.data.byteLength));
  console.log(JSON.stringify(answer.dims.map(Number)));
  process.exit(0); // the WebAssembly threads would keep it alive
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
