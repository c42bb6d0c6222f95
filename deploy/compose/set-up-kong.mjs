// What there is to attack: a service with key-auth before the echo, and two consumers. Repeating it changes nothing.
const adminUrl = process.env.KONG_ADMIN_URL ?? 'http://localhost:8001';

async function put(path, body) {
  const response = await fetch(`${adminUrl}${path}`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`PUT ${path}: ${response.status} ${await response.text()}`);
  console.log(`${path} is there`);
}

await put('/services/orders', { protocol: 'http', host: 'echo', port: 8080 });
await put('/services/orders/routes/orders', { paths: ['/orders'], strip_path: false });
await put('/plugins/6f0a5a9e-7b43-4f0e-9d52-0c1a5d0a0001', {
  name: 'key-auth',
  service: { name: 'orders' },
  config: { key_names: ['apikey'] },
});
// The keys are no secrets: this Kong is for trying out, and reachable from this machine only.
await put('/consumers/bombarder', {});
await put('/consumers/bombarder/key-auth/6f0a5a9e-7b43-4f0e-9d52-0c1a5d0a0002', {
  key: 'demo-key-of-bombarder',
});
await put('/consumers/good-customer', { tags: ['partner'] });
await put('/consumers/good-customer/key-auth/6f0a5a9e-7b43-4f0e-9d52-0c1a5d0a0003', {
  key: 'demo-key-of-good-customer',
});
