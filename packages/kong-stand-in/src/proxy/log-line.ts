import { STATUS_CODES } from 'node:http';
import type { Values } from '../schema.ts';
import type { Entity } from '../store.ts';
import { customFields, type TcpLogConfig } from '../tcp-log.ts';
import { lowerCase, type Headers, type Query, type StandInRequest } from './request.ts';

/** A tcp-log line. */
export interface LogLine {
  request: {
    id: string;
    method: string;
    uri: string;
    url: string;
    size: number;
    querystring: Query;
    headers: Headers;
  };
  response: { status: number; size: number; headers: Record<string, string> };
  latencies: { request: number; kong: number; proxy: number; receive: number };
  client_ip: string;
  started_at: number;
  upstream_uri: string;
  upstream_status: string;
  source: 'upstream' | 'kong';
  workspace: string;
  workspace_name: string;
  tries?: Values[];
  route?: Values;
  service?: Values;
  consumer?: Values;
  authenticated_entity?: { id: string };
  correlation_id?: string;
}

/** The line as tcp-log sends it, without the line feed. */
export function lineText(line: LogLine, config: TcpLogConfig, request: StandInRequest): string {
  const authorization = [lowerCase(request.headers ?? {})['authorization']].flat()[0];
  const whole = { ...line, ...customFields(config.custom_fields_by_lua, authorization) };
  // Lua writes big numbers with 14 digits, as in 1.7953031347491e+18.
  return JSON.stringify(whole).replace(/("balancer_start_ns":)(\d+)/g, (_, name: string, ns: string) => {
    return name + Number(ns).toExponential(13).replace(/0+e/, 'e').replace('.e', 'e');
  });
}

/** Bytes of a request on the wire. */
export function requestBytes(request: StandInRequest, headers: Headers): number {
  return wireSize(`${request.method} ${request.path} HTTP/1.1`, headers, bodyBytes(request, headers));
}

/** Bytes of an answer on the wire. */
export function answerBytes(status: number, headers: Headers, bodyBytes: number): number {
  return wireSize(`HTTP/1.1 ${status} ${reasonPhrase(status)}`, headers, bodyBytes);
}

/** Kong never logs credentials of these two headers. */
export function logged(headers: Headers): Headers {
  const shown = { ...headers };
  for (const name of ['authorization', 'proxy-authorization'])
    if (shown[name] !== undefined) shown[name] = 'REDACTED';
  return shown;
}

function bodyBytes(request: StandInRequest, headers: Headers): number {
  return request.body === undefined
    ? Number(headers['content-length'] ?? 0)
    : Buffer.byteLength(request.body);
}

function wireSize(firstLine: string, headers: Headers, bytes: number): number {
  let size = Buffer.byteLength(firstLine) + 4 + bytes;
  for (const [name, values] of Object.entries(headers)) {
    for (const value of [values].flat()) size += name.length + Buffer.byteLength(value) + 4;
  }
  return size;
}

/** An entity as tcp-log writes it: what is unset is absent, consumers without the workspace. */
export function inLine(entity: Entity, workspaceId?: string): Values {
  const shown = Object.fromEntries(Object.entries(entity).filter(([, value]) => value !== null));
  return workspaceId === undefined ? shown : { ...shown, ws_id: workspaceId };
}

export const tryOf = (service: Entity, startMs: number): Values => ({
  ip: service['host'],
  port: service['port'],
  balancer_start: startMs,
  balancer_start_ns: startMs * 1_000_000,
  balancer_latency: 0,
  balancer_latency_ns: 19_200,
});

/** nginx' words where they differ from Node's: they count in the size of the answer. */
const nginxReasons: Record<number, string> = {
  302: 'Moved Temporarily',
  408: 'Request Time-out',
  413: 'Request Entity Too Large',
  414: 'Request-URI Too Large',
  416: 'Requested Range Not Satisfiable',
  451: '',
  503: 'Service Temporarily Unavailable',
  504: 'Gateway Time-out',
};
const reasonPhrase = (status: number): string => nginxReasons[status] ?? STATUS_CODES[status] ?? '';
