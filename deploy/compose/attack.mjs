// One consumer bombards Kong while another one goes on as ever. Exit status 0 if only the first one gets blocked.
const proxyUrl = process.env.KONG_PROXY_URL ?? 'http://localhost:8000';
const ratePerSecond = 150;
const giveUpAfterMs = 120_000;
/** The status that deploy/compose/policies.json gives to a block. */
const blockedStatus = 429;

async function call(key) {
  const order = 1_000 + Math.floor(Math.random() * 500);
  try {
    const response = await fetch(`${proxyUrl}/orders/${order}`, {
      headers: { apikey: key },
      signal: AbortSignal.timeout(10_000),
    });
    await response.arrayBuffer();
    return response.status;
  } catch (error) {
    return error.cause?.code ?? error.name;
  }
}

const bombarder = {};
const customer = {};
const count = async (counts, key) => {
  const status = await call(key);
  counts[status] = (counts[status] ?? 0) + 1;
};
const show = (counts) =>
  Object.entries(counts)
    .map(([status, calls]) => `${status}: ${calls}`)
    .join(', ') || 'none';

// Kong was perhaps set up a moment ago: its workers take up to 5 s for a new route, each at its own time.
const waitingSince = Date.now();
for (let inARow = 0; inARow < 10;) {
  const status = await call('demo-key-of-good-customer');
  inARow = status === 200 ? inARow + 1 : 0;
  if (Date.now() - waitingSince > 30_000) {
    console.log(`${proxyUrl}/orders answers ${status}, not 200: docker compose logs kong kong-demo echo`);
    process.exit(1);
  }
  await new Promise((resolve) => setTimeout(resolve, 100));
}

console.log(
  `${ratePerSecond} requests a second as "bombarder", 2 as "good-customer". Answers so far, by status:`,
);
const began = Date.now();
const tenthOfRate = setInterval(() => {
  for (let one = 0; one < ratePerSecond / 10; one++) void count(bombarder, 'demo-key-of-bombarder');
}, 100);
const twice = setInterval(() => void count(customer, 'demo-key-of-good-customer'), 500);

const blocked = await new Promise((resolve) => {
  const eachSecond = setInterval(() => {
    const lastedMs = Date.now() - began;
    const seconds = String(Math.round(lastedMs / 1_000)).padStart(4);
    console.log(`${seconds} s  bombarder  ${show(bombarder)}   good-customer  ${show(customer)}`);
    const isBlocked = (bombarder[blockedStatus] ?? 0) > ratePerSecond * 3;
    if (!isBlocked && lastedMs < giveUpAfterMs) return;
    clearInterval(eachSecond);
    resolve(isBlocked);
  }, 1_000);
});
clearInterval(tenthOfRate);
clearInterval(twice);

const hurt = customer[blockedStatus] !== undefined;
if (blocked && !hurt) {
  console.log(`
Kong blocks "bombarder" (${blockedStatus}), and nobody else. Tripline made the plugin, and removes it in time:
  docker compose exec responder tripline responses list
  docker compose exec clickhouse clickhouse-client --user tripline --ask-password \\
    --query 'SELECT raisedAt, type, severity, summary FROM tripline.alerts FINAL'`);
} else if (blocked) {
  console.log(`"bombarder" is blocked, but "good-customer" got ${show(customer)}.`);
} else {
  console.log(
    `"bombarder" was not blocked within ${giveUpAfterMs / 1_000} s: docker compose logs processor responder`,
  );
}
process.exit(blocked && !hurt ? 0 : 1);
