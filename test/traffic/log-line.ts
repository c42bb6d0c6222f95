import {
  basicFingerprint,
  challengeOf,
  fingerprint,
  keptHeader,
  siteHost,
  upstreamMs,
  type Query,
  type Request,
  type Route,
  type Service,
} from './request.ts';

/** The line that Kong's tcp-log plugin would send, of the recorded shape, without the line feed. */
export function toLine(request: Request): string {
  const { client, ip, route, byKong, id, status, startedAt } = request;
  const { consumer } = client;
  const search = request.query === null ? '' : searchOf(request.query);
  const uri = JSON.stringify(request.path + search);
  const url = JSON.stringify(`http://${siteHost}:8000${request.path}${search}`);
  const seconds = Math.floor(startedAt / 1_000);
  const key = request.wrongKey ?? (request.login || request.bearer !== null ? undefined : consumer?.key);
  const challenge = challengeOf(request);
  const proxyMs = byKong ? -1 : upstreamMs(request);

  const headers: string[] = [`"host":"${siteHost}"`];
  if (client.cookie !== null) headers.push(`"cookie":${JSON.stringify(client.cookie)}`);
  headers.push('"accept":"*/*"');
  if (key !== undefined) headers.push(`"apikey":${JSON.stringify(key)}`);
  if (request.login || request.bearer !== null) headers.push('"authorization":"REDACTED"');
  if (request.contentType !== null) headers.push(`"content-type":${JSON.stringify(request.contentType)}`);
  if (request.accountHeader !== null)
    headers.push(`"${keptHeader}":${JSON.stringify(request.accountHeader)}`);
  if (consumer) {
    headers.push(
      `"x-consumer-id":"${consumer.id}","x-consumer-username":"${consumer.username}","x-consumer-custom-id":"${consumer.customId}","x-credential-identifier":"${consumer.credentialId}"`,
    );
  }
  headers.push(
    `"user-agent":${JSON.stringify(client.userAgent)},"x-forwarded-for":"${ip}","connection":"close"`,
  );
  const custom = request.login
    ? `"tripline":{"credential":"${basicFingerprint(request.login)}","user":"${fingerprint(request.login.user)}"},`
    : request.bearer !== null
      ? `"tripline":{"credential":"${fingerprint(request.bearer)}"},`
      : '';
  const entities =
    (consumer
      ? `"consumer":{"id":"${consumer.id}","tags":${JSON.stringify(consumer.tags)},"username":"${consumer.username}","custom_id":"${consumer.customId}","updated_at":1795303127,"created_at":1795303127},"authenticated_entity":{"id":"${consumer.credentialId}"},`
      : '') +
    (route ? `"service":${entityJson(route.service)},"route":${entityJson(route)},` : '') +
    (route && !byKong
      ? `"tries":[{"port":9100,"balancer_start":${startedAt},"balancer_start_ns":${startedAt / 1e12}e+18,"balancer_latency_ns":16640,"ip":"127.0.0.1","balancer_latency":0}],`
      : route
        ? '"tries":[],'
        : '');
  const answered = byKong
    ? '"x-kong-response-latency":"1"'
    : `"via":"1.1 kong/3.9.3","x-kong-upstream-latency":"${proxyMs}","x-kong-proxy-latency":"1"`;
  return (
    `{"started_at":${startedAt},${custom}"workspace":"3722b945-ae2e-4d43-aa18-b3bf2df2c523","workspace_name":"default",` +
    `"request":{"id":"${id}","size":${request.requestBytes},"headers":{${headers.join(',')}},"method":"${request.method}",` +
    `"uri":${uri},"url":${url},"querystring":${JSON.stringify(request.query ?? {})}},"upstream_uri":${route ? uri : '""'},` +
    `"latencies":{"receive":0,"proxy":${proxyMs},"kong":1,"request":${request.latencyMs}},${entities}` +
    `"upstream_status":"${byKong ? '' : status}","source":"${byKong ? 'kong' : 'upstream'}",` +
    `"response":{"status":${status},"size":${request.responseBytes},"headers":{"server":"kong/3.9.3","content-type":"application/json","x-kong-request-id":"${id}",${answered},` +
    (challenge === undefined ? '' : `"www-authenticate":${JSON.stringify(challenge)},`) +
    `"connection":"close","date":"${new Date(seconds * 1_000).toUTCString()}"}},"client_ip":"${ip}"}`
  );
}

function searchOf(query: Query): string {
  const pairs: string[] = [];
  for (const name in query) {
    const value = query[name]!;
    for (const one of Array.isArray(value) ? value : [value])
      pairs.push(
        one === true
          ? encodeURIComponent(name)
          : `${encodeURIComponent(name)}=${encodeURIComponent(one).replaceAll('%20', '+')}`,
      );
  }
  return `?${pairs.join('&')}`;
}

const rendered = new Map<Service | Route, string>();

/** The entity as it stands in a log line. */
function entityJson(entity: Service | Route): string {
  let json = rendered.get(entity);
  if (json === undefined) {
    json = JSON.stringify(
      'service' in entity
        ? {
            updated_at: 1795303127,
            protocols: ['http', 'https'],
            strip_path: false,
            preserve_host: false,
            service: { id: entity.service.id },
            request_buffering: true,
            response_buffering: true,
            regex_priority: 0,
            https_redirect_status_code: 426,
            name: entity.name,
            id: entity.id,
            created_at: 1795303127,
            path_handling: 'v0',
            ws_id: '3722b945-ae2e-4d43-aa18-b3bf2df2c523',
            paths: entity.paths,
          }
        : {
            protocol: 'http',
            tags: ['core'],
            connect_timeout: 60000,
            read_timeout: 60000,
            host: '127.0.0.1',
            retries: 5,
            write_timeout: 60000,
            port: 9100,
            name: entity.name,
            id: entity.id,
            enabled: true,
            ws_id: '3722b945-ae2e-4d43-aa18-b3bf2df2c523',
            updated_at: 1795303127,
            created_at: 1795303127,
          },
    );
    rendered.set(entity, json);
  }
  return json;
}
