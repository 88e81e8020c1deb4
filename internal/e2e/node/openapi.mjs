// Validates an OpenAPI document that comes on standard input: against the specification's own schema, and that all that it refers to
// is there.
import { Validator } from "@seriousme/openapi-schema-validator";

let text = "";
for await (const chunk of process.stdin) text += chunk;
const validator = new Validator();
const result = await validator.validate(JSON.parse(text));
if (!result.valid) {
  console.error(JSON.stringify(result.errors, null, 1));
  process.exit(1);
}
validator.resolveRefs();
console.log(`valid, version ${validator.version}`);
