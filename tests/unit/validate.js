// Reads one JSON document a line, prints the 1-based numbers of those that break the schema, and how many it read.
const fs = require("fs");
const [modules, schema] = process.argv.slice(2);
const Ajv = require(`${modules}/node_modules/ajv/dist/2020`).default;
const validate = new Ajv({ strict: true, allowUnionTypes: true }).compile(JSON.parse(fs.readFileSync(schema)));
const lines = fs.readFileSync(0, "utf8").split("\n").filter((line) => line.trim());
const broken = [];
lines.forEach((line, index) => {
  if (!validate(JSON.parse(line))) broken.push([index + 1, validate.errors[0].instancePath]);
});
console.log(JSON.stringify({ read: lines.length, broken }));
