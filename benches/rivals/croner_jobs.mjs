// The schedule in croner: one Cron an entry, each a POST with undici.
//
// Arguments: `check`, or ADDRESS ENTRIES CRON, with six cron fields, the second first, in UTC.

import { createRequire } from "node:module";

// Unlike an import, this looks into NODE_PATH.
const require = createRequire(import.meta.url);
const { Cron } = require("croner");
const { Pool } = require("undici");

const IN_FLIGHT = 256;

const [address, entries, cron] = process.argv.slice(2);
if (address === "check") {
  const versionOf = (name) => {
    const found = require.resolve(name);
    const root = found.slice(0, found.lastIndexOf(`/node_modules/${name}/`));
    return require(`${root}/node_modules/${name}/package.json`).version;
  };
  console.log(`croner ${versionOf("croner")}, undici ${versionOf("undici")}, Node.js ${process.versions.node}`);
} else {
  const pool = new Pool(`http://${address}`, { connections: IN_FLIGHT });
  const headers = { authorization: "Bearer token" };
  for (let job = 0; job < Number(entries); job++) {
    const path = `/api/3/stacks/s/jobs/j${job}/run_now`;
    new Cron(cron, { timezone: "UTC" }, async () => {
      const answer = await pool.request({ method: "POST", path, headers });
      await answer.body.dump();
    });
  }
}
